"""What the supervisor knows of debugging."""

from __future__ import annotations

from ipymini_supervisor.debugging import Content, Debugging

OLD, NEW = "/tmp/ipykernel_1/", "/tmp/ipykernel_2/"


def response(body: Content | None = None, *, success: bool = True) -> Content:
    return {"type": "response", "success": success, "body": body or {}}


def debugged() -> Debugging:
    """One with a breakpoint in a cell and one in a file."""
    state = Debugging()
    state.hello(OLD, 7, available=True)
    state.responded("initialize", {}, response())
    state.responded("dumpCell", {"code": "1"}, response({"sourcePath": f"{OLD}5.py"}))
    for path in (f"{OLD}5.py", "/a.py"):
        asked = {"source": {"path": path}, "breakpoints": [{"line": 1, "condition": "x"}]}
        state.responded("setBreakpoints", asked, response({"breakpoints": [{"line": 2}]}))
    return state


def test_info_tells_where_breakpoints_have_come_to_be() -> None:
    info = debugged().info()
    assert (info["isStarted"], info["hashSeed"], info["tmpFilePrefix"]) == (True, 7, OLD)
    assert info["breakpoints"] == [
        {"source": f"{OLD}5.py", "breakpoints": [{"line": 2, "condition": "x"}]},
        {"source": "/a.py", "breakpoints": [{"line": 2, "condition": "x"}]},
    ]


def test_what_failed_has_changed_nothing() -> None:
    state = Debugging()
    state.responded("initialize", {}, response(success=False))
    state.responded("setBreakpoints", {"source": {"path": "/a.py"}}, response(success=False))
    assert (state.started, state.breakpoints) == (False, {})


def test_no_breakpoints_left_in_a_file() -> None:
    state = debugged()
    state.responded("setBreakpoints", {"source": {"path": "/a.py"}, "breakpoints": []}, response({"breakpoints": []}))
    assert list(state.breakpoints) == [f"{OLD}5.py"]


def test_threads_that_are_stopped() -> None:
    state = debugged()
    state.happened({"event": "stopped", "body": {"threadId": 3}})
    state.happened({"event": "stopped", "body": {"threadId": 1}})
    state.happened({"event": "thread", "body": {"reason": "started", "threadId": 3}})
    assert state.info()["stoppedThreads"] == [1, 3]
    state.happened({"event": "continued", "body": {"threadId": 1}})
    state.happened({"event": "thread", "body": {"reason": "exited", "threadId": 3}})
    state.happened({"event": "stopped", "body": None})
    assert state.info()["stoppedThreads"] == []


def test_breakpoints_are_for_the_next_worker_once() -> None:
    state = debugged()
    state.responded("setExceptionBreakpoints", {"filters": ["raised"]}, response())
    assert state.restored() == []
    assert state.died()
    assert not state.died()
    state.hello(NEW, 7, available=True)
    assert state.restored() == [
        ("dumpCell", {"code": "1"}),
        ("setBreakpoints", {"source": {"path": f"{NEW}5.py"}, "breakpoints": [{"line": 2, "condition": "x"}]}),
        ("setBreakpoints", {"source": {"path": "/a.py"}, "breakpoints": [{"line": 2, "condition": "x"}]}),
        ("setExceptionBreakpoints", {"filters": ["raised"]}),
    ]
    assert state.restored() == []


def test_nothing_is_kept_when_the_frontend_ends_it() -> None:
    state = debugged()
    state.died()
    state.disconnected()
    assert (state.restored(), state.info()["breakpoints"], state.info()["isStarted"]) == ([], [], False)
