"""Plots that go on talking with the frontend: bokeh, ipympl, panel, dash."""

from __future__ import annotations

import json
import socket

import pytest
from e2e.client import Client
from e2e.conftest import StartKernel

from .seen import WIDGET, displayed, load, messages, models, ok, only, tell, word


@pytest.mark.row("Libraries", "bokeh shows a plot, and changes it by its comm")
def test_bokeh(client: Client) -> None:
    run = ok(
        load(
            client,
            "from bokeh.io import output_notebook, push_notebook, show\nfrom bokeh.plotting import figure\n"
            "from bokeh.resources import INLINE\noutput_notebook(INLINE, hide_banner=True)",
        )
    )
    assert any("application/vnd.bokehjs_load.v0+json" in bundle for bundle in displayed(run))
    run = ok(
        client.execute("plot = figure(); line = plot.line([1, 2], [1, 2])\nhandle = show(plot, notebook_handle=True)")
    )
    assert any("application/vnd.bokehjs_exec.v0+json" in bundle for bundle in displayed(run))
    (opened,) = messages(run, "comm_open")
    run = ok(client.execute("line.data_source.data = {'x': [1, 2], 'y': [5, 6]}\npush_notebook(handle=handle)"))
    sent = messages(run, "comm_msg")
    assert {m["content"]["comm_id"] for m in sent} == {opened["content"]["comm_id"]}
    assert any("events" in str(m["content"]["data"]) for m in sent)


@pytest.mark.row("Libraries", "%matplotlib widget: the figure of ipympl draws")
def test_ipympl(client: Client) -> None:
    ok(load(client, "%matplotlib widget\nimport matplotlib.pyplot as plt"))
    run = ok(client.execute("figure, axes = plt.subplots()\naxes.plot([1, 2])\nplt.show()"))
    assert "MPLCanvasModel" in models(run)
    assert any(WIDGET in bundle for bundle in displayed(run))
    canvas = word(client, "figure.canvas.model_id")
    tell(client, canvas, {"type": "initialized"})
    tell(client, canvas, {"type": "send_image_mode"})
    tell(client, canvas, {"type": "refresh"})
    run = tell(client, canvas, {"type": "draw"})
    buffers = [bytes(b) for m in messages(run, "comm_msg") for b in m["buffers"]]
    assert any(b.startswith(b"\x89PNG") for b in buffers), run.types
    assert client.execute("plt.close(figure)\n%matplotlib inline").status == "ok"


@pytest.mark.row("Libraries", "%matplotlib notebook: the figure of matplotlib's own comm draws")
def test_nbagg(client: Client) -> None:
    ok(load(client, "%matplotlib notebook\nimport matplotlib.pyplot as plt"))
    run = ok(client.execute("figure, axes = plt.subplots()\nplt.show()"))
    assert any("mpl.figure" in bundle.get("application/javascript", "") for bundle in displayed(run))
    (opened,) = messages(run, "comm_open")
    figure = {"comm_id": opened["content"]["comm_id"]}
    for told in ("supports_binary", "refresh", "draw"):
        data = json.dumps({"type": told, "value": False, "figure_id": opened["content"]["data"]["id"]})
        run = client.ask("comm_msg", {**figure, "data": data})
    assert any("data:image/png" in str(m["content"]["data"]) for m in messages(run, "comm_msg")), run.types
    assert client.execute("plt.close(figure)\n%matplotlib inline").status == "ok"


@pytest.mark.row("Libraries", "panel loads, and shows what it makes")
def test_panel(client: Client) -> None:
    run = ok(load(client, "import panel\npanel.extension(inline=True)"))
    assert any("application/javascript" in bundle for bundle in displayed(run))
    run = ok(client.execute("slider = panel.widgets.IntSlider(value=3, name='number')\nslider"))
    assert any("application/vnd.holoviews_exec.v0+json" in bundle for bundle in displayed(run)), displayed(run)


@pytest.mark.row("Libraries", "panel shows an ipywidget, and leaves ipywidgets as they were")
def test_panel_with_ipywidgets(client: Client) -> None:
    ok(load(client, "import ipywidgets, panel\npanel.extension('ipywidgets', inline=True)"))
    run = ok(client.execute("panel.Row(ipywidgets.IntSlider(4))"))
    assert models(run)["IntSliderModel"]["value"] == 4
    assert "execute_result" in run.types
    run = ok(client.execute("ipywidgets.IntSlider(5)"))
    assert models(run)["IntSliderModel"]["value"] == 5
    assert WIDGET in only(run)


@pytest.mark.row("Libraries", "panel's bridge from ipywidgets to its own server can be imported")
def test_panel_bridge(start_kernel: StartKernel) -> None:
    client = start_kernel().connect()
    run = load(client, "import panel.io.ipywidget as bridge\nissubclass(bridge.PanelKernel, bridge.Kernel)")
    assert ok(run).result == "True"
    assert ok(client.execute("1")).result == "1"


@pytest.mark.row("Libraries", "dash serves an app from a cell, in a frame")
def test_dash(client: Client) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    run = ok(
        load(
            client,
            "import dash\napp = dash.Dash('app')\napp.layout = dash.html.Div('inside of dash')\n"
            f"app.run(port={port}, jupyter_mode='inline')",
        )
    )
    assert any(f":{port}" in bundle.get("text/html", "") for bundle in displayed(run)), run.text("stderr")
    code = f"import urllib.request as u\nu.urlopen('http://127.0.0.1:{port}/_dash-layout').read().decode()"
    assert "inside of dash" in ok(client.execute(code)).result
