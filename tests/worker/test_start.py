"""What a worker finds when it starts: odd folders, odd files, odd options. None of it stops the kernel."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

import pytest

from worker.driver import Start, Worker

SHADOWS = [
    "random",
    "zmq",
    "json",
    "socket",
    "signal",
    "IPython",
    "traitlets",
    "ipymini_worker",
    "comm",
    "types",
    "enum",
]


def said(worker: Worker) -> str:
    """Everything on stderr, through the link or not."""
    worker.good("pass")
    return worker.text("stderr") + worker.raw["stderr"].decode()


def test_files_beside_the_notebook_do_not_stand_in_for_our_modules(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "notebooks"
    folder.mkdir()
    for name in SHADOWS:
        (folder / f"{name}.py").write_text(f"raise SystemExit('{name} of the user')")
    monkeypatch.chdir(folder)
    worker = start()
    assert worker.good("1 + 1").result == "2"
    assert worker.good("import sys\n'' in sys.path").result == "True"
    assert "of the user" in str(worker.run("import zmq").content["evalue"])


#: What we, IPython and asyncio import later than at the start.
LATE = (
    *("array", "asyncio", "bz2", "concurrent", "getpass", "heapq", "locale", "platform", "queue", "random"),
    *("selectors", "shutil", "socket", "sqlite3", "ssl", "subprocess", "tempfile", "termios", "uuid", "zlib"),
)


@pytest.mark.parametrize("first", [False, True])
def test_files_beside_the_notebook_do_not_stand_in_for_modules_that_are_loaded_late(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], first: bool
) -> None:
    """Neither where IPython puts the notebook's folder before Python's own."""
    if first:
        (tmp_path / "site-packages").mkdir()
        environment["PYTHONPATH"] = str(tmp_path / "site-packages")
    for name in (*LATE, "calculator"):
        (tmp_path / f"{name}.py").write_text("mine = True")
    monkeypatch.chdir(tmp_path)
    worker = start()
    assert worker.good(
        "import os, sys; sys.path.index('') < sys.path.index(os.path.dirname(os.__file__))"
    ).result == str(first)
    assert worker.good("import calculator; calculator.mine").result == "True"
    assert worker.good("!echo so").stdout == "so\n"
    assert worker.good("import asyncio; await asyncio.sleep(0, 'waited')").result == "'waited'"
    assert worker.good("import comm; len(comm.create_comm(target_name='t').comm_id)").result == "32"
    assert "calculator" in worker.good("%history -l 9").stdout
    assert worker.good("import getpass; getpass.getpass.__self__ is input.__self__").result == "True"
    cell = f"import importlib; [n for n in {LATE} if hasattr(importlib.import_module(n), 'mine')]"
    assert worker.good(cell).result == "[]"


def test_modules_beside_the_notebook_can_be_imported(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "beside.py").write_text("x = 5")
    monkeypatch.chdir(tmp_path)
    assert start().good("import beside\nbeside.x").result == "5"


def test_current_folder_stays_off_the_path_if_python_is_told_so(start: Start, environment: dict[str, str]) -> None:
    environment["PYTHONSAFEPATH"] = "1"
    assert start().good("import sys\n'' in sys.path").result == "False"


def test_interpreter_may_begin_without_what_its_environment_was_to_have(
    environment: dict[str, str], tmp_path: Path
) -> None:
    """As where it has capabilities, or is a script that cleans up: what the allocator is told is not to be had then."""
    wrapper = tmp_path / "python"
    clean = "env -u MALLOC_MMAP_THRESHOLD_ -u MALLOC_TRIM_THRESHOLD_"
    wrapper.write_text(f'#!/bin/sh\nexec {clean} {shlex.quote(sys.executable)} "$@"\n')
    wrapper.chmod(0o700)
    worker = Worker(environment, python=str(wrapper))
    try:
        assert worker.ready().good("1 + 1").result == "2"
    finally:
        worker.close()


def test_folder_of_the_package_is_not_on_the_path(start: Start) -> None:
    import ipymini_worker

    folder = os.path.dirname(os.path.dirname(os.path.abspath(ipymini_worker.__file__)))
    if "site-packages" not in folder:  # where it is installed, everybody has it on the path
        assert start().good(f"import sys\n{folder!r} in sys.path").result == "False"


@pytest.mark.parametrize(
    "option",
    [
        "--nonsense",
        "--Foo.bar=1",
        "--InteractiveShell.no_such_trait=1",
        "--InteractiveShell.autocall=many",
        "stray",
        "-x",
        "--=",
    ],
)
def test_option_that_nobody_knows_costs_at_most_a_line(start: Start, option: str) -> None:
    worker = start(option, "--InteractiveShell.ast_node_interactivity=all")
    assert [r["data"]["text/plain"] for r in worker.good("1\n2").of("execute_result")] == ["1", "2"]


def test_option_that_is_left_out_is_named(start: Start) -> None:
    assert "--nonsense" in said(start("--nonsense"))


def test_traits_of_the_shell_are_honoured(start: Start) -> None:
    worker = start(
        "--InteractiveShell.ast_node_interactivity=all", "--no-autoindent", "--InteractiveShell.colors=nocolor"
    )
    assert len(worker.good("1\n2").of("execute_result")) == 2
    assert "\x1b" not in "".join(worker.run("1/0").content["traceback"])


def test_matplotlib_inline_is_honoured_and_a_figure_is_shown(start: Start) -> None:
    worker = start("--matplotlib=inline")
    answer = worker.good("import matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.show()")
    assert [d for d in answer.of("display_data") if "image/png" in d["data"]]


def test_matplotlib_draws_inline_without_any_option(start: Start) -> None:
    worker = start()
    answer = worker.good("import matplotlib.pyplot as plt\nplt.plot([1, 2]);")
    assert [d for d in answer.of("display_data") if "image/png" in d["data"]]


def profile(environment: dict[str, str]) -> Path:
    """The folder of the default profile."""
    folder = Path(environment["IPYTHONDIR"]) / "profile_default"
    (folder / "startup").mkdir(parents=True)
    return folder


def test_startup_files_run_in_order(start: Start, environment: dict[str, str]) -> None:
    startup = profile(environment) / "startup"
    (startup / "00-first.py").write_text("order = ['first']\nprint('from a start-up file')")
    (startup / "10-second.ipy").write_text("order.append('second')\n%alias_magic tt timeit\n")
    worker = start()
    assert worker.good("order").result == "['first', 'second']"
    assert worker.good("tt -n1 -r1 pass").status == "ok"


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("raise LookupError('bad start-up')", "bad start-up"),
        ("import sys; sys.exit(3)", "3"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
    ],
)
def test_startup_file_that_fails_is_told_and_stops_nothing(
    start: Start, environment: dict[str, str], line: str, word: str
) -> None:
    startup = profile(environment) / "startup"
    (startup / "00-bad.py").write_text(f"good = 1\n{line}")
    worker = start()
    assert worker.good("good").result == "1"
    assert word in str(worker.events) + said(worker)


def test_configuration_files_are_honoured(start: Start, environment: dict[str, str]) -> None:
    folder = profile(environment)
    (folder / "ipython_config.py").write_text(
        "c = get_config()\nc.InteractiveShell.ast_node_interactivity = 'all'\nc.InteractiveShellApp.exec_lines = ['a = 1']\n"
    )
    worker = start()
    assert len(worker.good("1\n2").of("execute_result")) == 2
    assert worker.good("a").result == "1"


def test_configuration_of_the_kernel_is_honoured_and_comes_after_the_general_one(
    start: Start, environment: dict[str, str]
) -> None:
    folder = profile(environment)
    (folder / "ipython_config.py").write_text("c.InteractiveShellApp.exec_lines = ['a = 1']\n")
    (folder / "ipython_kernel_config.py").write_text(
        "c.IPKernelApp.exec_lines = ['b = 2']\nc.IPKernelApp.extensions = ['autoreload']\n"
        "c.InteractiveShell.ast_node_interactivity = 'all'\n"
    )
    worker = start()
    assert worker.good("b").result == "2"
    assert len(worker.good("1\n2").of("execute_result")) == 2
    assert worker.good("%autoreload 0").status == "ok"


def test_command_line_comes_before_the_files(start: Start, environment: dict[str, str]) -> None:
    (profile(environment) / "ipython_kernel_config.py").write_text(
        "c.InteractiveShell.ast_node_interactivity = 'none'\n"
    )
    assert len(start("--InteractiveShell.ast_node_interactivity=all").good("1\n2").of("execute_result")) == 2


@pytest.mark.parametrize(
    "text", ["this is no python", "raise SystemExit(3)", "1/0", "c.InteractiveShell.autocall = 'many'"]
)
def test_configuration_that_cannot_be_read_costs_a_warning(
    start: Start, environment: dict[str, str], text: str
) -> None:
    (profile(environment) / "ipython_kernel_config.py").write_text(text)
    worker = start()
    assert worker.good("1 + 1").result == "2"
    assert said(worker)


def test_exec_lines_and_files_of_the_command_line_run(start: Start, tmp_path: Path) -> None:
    file = tmp_path / "first.py"
    file.write_text("from_file = 1")
    worker = start("--IPKernelApp.exec_lines=['line = 2']", f"--IPKernelApp.exec_files=['{file}']")
    assert worker.good("from_file, line").result == "(1, 2)"


def test_profile_by_name_and_by_folder(start: Start, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    (folder / "startup").mkdir(parents=True)
    (folder / "startup" / "x.py").write_text("x = 'of my profile'")
    assert start("--profile-dir", str(folder)).good("x").result == "'of my profile'"
    assert start(f"--profile-dir={folder}").good("x").result == "'of my profile'"


def test_profile_that_does_not_exist_stops_nothing(start: Start) -> None:
    assert start("--profile=missing").good("1 + 1").result == "2"


@pytest.mark.parametrize("place", ["/dev/null/x", "/proc/nowhere"])
@pytest.mark.parametrize("variables", [["IPYTHONDIR"], ["HOME"], ["IPYTHONDIR", "HOME"]])
def test_folder_that_cannot_be_written_stops_nothing(
    start: Start, environment: dict[str, str], place: str, variables: list[str]
) -> None:
    if "IPYTHONDIR" not in variables:
        del environment["IPYTHONDIR"]
    environment.update(dict.fromkeys(variables, place))
    worker = start()
    assert worker.good("1 + 1").result == "2"
    assert worker.good("In[1]").result == "'1 + 1'"
    assert worker.get("history_request", {"hist_access_type": "range", "session": 0})["history"]


@pytest.mark.parametrize("content", [b"this is no database" * 100, b"SQLite format 3\x00" + b"\xff" * 2000, b""])
def test_history_file_that_is_broken_stops_nothing(start: Start, environment: dict[str, str], content: bytes) -> None:
    (profile(environment) / "history.sqlite").write_bytes(content)
    worker = start()
    assert worker.good("1 + 1").result == "2"
    assert worker.get("history_request", {"hist_access_type": "tail", "n": 3})["status"] == "ok"


def test_history_in_memory_is_honoured(start: Start, environment: dict[str, str]) -> None:
    start("--HistoryManager.hist_file=:memory:").good("1")
    assert not list(Path(environment["IPYTHONDIR"]).rglob("history.sqlite"))


def test_variables_of_the_environment_reach_the_cells(start: Start, environment: dict[str, str]) -> None:
    environment |= {"MINE": "ü", "MPLBACKEND": "agg"}
    worker = start()
    assert worker.good("import os\nos.environ['MINE'], os.environ['MPLBACKEND']").result == "('ü', 'agg')"


@pytest.mark.parametrize("locale", ["C", "POSIX", "xx_XX.nonsense"])
def test_locale_makes_no_difference(start: Start, environment: dict[str, str], locale: str) -> None:
    environment |= {"LC_ALL": locale, "LANG": locale}
    assert start().good("print('ü€')").stdout == "ü€\n"


def test_worker_is_the_only_process(fresh: Worker) -> None:
    assert fresh.good("import psutil\npsutil.Process().children()").result == "[]"


def test_worker_has_few_threads(fresh: Worker) -> None:
    names = eval(fresh.good("import threading\nsorted(t.name for t in threading.enumerate())").result)
    assert "MainThread" in names
    assert len(names) <= 3


def test_what_nobody_has_asked_for_is_not_there(fresh: Worker) -> None:
    assert fresh.good("get_ipython()._completer is None").result == "True"
    names = {
        "asyncio",
        "jedi",
        "matplotlib",
        "debugpy",
        "pydevd",
        "multiprocessing",
        "importlib.abc",
        "pygments.lexers",
    }
    assert fresh.good(f"import sys\nsorted({names!r} & set(sys.modules))").result == "[]"


def test_collector_works_from_the_first_line_of_the_user_on(start: Start, environment: dict[str, str]) -> None:
    folder = Path(environment["IPYTHONDIR"], "profile_default", "startup")
    folder.mkdir(parents=True)
    (folder / "first.py").write_text("import gc\nbegan = gc.isenabled()")
    assert start().good("began, gc.isenabled(), gc.get_freeze_count() > 1000").result == "(True, True, True)"


def test_completer_that_comes_late_knows_who_came_before(fresh: Worker) -> None:
    fresh.good("get_ipython().set_hook('complete_command', lambda self, event: ['spam_and_eggs'], str_key='spam')")
    assert "spam_and_eggs" in fresh.good("get_ipython().complete('', 'spam ', 5)[1]").result
    assert "'sys'" in fresh.good("get_ipython().complete('', 'import sy', 9)[1]").result


def test_completer_can_be_configured_before_it_is_there(fresh: Worker) -> None:
    fresh.good("%config")
    assert "IPCompleter" in fresh.text("stdout")


def test_configuration_of_the_completer_that_makes_no_sense_is_told_at_the_start(
    start: Start, environment: dict[str, str]
) -> None:
    folder = profile(environment)
    (folder / "ipython_config.py").write_text("c = get_config()\nc.IPCompleter.omit__names = 'all'\n")
    assert "omit__names" in said(start())
