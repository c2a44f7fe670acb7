"""What runs next, and what is not run any more."""

from __future__ import annotations

import pytest

from .client import Client, Run
from .conftest import StartKernel


@pytest.mark.row("Seen to break", "execute replies come in the order asked")
def test_cells_run_in_the_order_in_which_they_were_sent(client: Client) -> None:
    client.execute("order = []")
    runs = [client.start(f"order.append({i}); print({i})") for i in range(100)]
    counts = [client.finish(run).reply["execution_count"] for run in runs]
    assert counts == list(range(counts[0], counts[0] + 100))
    assert [run.text() for run in runs] == [f"{i}\n" for i in range(100)]
    assert client.evaluate("order == list(range(100))") == "True"
    arrived = [m["parent_header"]["msg_id"] for c, m in client.messages if c == "shell"][-101:-1]
    assert arrived == [run.request["header"]["msg_id"] for run in runs]


def waiting(client: Client) -> tuple[Run, dict[str, object]]:
    """A cell that waits for an answer, so that others can be queued behind it."""
    cell = client.start("if input() == 'fail': raise ValueError('asked to')")
    return cell, client.wait_question(cell)


@pytest.mark.row("Protocol", "what is queued behind an error is aborted")
def test_what_is_queued_behind_an_error_is_aborted(client: Client) -> None:
    cell, question = waiting(client)
    queued = [client.start("ran = True", silent=i == 2) for i in range(4)]
    completion = client.send("complete_request", {"code": "zi", "cursor_pos": 2})
    info = client.send("kernel_info_request")
    client.answer(question, "fail")
    assert client.finish(cell).error == "ValueError"
    for run in queued:
        assert client.finish(run).reply == {"status": "aborted"}  # and no execution_count
        assert run.replies[0]["metadata"]["status"] == "aborted"
        assert run.types == []
        assert "execute_input" not in [m["msg_type"] for m in run.published]
    assert client.finish(completion).status == "ok"
    assert client.finish(info).status == "ok"
    assert client.execute("ran").error == "NameError"


def test_what_comes_after_the_error_runs(client: Client) -> None:
    assert client.execute("1 / 0").error == "ZeroDivisionError"
    assert client.execute("1").status == "ok"


@pytest.mark.row("Protocol", "`stop_on_error: false` is honoured")
def test_stop_on_error_false_is_honoured(client: Client) -> None:
    cell = client.start("if input() == 'fail': raise ValueError", stop_on_error=False)
    question = client.wait_question(cell)
    queued = [client.start(f"print({i})") for i in range(3)]
    client.answer(question, "fail")
    assert client.finish(cell).error == "ValueError"
    assert [client.finish(run).text() for run in queued] == ["0\n", "1\n", "2\n"]


def test_an_aborted_cell_does_not_abort_others(client: Client) -> None:
    """It is the error that aborts, and only what waits at that moment."""
    cell, question = waiting(client)
    second = client.start("1")
    client.answer(question, "fail")
    client.finish(cell)
    assert client.finish(second).status == "aborted"
    assert client.execute("1").status == "ok"


def test_cells_of_two_clients_share_the_queue(client: Client, connect: object) -> None:
    other: Client = connect()  # type: ignore[operator]
    cell, question = waiting(client)
    theirs = other.start("print('theirs')")
    client.answer(question, "go on")
    assert client.finish(cell).status == "ok"
    assert other.finish(theirs).text() == "theirs\n"


@pytest.mark.parametrize("snapshots", ["on", "off"])
@pytest.mark.parametrize(("code", "error"), [("1 / 0", "ZeroDivisionError"), ("import os; os.abort()", "WorkerDied")])
def test_what_comes_soon_after_an_error_is_aborted_if_that_is_wanted(
    start_kernel: StartKernel, code: str, error: str, snapshots: str
) -> None:
    """With `IPYMINI_STOP_ON_ERROR_TIMEOUT`; questions are answered."""
    client = start_kernel(env={"IPYMINI_STOP_ON_ERROR_TIMEOUT": "1000", "IPYMINI_SNAPSHOTS": snapshots}).connect()
    assert client.execute("1").status == "ok"
    assert client.execute(code).error == error
    assert client.execute("2").reply == {"status": "aborted"}
    assert client.ask("is_complete_request", {"code": "1"}).reply["status"] == "complete"
    other = client.execute("3", subshell=client.new_subshell())
    assert other.result == "3"  # the error was none of that shell
