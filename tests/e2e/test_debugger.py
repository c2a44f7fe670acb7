"""The debugger, request by request: a scripted session of a frontend that was written for ipykernel's."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import pytest

from .client import TIMEOUT, Client
from .dap import INITIALIZE, Debugger

CELL = "def f(x):\n    y = x + 1\n    return y\nvalue = f(3)\nvalue"


@pytest.fixture
def idle(client: Client) -> Debugger:
    """One that has not begun to debug."""
    return Debugger(client)


@pytest.fixture
def debugger(idle: Debugger) -> Iterator[Debugger]:
    """One that is attached, and is not any longer when the test is over."""
    idle.start()
    yield idle
    idle.stop()


def test_a_kernel_that_never_debugs_pays_nothing(client: Client) -> None:
    client.execute("import sys, threading")
    assert client.evaluate("[m for m in sys.modules if 'pydev' in m or 'debugpy' in m]") == "[]"
    assert "ipymini-debugger" not in client.evaluate("[t.name for t in threading.enumerate()]")


@pytest.mark.row("Debugger", "kernel_info advertises it")
def test_it_is_advertised(client: Client) -> None:
    reply = client.ask("kernel_info_request").reply
    assert reply["debugger"] is True
    assert "debugger" in reply["supported_features"]


@pytest.mark.row("Debugger", "debugInfo says how cells are named")
def test_debug_info(client: Client, idle: Debugger) -> None:
    info = idle.good("debugInfo")
    assert (info["isStarted"], info["hashMethod"], info["tmpFileSuffix"]) == (False, "Murmur2", ".py")
    assert (info["breakpoints"], info["stoppedThreads"]) == ([], [])
    assert info["richRendering"]
    assert info["copyToGlobals"]
    name = client.execute("import sys; sys._getframe().f_code.co_filename").result[1:-1]
    assert name.startswith(info["tmpFilePrefix"])
    assert name.endswith(info["tmpFileSuffix"])
    assert isinstance(info["hashSeed"], int)


def test_requests_before_initialize_say_that_it_is_missing(idle: Debugger) -> None:
    assert idle.failure("stackTrace", threadId=1) == "The debugger has not been started."
    assert idle.failure("attach") == "The debugger has not been started."


@pytest.mark.row("Debugger", "initialize, attach, configurationDone, disconnect, and again")
def test_sessions_one_after_the_other(client: Client, idle: Debugger) -> None:
    for _ in range(3):
        body = idle.good("initialize", **INITIALIZE)
        assert [f["filter"] for f in body["exceptionBreakpointFilters"]] == ["raised", "uncaught", "userUnhandled"]
        idle.good("attach")
        idle.good("configurationDone")
        assert idle.good("debugInfo")["isStarted"]
        idle.break_at(CELL, 2)
        run = client.start(CELL)
        thread = idle.stopped()
        assert idle.good("debugInfo")["stoppedThreads"] == [thread]
        idle.good("continue", threadId=thread)
        assert client.finish(run).result == "4"
        idle.stop()
        info = idle.good("debugInfo")
        assert (info["isStarted"], info["breakpoints"], info["stoppedThreads"]) == (False, [], [])
        assert client.execute(CELL).result == "4"
    deadline = time.monotonic() + TIMEOUT
    while client.evaluate("__import__('sys').gettrace()") != "None":  # `disconnect` is answered before it is done
        assert time.monotonic() < deadline


@pytest.mark.row("Debugger", "dumpCell, setBreakpoints, stackTrace, scopes, variables")
def test_a_breakpoint_in_a_cell(client: Client, debugger: Debugger) -> None:
    path = debugger.break_at(CELL, 2)
    with open(path) as file:
        assert file.read() == CELL
    assert os.stat(os.path.dirname(path)).st_mode & 0o777 == 0o700
    assert debugger.good("debugInfo")["breakpoints"] == [{"source": path, "breakpoints": [{"line": 2}]}]
    run = client.start(CELL)
    thread = debugger.stopped()
    first, second = debugger.stack(thread)
    assert [(f["name"], f["line"], f["source"]["path"]) for f in (first, second)] == [
        ("f", 2, path),
        ("<module>", 4, path),
    ]
    assert debugger.variables(first)["x"]["value"] == "3"
    globals_ = debugger.good("scopes", frameId=second["id"])["scopes"][-1]
    assert not {"In", "Out", "_ih", "_i1"} & set(debugger.inside(globals_["variablesReference"]))
    debugger.good("continue", threadId=thread)
    debugger.event("continued")
    assert client.finish(run).result == "4"


@pytest.mark.row("Debugger", "next, stepIn, stepOut, continue")
def test_stepping(client: Client, debugger: Debugger) -> None:
    debugger.break_at(CELL, 4)
    run = client.start(CELL)
    thread = debugger.stopped()
    assert debugger.where(thread) == [("<module>", 4)]
    debugger.good("stepIn", threadId=thread)
    debugger.stopped("step")
    assert debugger.where(thread) == [("f", 2), ("<module>", 4)]
    debugger.good("next", threadId=thread)
    debugger.stopped("step")
    assert debugger.where(thread) == [("f", 3), ("<module>", 4)]
    debugger.good("stepOut", threadId=thread)
    debugger.stopped("step")
    assert debugger.where(thread) == [("<module>", 4)]
    debugger.good("next", threadId=thread)
    debugger.stopped("step")
    debugger.good("next", threadId=thread)  # off the end of the cell
    assert client.finish(run).result == "4"


@pytest.mark.row("Debugger", "evaluate, setVariable, completions in a frame")
def test_evaluate(client: Client, debugger: Debugger) -> None:
    debugger.break_at(CELL, 2)
    run = client.start(CELL)
    thread = debugger.stopped()
    frame = debugger.stack(thread)[0]["id"]
    assert debugger.good("evaluate", expression="x * 2", context="repl", frameId=frame)["result"] == "6"
    debugger.good("evaluate", expression="x = 10", context="repl", frameId=frame)
    assert "NameError" in str(debugger.ask("evaluate", expression="nobody", context="repl", frameId=frame))
    assert debugger.good("evaluate", expression="1 + 1", context="repl")["result"] == "2"
    debugger.good("continue", threadId=thread)
    assert client.finish(run).result == "11"


@pytest.mark.row("Debugger", "inspectVariables, richInspectVariables, copyToGlobals")
def test_variables(client: Client, debugger: Debugger) -> None:
    client.execute("class Rich:\n    def _repr_html_(self): return '<b>rich</b>'\nrich, nested = Rich(), {'a': [1, 2]}")
    names = {v["name"]: v for v in debugger.good("inspectVariables")["variables"]}
    assert {"rich", "nested", "Rich"} <= set(names)
    assert not {"In", "Out", "exit", "get_ipython", "_ih"} & set(names)
    inner = debugger.inside(names["nested"]["variablesReference"])["'a'"]
    assert debugger.inside(inner["variablesReference"])["1"]["value"] == "2"
    assert debugger.good("richInspectVariables", variableName="rich")["data"]["text/html"] == "<b>rich</b>"
    assert debugger.good("richInspectVariables", variableName="special variables")["data"] == {}
    assert not debugger.ask("richInspectVariables", variableName="nobody")["success"]
    cell = "def g():\n    local = Rich()\n    return local\n_ = g()"
    debugger.break_at(cell, 3)
    run = client.start(cell)
    thread = debugger.stopped()
    frame = debugger.stack(thread)[0]["id"]
    shown = debugger.good("richInspectVariables", variableName="local", frameId=frame)
    assert shown["data"]["text/html"] == "<b>rich</b>"
    debugger.good("copyToGlobals", srcVariableName="local", dstVariableName="copied", srcFrameId=frame)
    assert "identifiers" in debugger.failure(
        "copyToGlobals", srcVariableName="a b", dstVariableName="c", srcFrameId=frame
    )
    debugger.good("continue", threadId=thread)
    client.finish(run)
    assert client.execute("type(copied).__name__").result == "'Rich'"


@pytest.mark.row("Debugger", "source, modules")
def test_source_and_modules(client: Client, debugger: Debugger) -> None:
    path = debugger.good("dumpCell", code=CELL)["sourcePath"]
    client.execute(CELL)
    assert debugger.good("source", source={"path": path}, sourceReference=0)["content"].rstrip() == CELL
    assert "There is no source" in debugger.failure("source", source={"path": "/nobody.py"})
    client.execute("import colorsys")
    body = debugger.good("modules")
    assert "colorsys" in {m["name"] for m in body["modules"]}
    assert not [m for m in body["modules"] if m["name"].startswith(("ipymini_worker", "IPython", "_pydev"))]
    assert len(debugger.good("modules", startModule=1, moduleCount=2)["modules"]) == 2


@pytest.mark.row("Debugger", "setExceptionBreakpoints")
@pytest.mark.parametrize("name", ["raised", "userUnhandled"])
def test_exceptions(client: Client, debugger: Debugger, name: str) -> None:
    debugger.good("setExceptionBreakpoints", filters=[name])
    run = client.start("def bad():\n    1 / 0\nbad()")
    thread = debugger.stopped("exception")
    assert debugger.where(thread)[0] == ("bad", 2)
    debugger.good("setExceptionBreakpoints", filters=[])
    debugger.good("continue", threadId=thread)
    assert client.finish(run).error == "ZeroDivisionError"


def test_what_makes_no_sense_gets_a_sentence(client: Client, debugger: Debugger) -> None:
    for command in ("nobody", "restartFrame", ""):
        assert debugger.failure(command)
    assert "makes no sense" in debugger.failure("dumpCell")
    assert "makes no sense" in debugger.failure("variables", variablesReference="x")
    for content in ({}, {"command": ["x"]}, {"command": "source", "seq": "x", "arguments": 3}):
        assert not client.ask("debug_request", content, channel="control").reply["success"]


@pytest.mark.row("Debugger", "JupyterLab's requests in their order")
def test_as_jupyterlab_does_it(client: Client, idle: Debugger) -> None:
    idle.good("debugInfo")
    idle.good("debugInfo")
    idle.start()
    idle.good("debugInfo")
    path = idle.good("dumpCell", code=CELL)["sourcePath"]
    idle.good("debugInfo")
    idle.good("setBreakpoints", breakpoints=[{"line": 2}], source={"path": path}, sourceModified=False)
    idle.good("configurationDone")
    idle.good("inspectVariables")
    idle.good("modules")
    run = client.start(CELL)
    thread = idle.stopped()
    frame = idle.stack(thread)[0]
    for scope in idle.good("scopes", frameId=frame["id"])["scopes"]:
        idle.good("variables", variablesReference=scope["variablesReference"])
    idle.good("source", source={"path": path}, sourceReference=0)
    idle.good("continue", threadId=thread)
    idle.event("continued")
    client.finish(run)
    idle.good("inspectVariables")
    idle.good("setBreakpoints", breakpoints=[], source={"path": path}, sourceModified=False)
    idle.stop()
    assert client.execute(CELL).result == "4"
    assert {m["parent_header"]["msg_type"] for m in idle.events()} == {"debug_request"}
