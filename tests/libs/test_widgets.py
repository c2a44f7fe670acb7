"""ipywidgets and anywidget, with the frontend's half played by the test."""

from __future__ import annotations

import uuid

import pytest
from e2e.client import Client

from .seen import WIDGET, change, displayed, messages, models, ok, only, tell, updates, word

SLIDER = "import ipywidgets as w\nslider = w.IntSlider(3)\nslider"


@pytest.mark.row("Widgets", "a slider that the frontend moves calls its observer, whose print is shown")
def test_an_observer(client: Client) -> None:
    view = only(client.execute(SLIDER))[WIDGET]["model_id"]
    ok(client.execute("slider.observe(lambda c: print('now', c.new), 'value')"))
    run = change(client, view, {"value": 8})
    assert run.text() == "now 8\n"
    assert client.evaluate("slider.value") == "8"
    echoes = [m["content"]["data"] for m in messages(run, "comm_msg")]
    assert {"echo_update", "update"} >= {data["method"] for data in echoes}


@pytest.mark.row("Widgets", "what an observer raises is shown")
def test_an_observer_that_fails(client: Client) -> None:
    view = only(client.execute(SLIDER))[WIDGET]["model_id"]
    ok(client.execute("slider.observe(lambda c: 1 / 0, 'value')"))
    run = change(client, view, {"value": 9})
    assert "ZeroDivisionError" in run.text("stderr") + str(run.contents("error"))


@pytest.mark.row("Widgets", "a button is clicked")
def test_a_button(client: Client) -> None:
    ok(client.execute("import ipywidgets as w\nbutton = w.Button()\nbutton.on_click(lambda b: display('clicked'))"))
    run = tell(client, word(client, "button.model_id"), {"event": "click"})
    assert [bundle["text/plain"] for bundle in displayed(run)] == ["'clicked'"]


@pytest.mark.row("Widgets", "interact: the function is called again, with its output in its place")
def test_interact(client: Client) -> None:
    code = "import ipywidgets as w\n@w.interact(x=(0, 10))\ndef square(x=3):\n    print(x * x)\n    return x"
    run = ok(client.execute(code))
    assert any(WIDGET in bundle for bundle in displayed(run))
    assert run.text() == "9\n"
    assert {"IntSliderModel", "OutputModel", "VBoxModel"} <= set(models(run))
    slider = next(
        m["content"]["comm_id"]
        for m in messages(run, "comm_open")
        if m["content"]["data"]["state"]["_model_name"] == "IntSliderModel"
    )
    run = change(client, slider, {"value": 5})
    assert run.text() == "25\n"
    assert "clear_output" in run.types
    captured = [state["msg_id"] for state in updates(run) if "msg_id" in state]
    assert captured == [run.request["header"]["msg_id"], ""]


@pytest.mark.row("Widgets", "Output takes what is printed and displayed in it")
def test_output(client: Client) -> None:
    ok(client.execute("import ipywidgets as w\nout = w.Output()"))
    run = ok(client.execute("with out:\n    print('inside'); display(5)\nprint('outside')"))
    assert [m["msg_type"] for m in run.published if m["msg_type"] in ("comm_msg", "stream", "display_data")] == [
        "comm_msg",
        "stream",
        "display_data",
        "comm_msg",
        "stream",
    ]
    assert [state["msg_id"] for state in updates(run)] == [run.request["header"]["msg_id"], ""]
    run = ok(client.execute("@out.capture()\ndef work(): print('captured')\nwork()"))
    assert updates(run)[-1] == {"msg_id": ""}
    run = ok(client.execute("out.append_stdout('by state'); out.append_display_data(1)"))
    assert updates(run)[0]["outputs"][0]["text"] == "by state"


@pytest.mark.row("Widgets", "Output takes an error in it, and the cell goes on")
def test_an_error_in_output(client: Client) -> None:
    run = client.execute("import ipywidgets as w\nout = w.Output()\nwith out: 1 / 0\nprint('went on')")
    assert run.status == "ok"
    kinds = [m["msg_type"] for m in run.published if m["msg_type"] in ("comm_msg", "error", "stream")]
    assert kinds == ["comm_msg", "error", "comm_msg", "stream"]


@pytest.mark.row("Widgets", "an observer prints into an Output")
def test_an_observer_with_output(client: Client) -> None:
    code = "\nout = w.Output()\ndef seen(c):\n    with out: print('new', c.new)\nslider.observe(seen, 'value')"
    ok(client.execute(SLIDER + code))
    run = change(client, word(client, "slider.model_id"), {"value": 6})
    assert run.text() == "new 6\n"
    assert [state["msg_id"] for state in updates(run)] == [run.request["header"]["msg_id"], ""]


@pytest.mark.row("Widgets", "jslink names both ends")
def test_jslink(client: Client) -> None:
    run = ok(client.execute(SLIDER + "\nother = w.IntText()\nlink = w.jslink((slider, 'value'), (other, 'value'))"))
    link = models(run)["LinkModel"]
    ends = [word(client, "slider.model_id"), word(client, "other.model_id")]
    assert [link["source"], link["target"]] == [[f"IPY_MODEL_{ends[0]}", "value"], [f"IPY_MODEL_{ends[1]}", "value"]]


@pytest.mark.row("Widgets", "a file is uploaded, with its bytes")
def test_an_upload(client: Client) -> None:
    ok(client.execute("import ipywidgets as w\nupload = w.FileUpload()"))
    file = {"name": "a.bin", "type": "", "size": 3, "last_modified": 0}
    paths = [["value", 0, "content"]]
    change(client, word(client, "upload.model_id"), {"value": [file]}, [b"\x00\x01\x02"], buffer_paths=paths)
    assert client.evaluate("bytes(upload.value[0].content)") == r"b'\x00\x01\x02'"


@pytest.mark.row("Widgets", "a page that is loaded again gets all states")
def test_states_are_asked_for(client: Client) -> None:
    ok(client.execute("import ipywidgets as w\nkept = w.Image(value=b'\\x89PNG')"))
    comm_id = uuid.uuid4().hex
    opened = {"comm_id": comm_id, "target_name": "jupyter.widget.control", "data": {}}
    client.ask("comm_open", opened, metadata={"version": "1.0.0"})
    run = client.ask("comm_msg", {"comm_id": comm_id, "data": {"method": "request_states"}})
    (answer,) = messages(run, "comm_msg")
    assert answer["content"]["data"]["method"] == "update_states"
    assert word(client, "kept.model_id") in answer["content"]["data"]["states"]
    assert b"\x89PNG" in [bytes(b) for b in answer["buffers"]]


@pytest.mark.row("Widgets", "a widget that the frontend makes")
def test_a_widget_of_the_frontend(client: Client) -> None:
    ok(client.execute(SLIDER))
    comm_id = uuid.uuid4().hex
    names = {"_model_name": "IntSliderModel", "_model_module": "@jupyter-widgets/controls"}
    names |= {"_view_name": "IntSliderView", "_view_module": "@jupyter-widgets/controls"}
    names |= {"_model_module_version": "2.0.0", "_view_module_version": "2.0.0"}
    data = {"state": {**names, "value": 7}, "buffer_paths": []}
    opened = {"comm_id": comm_id, "target_name": "jupyter.widget", "data": data}
    client.ask("comm_open", opened, metadata={"version": "2.1.0"})
    ok(client.execute("from ipywidgets.widgets.widget import _instances"))
    assert client.evaluate(f"_instances['{comm_id}'].value") == "7"


@pytest.mark.row("Widgets", "a task waits for a widget while other cells run")
def test_a_task_waits(client: Client) -> None:
    ok(
        client.execute(
            SLIDER + "\nimport asyncio\nasync def wait():\n    future = asyncio.get_running_loop().create_future()\n"
            "    slider.observe(lambda c: future.done() or future.set_result(c.new), 'value')\n"
            "    print('got', await future)\ntask = asyncio.ensure_future(wait())\nawait asyncio.sleep(0)"
        )
    )
    assert ok(client.execute("1")).result == "1"
    change(client, word(client, "slider.model_id"), {"value": 2})
    client.wait(lambda channel, m: m["msg_type"] == "stream" and "got 2" in m["content"]["text"])


@pytest.mark.row("Widgets", "anywidget: bytes go both ways")
def test_anywidget(client: Client) -> None:
    run = ok(
        client.execute(
            "import anywidget, traitlets\nclass Own(anywidget.AnyWidget):\n"
            "    _esm = 'export default { render({ model, el }) {} }'\n"
            "    data = traitlets.Any(b'from the kernel').tag(sync=True)\n"
            "own = Own()\nheard = []\n"
            "own.on_msg(lambda widget, content, buffers: heard.append((content, [bytes(b) for b in buffers])))\nown"
        )
    )
    assert WIDGET in only(run)
    buffers = [bytes(b) for m in messages(run, "comm_open") for b in m["buffers"]]
    assert b"from the kernel" in buffers
    comm_id = word(client, "own.model_id")
    change(client, comm_id, {}, [b"from the frontend"], buffer_paths=[["data"]])
    assert client.evaluate("bytes(own.data)") == "b'from the frontend'"
    tell(client, comm_id, {"kind": "blob"}, [bytes(range(256))])
    assert client.evaluate("heard == [({'kind': 'blob'}, [bytes(range(256))])]") == "True"
    run = ok(client.execute("import numpy\nown.send({'kind': 'answer'}, buffers=[numpy.arange(3, dtype='u1')])"))
    (sent,) = messages(run, "comm_msg")
    assert [bytes(b) for b in sent["buffers"]] == [b"\x00\x01\x02"]
