"""IPython's history: written behind the cells' backs, every line once, also across forks and by whatever goes wrong."""

from __future__ import annotations

import io
import os
import sqlite3
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from IPython.core.interactiveshell import InteractiveShellABC

from ipymini_worker import history, historyfile
from ipymini_worker.history import HistoryManager

#: Seconds after which something that has to come will not.
TIMEOUT = 30.0


class Shell:
    """What a history manager needs of a shell."""

    def __init__(self, hist_file: Path | str, **traits: Any) -> None:
        self.execution_count = 1
        self.pushed: dict[str, Any] = {}
        self.history_manager = HistoryManager(shell=self, hist_file=str(hist_file), **traits)

    def push(self, variables: dict[str, Any], interactive: bool = True) -> None:
        """As in IPython."""
        self.pushed |= variables

    def transformed(self, code: str) -> str:
        """As that of our shell."""
        return self.transform_cell(code)

    def transform_cell(self, code: str) -> str:
        """What a magic becomes."""
        return code.replace("%who", "get_ipython().run_line_magic('who', '')")

    def runs(self, *cells: str) -> None:
        """Cells that end well."""
        for code in cells:
            self.history_manager.store_inputs(self.execution_count, self.transform_cell(code), code)
            self.execution_count += 1

    def writes(self) -> None:
        """What has not been written is."""
        self.history_manager.writeout_cache()

    def becomes(self, *, new_session: bool = False) -> None:
        """As a copy that takes the worker's place."""
        self.history_manager.renew()
        self.history_manager.reopen(new_session=new_session)


InteractiveShellABC.register(Shell)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "history.sqlite"


@pytest.fixture
def shell(file: Path) -> Iterator[Shell]:
    """A shell whose thread writes only when the test says so."""
    made = Shell(file, db_cache_size=1000)
    yield made
    made.history_manager.close()


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What is said on stderr."""
    stream = io.StringIO()
    monkeypatch.setattr(sys, "__stderr__", stream)
    return stream


def rows(file: Path) -> list[tuple[int, int, str]]:
    """Session, line and raw source of all that is in the database."""
    db = sqlite3.connect(file)
    try:
        return db.execute("SELECT session, line, source_raw FROM history ORDER BY session, line").fetchall()
    finally:
        db.close()


def sessions(file: Path) -> int:
    db = sqlite3.connect(file)
    try:
        return int(db.execute("SELECT count(*) FROM sessions").fetchone()[0])
    finally:
        db.close()


def insert(file: Path, session: int, line: int, source: str) -> None:
    """What the original has written after the copy was made."""
    db = sqlite3.connect(file)
    with db:
        db.execute("INSERT INTO history VALUES (?, ?, ?, ?)", (session, line, source, source))
    db.close()


def waits_until_written(shell: Shell) -> None:
    """The thread has written all that there is."""
    ended = threading.Event()
    while shell.history_manager.db_input_cache:
        assert not ended.wait(0.01)


# -- written in the end, and not before


def test_thread_writes_what_cells_leave(file: Path) -> None:
    shell = Shell(file)
    shell.runs("a = 1", "b = 2")
    waits_until_written(shell)
    assert [row[1:] for row in rows(file)] == [(1, "a = 1"), (2, "b = 2")]
    shell.runs("c = 3")
    waits_until_written(shell)
    shell.history_manager.close()
    assert [row[1:] for row in rows(file)] == [(1, "a = 1"), (2, "b = 2"), (3, "c = 3")]
    assert sessions(file) == 1
    assert history.THREAD not in [thread.name for thread in threading.enumerate()]


def test_thread_goes_on_after_it_was_ended(file: Path) -> None:
    shell = Shell(file)
    for code in ("a = 1", "b = 2"):
        shell.runs(code)
        waits_until_written(shell)
        shell.history_manager.close()
    assert [row[2] for row in rows(file)] == ["a = 1", "b = 2"]


def test_nothing_is_opened_before_there_is_something_to_write(shell: Shell, file: Path) -> None:
    assert shell.history_manager.input_hist_raw == [""]
    shell.history_manager.end_session()
    shell.history_manager.reset()
    shell.history_manager.close()
    assert not file.exists()


def test_session_gets_its_number_when_somebody_asks(shell: Shell, file: Path) -> None:
    Shell(file).history_manager.session_number  # noqa: B018
    assert shell.history_manager.session_number == 2
    assert shell.history_manager.session_number == 2
    assert sessions(file) == 2


def test_end_of_the_session_writes_what_is_left(shell: Shell, file: Path) -> None:
    shell.runs("a = 1", "b = 2")
    shell.history_manager.end_session()
    assert [row[2] for row in rows(file)] == ["a = 1", "b = 2"]
    with closing(sqlite3.connect(file)) as db:
        ((end, count),) = db.execute("SELECT end, num_cmds FROM sessions").fetchall()
    assert end
    assert count == 2


def test_reset_begins_another_session(shell: Shell, file: Path) -> None:
    shell.runs("a = 1")
    shell.history_manager.reset()
    shell.execution_count = 1
    assert shell.history_manager.input_hist_raw == [""]
    shell.runs("b = 2")
    shell.writes()
    assert rows(file) == [(1, 1, "a = 1"), (2, 1, "b = 2")]


def test_what_readers_ask_for_is_written_before(shell: Shell, file: Path) -> None:
    before = Shell(file, db_cache_size=1000)
    before.runs("old = 1")
    before.history_manager.end_session()
    shell.runs("a = 1", "b = 2")
    manager = shell.history_manager
    assert [row[2] for row in manager.get_tail(5, include_latest=True)] == ["old = 1", "a = 1", "b = 2"]
    assert [row[2] for row in manager.search("*= 1")] == ["old = 1", "a = 1"]
    assert [row[2] for row in manager.get_range(-1)] == ["old = 1"]
    assert [row[2] for row in manager.get_range()] == ["a = 1", "b = 2"]
    assert manager.get_session_info(0)[0] == 2
    before.history_manager.close()


def test_outputs_are_written_if_they_are_wanted(file: Path) -> None:
    shell = Shell(file, db_log_output=True, db_cache_size=1000)
    shell.runs("1")
    shell.history_manager.output_hist_reprs[1] = "1"
    shell.history_manager.store_output(1)
    shell.history_manager.end_session()
    assert list(shell.history_manager.search("1", output=True)) == [(1, 1, ("1", "1"))]
    shell.history_manager.close()


def test_line_that_another_has_taken_begins_a_session(shell: Shell, file: Path) -> None:
    """As when user code sets back the prompt number: nothing is lost."""
    shell.runs("a = 1")
    shell.writes()
    shell.execution_count = 1
    shell.runs("b = 2")
    shell.writes()
    assert rows(file) == [(1, 1, "a = 1"), (2, 1, "b = 2")]


def test_text_that_is_not_unicode_is_kept_as_it_can_be(shell: Shell, file: Path) -> None:
    shell.runs("a = '\ud800'", "b = 2")
    shell.writes()
    assert [row[2] for row in rows(file)] == ["a = '\\ud800'", "b = 2"]


# -- what goes wrong


def test_database_that_is_locked_costs_a_line_and_nothing_else(
    shell: Shell, file: Path, said: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "_PATIENCE", 0.01)
    shell.runs("a = 1")
    shell.writes()
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        shell.runs("b = 2")
        shell.writes()
        shell.writes()
        assert list(shell.history_manager.search("*")) == []
        assert shell.history_manager.get_session_info(1) is None
        other.execute("ROLLBACK")
    assert said.getvalue().count("\n") == 1
    assert "database is locked" in said.getvalue()
    shell.writes()
    assert [row[2] for row in rows(file)] == ["a = 1", "b = 2"]
    assert [path.name for path in file.parent.iterdir()] == ["history.sqlite"]


def test_thread_waits_in_silence_for_others_to_end(
    file: Path, said: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "_ATTEMPTS", 10**9)
    shell = Shell(file)
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        shell.runs("a = 1")
        ended = threading.Event()
        while not shell.history_manager._attempts:
            assert not ended.wait(0.01)
        other.execute("ROLLBACK")
    waits_until_written(shell)
    assert said.getvalue() == ""
    shell.history_manager.close()


def test_number_of_a_session_that_is_not_committed_is_not_the_session_s(
    shell: Shell, file: Path, said: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bug: it went to the next session of somebody else, and both wrote their lines under it."""
    monkeypatch.setattr(history, "_PATIENCE", 0.01)
    Shell(file).history_manager.session_number  # noqa: B018  # makes the tables, and another session
    with closing(sqlite3.connect(file, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM sessions").fetchall()  # nobody can commit
        assert shell.history_manager.session_number == 0
        reader.execute("ROLLBACK")
    other = Shell(file, db_cache_size=1000)
    assert other.history_manager.session_number == 2
    shell.runs("a = 1")
    shell.writes()
    assert rows(file) == [(3, 1, "a = 1")]
    other.history_manager.close()


def test_session_has_one_number(shell: Shell, file: Path) -> None:
    """Also where it was not heard that it had been committed."""
    number = shell.history_manager.session_number
    shell.history_manager._number = 0
    shell.runs("a = 1")
    shell.writes()
    assert rows(file) == [(number, 1, "a = 1")]
    assert sessions(file) == 1


@pytest.mark.parametrize("opened", [False, True], ids=["on opening", "on reading"])
def test_number_is_not_taken_along_to_a_new_file(shell: Shell, file: Path, opened: bool) -> None:
    for code in ("a = 1", "b = 2"):
        shell.history_manager.new_session()
        shell.runs(code)
        shell.writes()
    assert shell.history_manager.session_number == 2
    if opened:
        list(shell.history_manager.search("*"))
    file.write_bytes(b"this is no database" * 100)
    assert list(shell.history_manager.search("*")) == []
    shell.runs("c = 3")
    shell.writes()
    assert rows(file) == [(1, 3, "c = 3")]
    assert sessions(file) == 1


@pytest.mark.parametrize("content", [b"this is no database" * 100, b"SQLite format 3\x00" + b"\xff" * 20_000])
def test_file_that_is_no_database_is_moved_away(shell: Shell, file: Path, content: bytes) -> None:
    file.write_bytes(content)
    shell.runs("a = 1")
    shell.writes()
    assert [row[2] for row in rows(file)] == ["a = 1"]
    assert [path.read_bytes() for path in file.parent.glob("history-corrupt*")] == [content]


def test_file_that_is_no_database_is_moved_away_for_readers(shell: Shell, file: Path) -> None:
    file.write_bytes(b"this is no database" * 100)
    assert list(shell.history_manager.search("*")) == []
    assert shell.history_manager.session_number == 1


def test_file_that_cannot_be_written_costs_a_line(
    shell: Shell, file: Path, said: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = Shell(file)
    before.runs("old = 1")
    before.history_manager.end_session()
    before.history_manager.close()
    connect = sqlite3.connect
    # As SQLite opens what may only be read; root, who may run the tests, may write to everything.
    monkeypatch.setattr(sqlite3, "connect", lambda path, **given: connect(f"file:{path}?mode=ro", uri=True, **given))
    shell.runs("a = 1", "b = 2")
    shell.writes()
    assert [row[2] for row in shell.history_manager.search("*")] == ["old = 1"]
    assert said.getvalue().count("\n") == 1


def test_folder_that_is_not_there_costs_a_line(tmp_path: Path, said: io.StringIO) -> None:
    shell = Shell(tmp_path / "missing" / "history.sqlite")
    shell.runs("a = 1", "b = 2")
    shell.writes()
    assert shell.history_manager.session_number == 0
    assert list(shell.history_manager.search("*")) == []
    assert [row[2] for row in shell.history_manager.get_range()] == ["a = 1", "b = 2"]
    shell.history_manager.end_session()
    shell.history_manager.close()
    assert said.getvalue().count("\n") == 1
    assert "unable to open database file" in said.getvalue()


def test_sqlite_that_cannot_be_loaded_costs_a_line(
    file: Path, monkeypatch: pytest.MonkeyPatch, said: io.StringIO
) -> None:
    monkeypatch.setitem(sys.modules, "sqlite3", None)  # to import it is an ImportError
    shell = Shell(file)
    shell.runs("a = 1", "b = 2")
    shell.writes()
    shell.runs("c = 3")
    shell.writes()
    assert not shell.history_manager.enabled
    assert list(shell.history_manager.search("*")) == []
    assert [row[2] for row in shell.history_manager.get_range()] == ["a = 1", "b = 2", "c = 3"]
    shell.history_manager.end_session()
    shell.history_manager.close()
    assert said.getvalue().count("\n") == 1
    assert said.getvalue().endswith("it is kept in memory.\n")


@pytest.mark.parametrize("place", ["history.sqlite", ":memory:"])
def test_sqlite_that_cannot_be_loaded_now_is_tried_again(
    tmp_path: Path, place: str, monkeypatch: pytest.MonkeyPatch, said: io.StringIO
) -> None:
    """As where there is no memory, or no descriptor, at this moment."""

    class Refused:
        @staticmethod
        def find_spec(name: str, path: object = None, target: object = None) -> None:
            if name == "sqlite3":
                raise ImportError("failed to map segment")

    real = sys.modules["sqlite3"]
    monkeypatch.delitem(sys.modules, "sqlite3")
    monkeypatch.setattr(sys, "meta_path", [Refused, *sys.meta_path])
    ipython_has_it = getattr(history.ipython, "_sqlite3", None)
    if ipython_has_it is not None:
        ipython_has_it.cache_clear()
    shell = Shell(place if place == ":memory:" else tmp_path / place)
    shell.runs("a = 1")
    shell.writes()
    assert list(shell.history_manager.search("*")) == []
    assert shell.history_manager.enabled
    assert said.getvalue().endswith("it is kept in memory, and tried again.\n")
    sys.modules["sqlite3"] = real
    shell.writes()
    found = list(shell.history_manager.search("*"))
    shell.history_manager.close()
    assert [row[2] for row in found] == (["a = 1"] if place != ":memory:" else [])


def test_a_python_without_sqlite_has_no_history_in_a_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(historyfile, "loadable", lambda: False)
    shell = Shell(file)
    shell.runs("a = 1")
    shell.writes()
    assert not shell.history_manager.enabled
    assert [row[2] for row in shell.history_manager.get_range()] == ["a = 1"]
    assert not file.exists()


def test_without_a_thread_it_is_written_in_the_end(
    file: Path, monkeypatch: pytest.MonkeyPatch, said: io.StringIO
) -> None:
    def start(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    shell = Shell(file)
    shell.runs("a = 1", "b = 2")
    shell.history_manager.end_session()
    assert [row[2] for row in rows(file)] == ["a = 1", "b = 2"]
    assert said.getvalue() == ""
    shell.history_manager.close()


# -- forks


def test_fork_waits_for_the_thread_and_the_child_writes_nothing(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that user code forks has the list, and does not write it a second time."""
    shell = Shell(file, db_cache_size=1000)
    shell.runs("a = 1")
    manager = shell.history_manager
    writing, go_on = threading.Event(), threading.Event()
    monkeypatch.setattr(history, "_PATIENCE", TIMEOUT)
    hold = manager.hold

    def held() -> bool:
        go_on.set()  # right before the fork waits
        return hold()

    monkeypatch.setattr(manager, "hold", held)
    written: list[bool] = []

    def write() -> None:
        with manager._writing:
            writing.set()
            go_on.wait()
            written.append(True)

    thread = threading.Thread(target=write)
    thread.start()
    writing.wait()
    pid = os.fork()
    if not pid:
        free = written and manager._writing.acquire(blocking=False)
        manager.end_session()
        os._exit(0 if free and not file.exists() and manager.session_number == 0 else 1)
    assert os.waitpid(pid, 0)[1] == 0
    thread.join()
    shell.writes()
    assert rows(file) == [(1, 1, "a = 1")]
    manager.close()


def test_it_is_still_for_a_snapshot_or_says_that_it_is_not(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy that finds the lock taken would never write again."""
    monkeypatch.setattr(history, "_PATIENCE", 0.01)
    manager = shell.history_manager
    writing, go_on = threading.Event(), threading.Event()

    def write() -> None:
        with manager._writing:
            writing.set()
            go_on.wait()

    thread = threading.Thread(target=write)
    thread.start()
    writing.wait()
    with manager.still() as still:
        assert not still
    go_on.set()
    thread.join()
    with manager.still() as still:
        assert still
        pid = os.fork()
        if not pid:
            os._exit(0 if manager._writing.acquire(timeout=0) else 1)
    assert os.waitpid(pid, 0)[1] == 0
    shell.runs("a = 1")
    manager.set()
    waits_until_written(shell)


def test_history_that_is_switched_off_or_in_memory(tmp_path: Path) -> None:
    for shell in (Shell(":memory:"), Shell(tmp_path / "history.sqlite", enabled=False)):
        shell.runs("a = 1")
        shell.becomes()
        shell.runs("b = 2")
        assert [row[2] for row in shell.history_manager.get_range()] == ["a = 1", "b = 2"]
        shell.history_manager.end_session()
        shell.history_manager.close()
    assert not list(tmp_path.iterdir())


# -- in a copy that has become the worker


def test_same_session_goes_on_and_nothing_is_written_twice(shell: Shell, file: Path) -> None:
    shell.runs("a = 1", "b = 2")
    session = shell.history_manager.session_number
    insert(file, session, 1, "a = 1")  # the original has written this one, and not come to the other
    shell.becomes()
    assert shell.history_manager.session_number == session
    shell.runs("c = 3")
    shell.writes()
    assert rows(file) == [(session, 1, "a = 1"), (session, 2, "b = 2"), (session, 3, "c = 3")]
    assert sessions(file) == 1


def test_prompt_numbers_that_the_original_has_used_up_are_not_used_again(shell: Shell, file: Path) -> None:
    shell.runs("a = 1")
    shell.writes()
    session = shell.history_manager.session_number
    insert(file, session, 5, "later")
    shell.becomes()
    assert shell.execution_count == 6
    shell.runs("b = 2")
    shell.writes()
    assert rows(file) == [(session, 1, "a = 1"), (session, 5, "later"), (session, 6, "b = 2")]


def test_prompt_number_does_not_go_back_to_what_the_database_has(shell: Shell) -> None:
    shell.execution_count = 9
    shell.becomes()
    assert shell.execution_count == 9


def test_respawn_is_another_session_which_inherits_nothing_to_write(shell: Shell, file: Path) -> None:
    shell.runs("a = 1")
    first = shell.history_manager.session_number
    shell.becomes(new_session=True)
    shell.execution_count = 1
    shell.runs("b = 2")
    shell.writes()
    assert rows(file) == [(first + 1, 1, "b = 2")]
    assert sessions(file) == 2


def test_copy_finds_the_number_that_the_session_got_meanwhile(shell: Shell, file: Path) -> None:
    """The first cell killed the worker, which had written it by then."""
    with closing(sqlite3.connect(file)) as db, db:
        Shell(file).history_manager.session_number  # noqa: B018  # makes the tables, and another session
        db.execute("INSERT INTO sessions VALUES (7, ?, NULL, NULL, '')", (shell.history_manager._started,))
    insert(file, 7, 1, "die()")
    shell.becomes()
    assert shell.history_manager.session_number == 7
    assert shell.execution_count == 2
    assert shell.history_manager.input_hist_raw == ["", "die()"]


def test_copy_writes_what_the_original_has_not(file: Path) -> None:
    shell = Shell(file, db_cache_size=1000)
    shell.runs("a = 1")
    shell.becomes()
    waits_until_written(shell)
    assert rows(file) == [(1, 1, "a = 1")]
    shell.history_manager.close()


def test_history_that_cannot_be_opened_is_kept(
    shell: Shell, file: Path, monkeypatch: pytest.MonkeyPatch, said: io.StringIO
) -> None:
    monkeypatch.setattr(history, "_PATIENCE", 0.01)
    shell.runs("a = 1")
    shell.writes()
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        shell.becomes()
        shell.runs("b = 2")
        other.execute("ROLLBACK")
    assert "database is locked" in said.getvalue()
    shell.writes()
    assert rows(file) == [(1, 1, "a = 1"), (1, 2, "b = 2")]


# -- the cell that took the worker with it


@pytest.mark.parametrize("written", [False, True])
def test_input_of_a_lost_cell_is_kept_under_its_number(shell: Shell, file: Path, written: bool) -> None:
    shell.runs("a = 1", "b = 2")
    shell.writes()
    session = shell.history_manager.session_number
    if written:
        insert(file, session, 3, "%who; die()")
    shell.becomes()
    shell.history_manager.recall(3, "%who; die()")
    manager = shell.history_manager
    assert manager.input_hist_raw == ["", "a = 1", "b = 2", "%who; die()"]
    assert manager.input_hist_parsed[3] == "get_ipython().run_line_magic('who', ''); die()"
    assert shell.execution_count == 4
    assert shell.pushed["_i3"] == "%who; die()"
    shell.runs("c = 3")
    assert shell.pushed["_i"] == "%who; die()"
    shell.writes()
    lines = [(1, "a = 1"), (2, "b = 2"), (3, "%who; die()"), (4, "c = 3")]
    assert rows(file) == [(session, *line) for line in lines]
    assert manager.session_number == session
    assert sessions(file) == 1


def test_cells_that_the_copy_has_never_seen_are_empty_in_between(shell: Shell) -> None:
    """`In` is indexed with prompt numbers."""
    shell.runs("a = 1")
    shell.history_manager.recall(4, "die()")
    assert shell.history_manager.input_hist_raw == ["", "a = 1", "", "", "die()"]
    assert shell.history_manager.input_hist_parsed == ["", "a = 1", "", "", "die()"]
    assert shell.execution_count == 5


def test_lost_cell_that_the_copy_has_begun_with_itself_is_not_there_twice(shell: Shell) -> None:
    shell.runs("a = 1", "die()")
    shell.history_manager.recall(2, "die()")
    assert shell.history_manager.input_hist_raw == ["", "a = 1", "die()"]
    assert shell.execution_count == 3


def test_prompt_number_does_not_go_back_to_that_of_the_lost_cell(shell: Shell) -> None:
    shell.execution_count = 9
    shell.history_manager.recall(4, "die()")
    assert shell.execution_count == 9


def test_lost_cell_is_recalled_without_a_database() -> None:
    shell = Shell(":memory:")
    shell.history_manager.recall(2, "die()")
    assert shell.history_manager.input_hist_raw == ["", "", "die()"]
    assert shell.execution_count == 3
