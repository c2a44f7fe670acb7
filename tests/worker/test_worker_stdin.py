"""input() and getpass(): a question on the link, and its answer on the other socket."""

from __future__ import annotations

import pytest

from ipymini_worker.wire import Kind
from worker.driver import Answer, Worker


def asked(worker: Worker, code: str) -> tuple[int, dict[str, object]]:
    """Starts a cell that asks; returns its number and what it asks."""
    request = worker.start(code, allow_stdin=True)
    owner, question = worker.question()
    assert owner == request
    return request, question


def answered(worker: Worker, code: str, *values: str) -> Answer:
    """Runs a cell that asks, and answers each of its questions."""
    request = worker.start(code, allow_stdin=True)
    for value in values:
        worker.reply_input(worker.question()[0], value)
    return worker.answer(request)


def test_input_asks_and_returns_what_the_user_types(worker: Worker) -> None:
    request, question = asked(worker, "name = input('Your name: ')\nname")
    assert question == {"prompt": "Your name: ", "password": False}
    worker.reply_input(request, "Ünal\n\\x")
    assert worker.answer(request).result == repr("Ünal\n\\x")


def test_getpass_asks_for_a_password(worker: Worker) -> None:
    request, question = asked(worker, "import getpass\ngetpass.getpass('Secret: ')")
    assert question == {"prompt": "Secret: ", "password": True}
    worker.reply_input(request, "x")
    assert worker.answer(request).result == "'x'"


@pytest.mark.parametrize(
    ("code", "prompt"),
    [
        ("input()", ""),
        ("input(5)", "5"),
        ("import getpass\ngetpass.getpass()", "Password: "),
        ("input('\\ud800')", None),
    ],
)
def test_any_prompt_is_asked_as_text(worker: Worker, code: str, prompt: str | None) -> None:
    request, question = asked(worker, code)
    assert prompt is None or question["prompt"] == prompt
    worker.reply_input(request, "")
    assert worker.answer(request).result == "''"


def test_several_questions_in_turn(worker: Worker) -> None:
    answer = answered(worker, "[input(i) for i in range(3)]", "a", "b", "c")
    assert answer.result == "['a', 'b', 'c']"


def test_what_was_printed_before_comes_before_the_question(worker: Worker) -> None:
    request, _ = asked(worker, "print('before')\ninput()")
    kinds = [f.kind for f in worker.frames if f.request == request]
    assert kinds.index(Kind.STREAM) < kinds.index(Kind.INPUT_REQUEST)
    worker.reply_input(request, "")
    worker.answer(request)


def test_end_of_file_is_an_eof_error(worker: Worker) -> None:
    assert answered(worker, "input()", "\x04").failure[0] == "EOFError"


def test_question_that_is_not_allowed_is_an_error_that_says_so(worker: Worker) -> None:
    for code in ("input('x')", "import getpass; getpass.getpass()"):
        ename, evalue = worker.run(code, allow_stdin=False).failure
        assert ename == "StdinNotImplementedError"
        assert "does not support input" in evalue


def test_request_that_does_not_say_whether_input_is_allowed_may_not_ask(worker: Worker) -> None:
    answer = worker.answer(worker.ask("execute_request", {"code": "input()"}))
    assert answer.failure[0] == "StdinNotImplementedError"


def test_interrupt_ends_a_question(worker: Worker) -> None:
    request, _ = asked(worker, "try:\n    input()\nfinally:\n    print('cleaned')")
    worker.interrupt()
    answer = worker.answer(request)
    assert answer.failure[0] == "KeyboardInterrupt"
    assert answer.stdout == "cleaned\n"
    assert worker.good("'on'").result == "'on'"


def test_answer_that_comes_late_is_dropped(worker: Worker) -> None:
    request, _ = asked(worker, "input('first')")
    worker.interrupt()
    worker.answer(request)
    worker.reply_input(request, "late")
    second, question = asked(worker, "input('second')")
    assert question["prompt"] == "second"
    worker.reply_input(request, "late again")
    worker.reply_input(second, "right")
    assert worker.answer(second).result == "'right'"


def test_answer_to_an_interrupted_question_does_not_answer_the_next_one_of_the_same_cell(worker: Worker) -> None:
    code = "try:\n    input('one')\nexcept KeyboardInterrupt:\n    pass\ninput('two')"
    request, _ = asked(worker, code)
    worker.interrupt()
    assert worker.question()[1]["prompt"] == "two"
    worker.reply_input(request, "right")
    assert worker.answer(request).result == "'right'"


def test_answer_that_nobody_asked_for_is_dropped(worker: Worker) -> None:
    worker.reply_input(12345, "x")
    assert worker.good("'on'").result == "'on'"


def test_thread_of_a_cell_may_ask(worker: Worker) -> None:
    code = (
        "import threading\nsaid = []\n"
        "t = threading.Thread(target=lambda: said.append(input('thread')))\nt.start()\nt.join()\nsaid"
    )
    request, question = asked(worker, code)
    assert question["prompt"] == "thread"
    worker.reply_input(request, "yes")
    assert worker.answer(request).result == "['yes']"


def test_two_threads_of_a_cell_get_an_answer_each(worker: Worker) -> None:
    code = (
        "import threading\nsaid = []\n"
        "ts = [threading.Thread(target=lambda: said.append(input())) for _ in range(2)]\n"
        "[t.start() for t in ts]\n[t.join() for t in ts]\nsorted(said)"
    )
    assert answered(worker, code, "a", "b").result == "['a', 'b']"


def test_async_cell_may_ask(worker: Worker) -> None:
    code = "import asyncio\nawait asyncio.sleep(0)\ninput('async')"
    assert answered(worker, code, "yes").result == "'yes'"


def test_program_of_a_cell_finds_an_empty_stdin_and_does_not_hang(worker: Worker) -> None:
    assert worker.good("import sys\nsys.stdin.read() if sys.stdin else ''", allow_stdin=True).result == "''"
