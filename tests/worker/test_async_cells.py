"""Plain cells outside of a running loop, others inside of one that lives on between them."""

from __future__ import annotations

from worker.driver import Worker


def test_await_at_the_top_level(worker: Worker) -> None:
    assert worker.good("import asyncio\nawait asyncio.sleep(0, 'awaited')").result == "'awaited'"


def test_asyncio_run_works_in_a_plain_cell(worker: Worker) -> None:
    assert worker.good("import asyncio\nasyncio.run(asyncio.sleep(0, 'run'))").result == "'run'"
    assert worker.good("await asyncio.sleep(0, 'and await afterwards')").result == "'and await afterwards'"


def test_loops_of_the_user_work_in_a_plain_cell(worker: Worker) -> None:
    worker.good("import asyncio\nloop = asyncio.new_event_loop()\nasyncio.set_event_loop(loop)")
    assert worker.good("loop.run_until_complete(asyncio.sleep(0, 1))").result == "1"
    worker.good("loop.close()")
    assert worker.good("await asyncio.sleep(0, 2)").result == "2"


def test_all_async_cells_have_the_same_loop(worker: Worker) -> None:
    worker.good("import asyncio\nawait asyncio.sleep(0)\nfirst = asyncio.get_running_loop()")
    worker.good("asyncio.run(asyncio.sleep(0))")
    assert worker.good("await asyncio.sleep(0)\nfirst is asyncio.get_running_loop()").result == "True"


def test_create_task_works_in_a_plain_cell(worker: Worker) -> None:
    worker.good("import asyncio\ntask = asyncio.create_task(asyncio.sleep(0, 'done'))")
    assert worker.good("await task").result == "'done'"


def test_error_of_an_awaited_coroutine_is_that_of_the_cell(worker: Worker) -> None:
    answer = worker.run("async def fail(): raise LookupError('deep')\nawait fail()")
    assert answer.failure == ("LookupError", "deep")
    assert any("fail" in line for line in answer.content["traceback"])


def test_context_variables_are_kept_between_plain_and_async_cells(worker: Worker) -> None:
    worker.good("import asyncio, contextvars\nv = contextvars.ContextVar('v', default='none')\nt = v.set('plain')")
    assert worker.good("v.get()").result == "'plain'"
    assert worker.good("await asyncio.sleep(0)\nv.get()").result == "'plain'"
    worker.good("await asyncio.sleep(0)\nt = v.set('async')")
    assert worker.good("v.get()").result == "'async'"
    assert worker.good("await asyncio.sleep(0)\nv.get()").result == "'async'"
    worker.good("t = v.set('plain again')")
    assert worker.good("await asyncio.sleep(0)\nv.get()").result == "'plain again'"


def test_task_goes_on_while_the_worker_is_idle(worker: Worker) -> None:
    request = worker.start("import asyncio\nasync def tick():\n    await asyncio.sleep(0)\n    print('ticked')\n"
                           "task = asyncio.create_task(tick())")  # fmt: skip
    worker.answer(request)
    worker.prints("ticked")


def test_task_that_runs_while_idle_prints_into_the_cell_that_made_it(worker: Worker) -> None:
    maker = worker.start(
        "import asyncio\ngo = asyncio.Event()\n"
        "async def wait():\n    await go.wait()\n    print('from the task')\n    display('shown')\n"
        "task = asyncio.create_task(wait())"
    )
    worker.answer(maker)
    other = worker.run("go.set()")
    worker.wait(lambda: any(e.type == "display_data" and "shown" in str(e.content) for e in worker.events))
    (printed,) = [e for e in worker.events if e.content == "from the task"]
    (shown,) = [e for e in worker.events if e.type == "display_data" and "shown" in str(e.content)]
    assert printed.request == shown.request == maker
    assert printed.parent is not None
    assert shown.parent is not None
    assert printed.parent["msg_id"] == shown.parent["msg_id"] == str(maker)
    assert "from the task" not in other.stdout


def test_task_goes_on_while_a_later_async_cell_runs(worker: Worker) -> None:
    maker = worker.start(
        "import asyncio\nlog = []\n"
        "async def count():\n    for i in range(3):\n        print('count', i)\n        await asyncio.sleep(0)\n"
        "    log.append('counted')\n"
        "starter = asyncio.Event()\n"
        "async def later():\n    await starter.wait()\n    await count()\n"
        "task = asyncio.create_task(later())"
    )
    worker.answer(maker)
    other = worker.good("starter.set()\nawait task\nprint('own')\nlog")
    assert other.result == "['counted']"
    assert other.stdout == "own\n"
    counted = [e for e in worker.events if e.type == "stdout" and e.content.startswith("count")]
    assert {e.request for e in counted} == {maker}
    assert all(e.parent is not None and e.parent["msg_id"] == str(maker) for e in counted)


def test_task_that_fails_while_idle_breaks_nothing(worker: Worker) -> None:
    worker.good(
        "import asyncio\nasync def fail():\n    raise ValueError('nobody awaits me')\nt = asyncio.create_task(fail())"
    )
    assert worker.good("'on'").result == "'on'"
    assert worker.good("type(t.exception()).__name__").result == "'ValueError'"


def test_task_that_exits_while_idle_does_not_end_the_worker(worker: Worker) -> None:
    worker.good(
        "import asyncio, sys\nasync def leave():\n    await asyncio.sleep(0.05)\n    sys.exit(3)\nt = asyncio.create_task(leave())"
    )
    worker.wait(lambda: "SystemExit" in worker.text("stderr"))
    assert worker.good("'on'").result == "'on'"


def test_loop_that_user_code_closed_or_stopped_is_replaced(worker: Worker) -> None:
    worker.run("import asyncio\nawait asyncio.sleep(0)\nasyncio.get_running_loop().stop()")
    assert worker.good("await asyncio.sleep(0, 'on')").result == "'on'"
    worker.good("asyncio.get_event_loop().close()")
    assert worker.good("'plain'").result == "'plain'"
    assert worker.good("await asyncio.sleep(0, 'on')").result == "'on'"


def test_cell_without_asyncio_does_not_pay_for_it(fresh: Worker) -> None:
    assert fresh.good("1 + 1\nimport sys\n'asyncio' in sys.modules").result == "False"


def test_autoawait_may_be_switched_off(fresh: Worker) -> None:
    fresh.good("%autoawait off")
    assert fresh.run("import asyncio\nawait asyncio.sleep(0)").failure[0] == "SyntaxError"
    assert fresh.run("asyncio.create_task(asyncio.sleep(0))").failure[0] == "RuntimeError"


def test_async_line_magic_and_generators_at_the_top_level(worker: Worker) -> None:
    code = (
        "import asyncio\nasync def gen():\n    yield 1\n    yield 2\n"
        "found = []\nasync for x in gen():\n    found.append(x)\nfound, [x async for x in gen()]"
    )
    assert worker.good(code).result == "([1, 2], [1, 2])"


def test_number_of_a_result_is_that_of_its_own_cell(worker: Worker) -> None:
    answer = worker.good("import asyncio\nawait asyncio.sleep(0)\n7")
    assert answer.of("execute_result")[0]["execution_count"] == answer.content["execution_count"]
