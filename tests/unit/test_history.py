"""IPython's history across forks: every line once in the database, and the input of the cell that took the worker."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from IPython.core.history import HistoryManager
from IPython.core.interactiveshell import InteractiveShellABC

from ipymini_worker import history


class Shell:
    """What a history manager needs of a shell, and what `history` does."""

    def __init__(self, hist_file: Path | str) -> None:
        self.execution_count = 1
        self.pushed: dict[str, Any] = {}
        self.history_manager: Any = HistoryManager(shell=self, hist_file=str(hist_file))  # type: ignore[no-untyped-call]

    def push(self, variables: dict[str, Any], interactive: bool = True) -> None:
        """As in IPython."""
        self.pushed |= variables

    def transform_cell(self, code: str) -> str:
        """What a magic becomes."""
        return code.replace("%who", "get_ipython().run_line_magic('who', '')")

    def runs(self, *cells: str) -> None:
        """Cells that end well."""
        for code in cells:
            self.history_manager.store_inputs(self.execution_count, self.transform_cell(code), code)
            self.execution_count += 1

    def writes(self) -> None:
        """The thread that writes has had its turn."""
        self.history_manager.writeout_cache()

    def close(self) -> None:
        manager = self.history_manager
        if manager.save_thread is not None:
            manager.save_thread.stop()
        manager.db.close()


InteractiveShellABC.register(Shell)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "history.sqlite"


@pytest.fixture
def shell(file: Path) -> Iterator[Shell]:
    """A shell whose thread writes only when the test says so."""
    made = Shell(file)
    made.history_manager.db_cache_size = 1000
    yield made
    made.close()


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


def threads(shell: Shell) -> bool:
    thread = shell.history_manager.save_thread
    return thread is not None and thread.is_alive()


# -- around a fork


def test_thread_is_there_before_and_after_a_fork(shell: Shell) -> None:
    history.pause(shell)
    history.go_on(shell)
    shell.history_manager._restart_thread_if_stopped()
    assert threads(shell)


class OldManager:
    """A history manager of before IPython 8.3x, which knows nothing of forks."""

    def __init__(self, manager: Any) -> None:
        self.save_thread = manager.save_thread
        self.hist_file, self.enabled, self.connection_options = manager.hist_file, True, manager.connection_options


def test_older_ipython_does_not_stop_its_thread_by_itself(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    old = OldManager(shell.history_manager)
    new, shell.history_manager = shell.history_manager, old
    try:
        thread = old.save_thread
        history.pause(shell)
        assert old.save_thread is None
        assert not thread.is_alive()
        history.pause(shell)
        history.go_on(shell)
        assert threads(shell)
        thread = old.save_thread
        history.go_on(shell)
        assert old.save_thread is thread
    finally:
        old.save_thread.stop()
        shell.history_manager = new


def test_history_that_is_switched_off_has_no_thread_to_care_for() -> None:
    shell = Shell(":memory:")
    history.pause(shell)
    history.reopen(shell, new_session=False)
    history.go_on(shell)
    assert shell.history_manager.save_thread is None
    shell.close()


# -- in a copy that has become the worker


def test_same_session_goes_on_and_nothing_is_written_twice(shell: Shell, file: Path) -> None:
    shell.runs("a = 1", "b = 2")
    session = shell.history_manager.session_number
    insert(file, session, 1, "a = 1")  # the original has written this one, and not come to the other
    history.reopen(shell, new_session=False)
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
    history.reopen(shell, new_session=False)
    assert shell.execution_count == 6
    shell.runs("b = 2")
    shell.writes()
    assert rows(file) == [(session, 1, "a = 1"), (session, 5, "later"), (session, 6, "b = 2")]


def test_prompt_number_does_not_go_back_to_what_the_database_has(shell: Shell) -> None:
    shell.execution_count = 9
    history.reopen(shell, new_session=False)
    assert shell.execution_count == 9


def test_respawn_is_another_session_which_inherits_nothing_to_write(shell: Shell, file: Path) -> None:
    shell.runs("a = 1")
    first = shell.history_manager.session_number
    history.reopen(shell, new_session=True)
    shell.execution_count = 1
    shell.runs("b = 2")
    shell.writes()
    assert rows(file) == [(first + 1, 1, "b = 2")]
    assert sessions(file) == 2


def test_thread_that_did_not_survive_is_started_again(shell: Shell, file: Path) -> None:
    shell.history_manager.save_thread.stop()  # as in a copy: the object is there and its thread is not
    history.reopen(shell, new_session=False)
    assert threads(shell)
    shell.runs("a = 1")
    thread = shell.history_manager.save_thread
    thread.save_flag.set()
    thread.stop()
    shell.writes()
    assert [row[2] for row in rows(file)] == ["a = 1"]


def test_thread_that_writes_is_not_doubled(shell: Shell) -> None:
    thread = shell.history_manager.save_thread
    history.reopen(shell, new_session=False)
    assert shell.history_manager.save_thread is thread


def test_history_that_cannot_be_opened_is_kept_in_memory(
    shell: Shell, file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shell.runs("a = 1")
    shell.history_manager.save_thread.stop()
    manager = type(shell.history_manager)
    opened = manager.init_db

    def init_db(self: Any) -> None:
        if str(self.hist_file) == str(file):
            raise sqlite3.OperationalError("disk I/O error")
        opened(self)

    monkeypatch.setattr(manager, "init_db", init_db)
    history.reopen(shell, new_session=False)
    assert "disk I/O error" in capsys.readouterr().err
    assert shell.history_manager.hist_file == ":memory:"
    shell.runs("b = 2")
    assert [code for _, _, code in shell.history_manager.get_range(raw=True)][-1] == "b = 2"


# -- the cell that took the worker with it


@pytest.mark.parametrize("written", [False, True])
def test_input_of_a_lost_cell_is_kept_under_its_number(shell: Shell, file: Path, written: bool) -> None:
    shell.runs("a = 1", "b = 2")
    shell.writes()
    session = shell.history_manager.session_number
    if written:
        insert(file, session, 3, "%who; die()")
    history.reopen(shell, new_session=False)
    history.recall(shell, 3, "%who; die()")
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
    history.recall(shell, 4, "die()")
    assert shell.history_manager.input_hist_raw == ["", "a = 1", "", "", "die()"]
    assert shell.history_manager.input_hist_parsed == ["", "a = 1", "", "", "die()"]
    assert shell.execution_count == 5


def test_lost_cell_that_the_copy_has_begun_with_itself_is_not_there_twice(shell: Shell) -> None:
    shell.runs("a = 1", "die()")
    history.recall(shell, 2, "die()")
    assert shell.history_manager.input_hist_raw == ["", "a = 1", "die()"]
    assert shell.execution_count == 3


def test_prompt_number_does_not_go_back_to_that_of_the_lost_cell(shell: Shell) -> None:
    shell.execution_count = 9
    history.recall(shell, 4, "die()")
    assert shell.execution_count == 9


def test_size_of_the_cache_is_what_it_was(shell: Shell, file: Path) -> None:
    insert(file, shell.history_manager.session_number, 1, "die()")
    history.recall(shell, 1, "die()")
    assert shell.history_manager.db_cache_size == 1000
    assert shell.history_manager.db_input_cache == []


def test_lost_cell_is_recalled_without_a_database() -> None:
    shell = Shell(":memory:")
    history.recall(shell, 2, "die()")
    assert shell.history_manager.input_hist_raw == ["", "", "die()"]
    assert shell.execution_count == 3
    shell.close()
