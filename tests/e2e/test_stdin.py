"""input() and getpass(): asked of whoever asked for the cell."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from .client import Client


def test_input(client: Client) -> None:
    cell = client.start("print('before'); name = input('Name? '); print('hello', name)")
    question = client.wait_question(cell)
    assert question["content"] == {"prompt": "Name? ", "password": False}
    client.wait_text(cell, "before\n")
    client.answer(question, "Jürgen 漢")
    assert client.finish(cell).text() == "before\nhello Jürgen 漢\n"


def test_getpass(client: Client) -> None:
    cell = client.start("import getpass; getpass.getpass('Secret: ')")
    question = client.wait_question(cell)
    assert question["content"] == {"prompt": "Secret: ", "password": True}
    client.answer(question, "hush")
    assert client.finish(cell).result == "'hush'"


def test_several_questions_in_one_cell(client: Client) -> None:
    cell = client.start("[input(i) for i in range(5)]")
    for number in range(5):
        question = client.wait_question(cell)
        assert question["content"]["prompt"] == str(number)
        client.answer(question, str(number * number))
    assert client.finish(cell).result == "['0', '1', '4', '9', '16']"


def test_end_of_file(client: Client) -> None:
    cell = client.start("input()")
    client.answer(client.wait_question(cell), "\x04")
    assert client.finish(cell).error == "EOFError"


@pytest.mark.row("Protocol", "`StdinNotImplementedError` when `allow_stdin` is false")
def test_a_frontend_that_takes_no_questions(client: Client) -> None:
    for code in ("input()", "import getpass; getpass.getpass()"):
        run = client.execute(code, allow_stdin=False)
        assert run.error == "StdinNotImplementedError"
    assert client.execute("1").status == "ok"


@pytest.mark.row("Protocol", "a question goes to the asker")
def test_the_question_goes_to_the_asker(connect: Callable[[], Client]) -> None:
    """Two clients: each gets the questions of its own cells; an answer of the other one counts for nothing."""
    first, second = connect(), connect()
    cell = first.start("input('first')")
    question = first.wait_question(cell)
    queued = second.start("input('second')")
    second.answer(question, "not for you to say")
    assert second.ask("kernel_info_request", channel="control").status == "ok"
    assert not cell.replies
    first.answer(question, "mine")
    assert first.finish(cell).result == "'mine'"
    second.answer(second.wait_question(queued), "theirs")
    assert second.finish(queued).result == "'theirs'"
    for client in (first, second):
        assert len([c for c, _ in client.messages if c == "stdin"]) == 1


def test_an_answer_that_nobody_waits_for_is_dropped(client: Client) -> None:
    cell = client.start("input('one')")
    question = client.wait_question(cell)
    client.interrupt()
    assert client.finish(cell).error == "KeyboardInterrupt"
    client.answer(question, "too late")
    cell = client.start("input('two')")
    second = client.wait_question(cell)
    assert second["content"]["prompt"] == "two"
    client.answer(second, "in time")
    assert client.finish(cell).result == "'in time'"


@pytest.mark.row("Output", "`input()` in a thread")
def test_input_in_a_thread(client: Client) -> None:
    cell = client.start(
        "import threading\nanswers = []\n"
        "thread = threading.Thread(target=lambda: answers.append(input('from a thread')))\n"
        "thread.start(); thread.join(); answers"
    )
    client.answer(client.wait_question(cell), "yes")
    assert client.finish(cell).result == "['yes']"


def test_input_in_user_expressions_and_silent_cells(client: Client) -> None:
    cell = client.start("answer = input('silent')", silent=True)
    client.answer(client.wait_question(cell), "a")
    assert client.finish(cell).status == "ok"
    assert client.evaluate("answer") == "'a'"


def test_a_question_waits_for_its_frontend(client: Client) -> None:
    """Channels connect one by one; a cell that asks early, or while a page is loaded again, is heard all the same."""
    client.disconnect("stdin")
    cell = client.start("print('begun'); input('?')")
    client.wait_text(cell, "begun")
    # The answer to this is sent after the question.
    assert client.ask("kernel_info_request", channel="control").status == "ok"
    client.connect("stdin")
    client.answer(client.wait_question(cell), "heard")
    assert client.finish(cell).result == "'heard'"
