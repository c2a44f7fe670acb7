"""IPython's history across forks: a database and a thread that do not survive one."""

from __future__ import annotations

import sqlite3
import sys
import threading
from typing import Any

MEMORY = ":memory:"


def pause(shell: Any) -> None:
    """Before a fork: IPython 9 and late versions of 8 stop the thread that writes by themselves, others do not."""
    manager = shell.history_manager
    thread = getattr(manager, "save_thread", None)
    if thread is not None and thread.is_alive() and not hasattr(type(manager), "_stop_thread"):
        thread.stop()
        manager.save_thread = None


def go_on(shell: Any) -> None:
    """After a fork, on both sides: starts the thread again where IPython does not do it by itself."""
    manager = shell.history_manager
    if manager.save_thread is None and not hasattr(manager, "_restart_thread_if_stopped"):
        _start_thread(manager)


def reopen(shell: Any, *, new_session: bool) -> None:
    """In a copy that has become the worker: opens the database again; nothing is written twice.

    :param new_session: whether this is another session, as after a respawn; else the old one goes on.
    """
    manager = shell.history_manager
    if not manager.enabled or str(manager.hist_file) == MEMORY:
        return
    manager.db_input_cache_lock = threading.Lock()  # another thread may have held them
    manager.db_output_cache_lock = threading.Lock()
    try:
        manager.db.close()
        manager.init_db()
        if new_session:
            manager.new_session()
            manager.db_input_cache, manager.db_output_cache = [], []
        else:
            written = _lines(manager)
            manager.db_input_cache = [entry for entry in manager.db_input_cache if entry[0] not in written]
            # Lines that the original has written and this copy has never seen.
            shell.execution_count = max(shell.execution_count, max(written, default=0) + 1)
            for line in sorted(written):
                if line >= len(manager.input_hist_raw):
                    _cut(manager, line)
                    manager.input_hist_parsed.append(written[line][0])
                    manager.input_hist_raw.append(written[line][1])
            manager.db_output_cache = []
        if manager.save_thread is not None and not manager.save_thread.is_alive():
            manager.save_thread = None
        if manager.save_thread is None:
            _start_thread(manager)
    except (sqlite3.Error, OSError) as error:
        print(f"The history cannot be opened again ({error}); it is kept in memory.", file=sys.stderr)
        manager.hist_file = MEMORY
        manager.init_db()
        manager.new_session()


def recall(shell: Any, cell: int, code: str) -> None:
    """Keeps the input of a cell that took the worker with it, under its own prompt number."""
    manager = shell.history_manager
    _cut(manager, cell)
    if manager.enabled and str(manager.hist_file) != MEMORY and cell in _lines(manager):
        enabled, manager.db_cache_size = manager.db_cache_size, sys.maxsize  # the thread must not see it meanwhile
        manager.store_inputs(cell, shell.transform_cell(code), code)
        manager.db_input_cache = [entry for entry in manager.db_input_cache if entry[0] != cell]
        manager.db_cache_size = enabled
    else:
        manager.store_inputs(cell, shell.transform_cell(code), code)
    shell.execution_count = max(shell.execution_count, cell + 1)


def _cut(manager: Any, length: int) -> None:
    """Makes the lists of inputs so long that the next one gets the number `length`."""
    for inputs in (manager.input_hist_parsed, manager.input_hist_raw):
        inputs.extend([""] * (length - len(inputs)))
        del inputs[length:]


def _lines(manager: Any) -> dict[int, tuple[str, str]]:
    """The inputs of this session that are in the database, transformed and as they were typed, by prompt number."""
    query = "SELECT line, source, source_raw FROM history WHERE session = ?"
    rows = manager.db.execute(query, (manager.session_number,))
    return {line: (source, raw) for line, source, raw in rows}


def _start_thread(manager: Any) -> None:
    from IPython.core.history import HistorySavingThread

    manager.save_thread = HistorySavingThread(manager)
    manager.save_thread.start()
