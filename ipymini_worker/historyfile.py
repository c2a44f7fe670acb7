"""The database of the history, as IPython lays it out: what is in it and how it gets there.

A function that is given a connection works in a transaction, or outside of one, as the caller has it. SQLite is
loaded when a database is opened, which most kernels do behind their first cell.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from datetime import datetime
from importlib.machinery import PathFinder
from typing import Any

MEMORY = ":memory:"

_TABLES = (
    "CREATE TABLE IF NOT EXISTS sessions (session integer primary key autoincrement, start timestamp,"
    " end timestamp, num_cmds integer, remark text)",
    "CREATE TABLE IF NOT EXISTS history (session integer, line integer, source text, source_raw text,"
    " PRIMARY KEY (session, line))",
    "CREATE TABLE IF NOT EXISTS output_history (session integer, line integer, output text,"
    " PRIMARY KEY (session, line))",
)


def now() -> str:
    """The time as the start of a session is written."""
    return datetime.now().isoformat(" ", "microseconds")


def loadable() -> bool:
    """Whether there is SQLite in this Python, as far as that can be seen without loading it."""
    return "_sqlite3" in sys.builtin_module_names or PathFinder.find_spec("_sqlite3") is not None


def connect(path: str, options: Mapping[str, Any], patience: float) -> Any:
    """A connection for the calling thread.

    :param options: of the user's, for `sqlite3.connect`.
    :param patience: seconds to wait where the database is locked.
    :raises sqlite3.Error: the database cannot be used.
    :raises ImportError: SQLite cannot be loaded.
    """
    import sqlite3

    connection = sqlite3.connect(path, **{**options, "timeout": patience})
    try:
        with connection:
            for table in _TABLES:
                connection.execute(table)
    except BaseException:
        connection.close()
        raise
    return connection


def empty() -> Any:
    """A database in which there is nothing."""
    import sqlite3

    connection = sqlite3.connect(MEMORY, check_same_thread=False)
    for table in _TABLES:
        connection.execute(table)
    return connection


def number(connection: Any, started: str) -> int:
    """The number of the session that began at `started`, to the microsecond; 0 if it has none."""
    rows = connection.execute("SELECT max(session) FROM sessions WHERE start = ?", (started,))
    return int(rows.fetchone()[0] or 0)


def begin(connection: Any, started: str) -> int:
    """Gives a session a number, which it may have already: from the original of a copy, or from a try that failed."""
    if known := number(connection, started):
        return known
    row = connection.execute("INSERT INTO sessions VALUES (NULL, ?, NULL, NULL, '')", (started,))
    return int(row.lastrowid)


def add_input(connection: Any, session: int, line: int, source: str, raw: str) -> bool:
    """Writes one input, which may be there already; returns False if another one is there."""
    row = (session, line, _storable(source), _storable(raw))
    if connection.execute("INSERT OR IGNORE INTO history VALUES (?, ?, ?, ?)", row).rowcount:
        return True
    query = "SELECT source_raw FROM history WHERE session = ? AND line = ?"
    return bool(connection.execute(query, row[:2]).fetchone() == row[3:])


def add_output(connection: Any, session: int, line: int, output: str) -> None:
    """Writes one output, if there is none of that line."""
    row = (session, line, _storable(output))
    connection.execute("INSERT OR IGNORE INTO output_history VALUES (?, ?, ?)", row)


def inputs(connection: Any, session: int, first: int) -> dict[int, tuple[str, str]]:
    """The inputs of a session, transformed and as typed, from prompt number `first` on."""
    query = "SELECT line, source, source_raw FROM history WHERE session = ? AND line >= ?"
    return {line: (source, raw) for line, source, raw in connection.execute(query, (session, first))}


def is_sqlite(error: Exception) -> bool:
    """Whether SQLite has raised it."""
    sqlite3 = sys.modules.get("sqlite3")  # without it, it has not
    return sqlite3 is not None and isinstance(error, sqlite3.Error)


def corrupt(error: Exception) -> bool:
    """Whether the file is no database, or none any longer."""
    sqlite3 = sys.modules.get("sqlite3")
    if sqlite3 is None:
        return False
    return isinstance(error, sqlite3.DatabaseError) and not isinstance(
        error, (sqlite3.OperationalError, sqlite3.IntegrityError, sqlite3.ProgrammingError, sqlite3.DataError)
    )


def _storable(text: str) -> str:
    """`text` as SQLite takes it: there is no UTF-8 for lone surrogates."""
    return text.encode("utf-8", "backslashreplace").decode()
