"""What libraries display: tables, formulas and plots that need no answer."""

from __future__ import annotations

import base64

import pytest
from e2e.client import Client

from .seen import displayed, load, ok, only

PNG = b"\x89PNG\r\n"


@pytest.mark.row("Libraries", "pandas shows a frame as HTML, and knows its frontend")
def test_pandas(client: Client) -> None:
    run = load(client, "import pandas\nframe = pandas.DataFrame({'a': [1, 2]})\nframe")
    assert "<table" in only(run)["text/html"]
    assert "a" in only(run)["text/plain"]
    run = client.execute("from pandas.io.formats.console import in_ipython_frontend\nin_ipython_frontend()")
    assert ok(run).result == "True"
    run = client.execute("pandas.set_option('display.html.table_schema', True)\nframe")
    assert only(run)["application/vnd.dataresource+json"]["data"][1]["a"] == 2
    assert "style" in only(client.execute("frame.style.highlight_max()"))["text/html"]


@pytest.mark.row("Libraries", "polars shows a frame as HTML, and knows a notebook")
def test_polars(client: Client) -> None:
    run = load(client, "import polars\npolars.DataFrame({'a': [1, 2]})")
    assert "<table" in only(run)["text/html"]
    run = client.execute("from polars._utils.various import _in_notebook\n_in_notebook()")
    assert ok(run).result == "True"


@pytest.mark.row("Libraries", "sympy writes formulas as LaTeX")
def test_sympy(client: Client) -> None:
    run = load(client, "import sympy\nsympy.init_printing()\nx = sympy.Symbol('x')\nx ** 2 / 2")
    assert "x^{2}" in only(run)["text/latex"]
    assert "image/png" in only(load(client, "sympy.init_printing(use_latex='matplotlib')\nx ** 2"))


@pytest.mark.row("Libraries", "plotly renders by MIME type, without its script")
def test_plotly(client: Client) -> None:
    run = ok(load(client, "import plotly.io\nimport plotly.graph_objects as go\nplotly.io.renderers.default"))
    assert run.result == "'plotly_mimetype'"
    run = client.execute("figure = go.Figure(go.Bar(y=[2, 1]))\nfigure.show()")
    assert only(run)["application/vnd.plotly.v1+json"]["data"][0]["type"] == "bar"
    assert "application/vnd.plotly.v1+json" in only(client.execute("figure"))


@pytest.mark.row("Libraries", "plotly's FigureWidget answers the frontend")
def test_plotly_widget(client: Client) -> None:
    run = ok(load(client, "import plotly.graph_objects as go\nlive = go.FigureWidget(go.Scatter(y=[1, 2]))\nlive"))
    assert "application/vnd.jupyter.widget-view+json" in only(run)
    run = ok(client.execute("live.data[0].y = [3, 4]"))
    assert "comm_msg" in run.types


@pytest.mark.row("Libraries", "altair displays Vega-Lite")
def test_altair(client: Client) -> None:
    code = "import altair, pandas\naltair.Chart(pandas.DataFrame({'x': [1, 2]})).mark_point().encode(x='x')"
    bundle = only(load(client, code))
    assert any("vegalite" in kind for kind in bundle) or "vega" in bundle["text/html"]
    bundle = only(client.execute("_ = altair.renderers.enable('mimetype')\n" + code.partition("\n")[2]))
    assert any(kind.startswith("application/vnd.vegalite.v") for kind in bundle)


@pytest.mark.row("Libraries", "matplotlib draws in the cell")
def test_matplotlib(client: Client) -> None:
    run = load(client, "import matplotlib.pyplot as plt\nplt.plot([1, 2])\nNone")
    assert base64.b64decode(only(run)["image/png"]).startswith(PNG)
    run = client.execute("%config InlineBackend.figure_formats = ['retina']\nplt.plot([2, 1]); plt.show()")
    (content,) = run.contents("display_data")
    assert content["metadata"]["image/png"]["width"] > 0
    assert client.execute("1").result == "1"


@pytest.mark.row("Libraries", "pandas plots in the cell")
def test_pandas_plot(client: Client) -> None:
    run = ok(load(client, "import pandas\npandas.Series([1, 3]).plot();"))
    assert any("image/png" in bundle for bundle in displayed(run))
