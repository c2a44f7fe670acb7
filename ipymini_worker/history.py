"""IPython's history without waiting for the disk, and across forks.

Rules:

1. A cell costs an entry in a list. A thread writes what is in the list, many at once if cells come fast.
2. The database is not opened, and the session has no number, before something is written or somebody asks.
3. The thread has the database open only while it holds `_writing`, and a fork, whoever makes it, waits for that: no
   copy finds a lock of SQLite's taken by a thread that it does not have.
4. What cannot be written is kept and tried again; one line on stderr says so, once.
5. The start of a session, to the microsecond, tells a copy which one it goes on with, if it got its number meanwhile.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any

from IPython.core import history as ipython
from traitlets import default

from ipymini_worker import context, historyfile, historyforks
from ipymini_worker.historyfile import MEMORY

#: The name of the thread, which is that of IPython's own: it does the same.
THREAD = "IPythonHistorySavingThread"
#: Seconds that a reader, and the end of the session, wait for another process that has the database locked.
_PATIENCE = 1.0
#: How often the thread finds it locked before that is said.
_ATTEMPTS = 10
#: How often a file that is no database is moved away.
_REPAIRS = 3
#: Writing takes one part in so many of the time, and there are at least and at most so many seconds in between.
_SHARE, _SHORTEST, _LONGEST = 20, 0.1, 2.0
#: Seconds before the first write: the first cell has better use for the processor than to load SQLite.
_GRACE = 0.05


class HistoryManager(ipython.HistoryManager):  # type: ignore[misc]  # IPython is not typed
    """Bears the name of IPython's, so that configuration and `%config` find it."""

    hist_file: Any  # a Path, or MEMORY
    enabled: Any
    db_input_cache: Any  # of prompt number, transformed source and source, each a tuple
    db_output_cache: Any
    _writer: threading.Thread | None
    using_thread = True  # IPython asks before it sets `save_flag`

    @default("enabled")
    def _enabled_default(self) -> bool:
        """As the base class, which loads SQLite to see; whether it can be loaded shows when something is written."""
        return historyfile.loadable()

    def __init__(self, shell: Any = None, config: Any = None, **traits: Any) -> None:
        self._connection: Any = None  # for reading
        self._number = 0  # of the session, once it has one
        self._started = historyfile.now()
        self._wanted = False  # that the thread writes
        self._not_before = perf_counter() + _GRACE  # when it may
        self._said = False
        self._attempts = self._repairs = 0
        self.renew()
        self._away = False
        # Not that of IPython's manager, which opens the database and starts a thread.
        super(ipython.HistoryManager, self).__init__(shell=shell, config=config, **traits)
        if self.stored:
            self.hist_file = Path(self.hist_file)  # IPython, which moves broken files away, wants no string
        historyforks.follow(self)

    # -- the database, opened when it is needed

    @property
    def stored(self) -> bool:
        """Whether there is a file."""
        return bool(self.enabled) and str(self.hist_file) != MEMORY

    def init_db(self) -> None:
        """The database is opened when it is needed next."""
        if self._connection is not None:
            self._connection.close()
        self._connection = None

    @property
    def db(self) -> Any:
        """A connection for reading; to a database that is empty as long as the real one cannot be used."""
        while self._connection is None:
            if self.stored:
                try:
                    self._connect(_PATIENCE).close()
                except Exception as error:
                    if not historyfile.corrupt(error):
                        # IPython would move the file away, although nothing is wrong with it.
                        self._complain(error)
                        return historyfile.empty() if "sqlite3" in sys.modules else ipython.DummyDB()
                    self._number = 0  # which is that of a session in the file that is moved away
            try:
                super().init_db()
            except (OSError, ImportError) as error:
                self._complain(error)
                if isinstance(error, ImportError):
                    return ipython.DummyDB()
                self.hist_file = MEMORY  # it cannot be moved away either
        return self._connection

    @db.setter
    def db(self, connection: Any) -> None:
        self._connection = connection

    def _connect(self, patience: float) -> Any:
        """A connection for the calling thread, see `historyfile.connect`."""
        return historyfile.connect(str(self.hist_file), self.connection_options, patience)

    def close(self) -> None:
        """Ends the thread, and closes the connection for reading; what is not written stays so."""
        self._end_writer()
        self._wanted = False
        if self._connection is not None:
            self._connection.close()

    def _run_sql(self, *args: Any, **options: Any) -> list[Any]:
        """As the base class; nothing is found in a database that is locked."""
        try:
            # At once: rows that wait to be fetched keep others from writing.
            return list(super()._run_sql(*args, **options))
        except Exception as error:
            if not historyfile.is_sqlite(error):
                raise
            if historyfile.corrupt(error):  # IPython moves the file away
                self._number = 0
                raise
            self._complain(error)
            return []

    # -- the session

    @property
    def session_number(self) -> int:
        """The number of the session in the database, which it gets now if it has none; 0 if that cannot be done."""
        if not self._number and self.enabled and not self._away:
            try:
                if self.stored:
                    with self._writing:
                        if not self._number:
                            with closing(self._connect(_PATIENCE)) as connection:
                                with connection:
                                    number = historyfile.begin(connection, self._started)
                                self._number = number  # not before it is there for all to see
                else:
                    with self.db:
                        number = historyfile.begin(self.db, self._started)
                    self._number = number
            except Exception as error:
                if historyfile.corrupt(error) and self._repaired():
                    return self.session_number
                self._complain(error)
        return self._number

    @session_number.setter
    def session_number(self, number: int) -> None:
        self._number = number

    def new_session(self, conn: Any = None) -> None:
        """Another session begins; it gets its number when it is needed."""
        self._number, self._started = 0, historyfile.now()

    def end_session(self) -> None:
        """As the base class; a session in which nothing was done leaves nothing in the database."""
        if self._away:
            return
        self.writeout_cache()
        if self._number and self.enabled:
            try:
                self.db.execute(f"PRAGMA busy_timeout = {int(1000 * _PATIENCE)}")
                super().end_session()
            except Exception as error:
                self._complain(error)
        self.new_session()

    def reset(self, new_session: bool = True) -> None:
        """As the base class."""
        super().reset(new_session=False)
        if new_session:
            self.end_session()
            self.input_hist_parsed[:] = [""]
            self.input_hist_raw[:] = [""]

    # -- writing

    @property
    def save_flag(self) -> HistoryManager:
        """What IPython calls `set` of when there is enough to be written."""
        return self

    def _restart_thread_if_stopped(self) -> None:
        """IPython asks for it; `set` does it."""

    def set(self) -> None:
        """Has a thread write what there is."""
        if not self.stored or self._away:
            return
        with self._deciding:
            self._wanted = True
            if self._writer is None or self._leaving:
                self._start_writer()

    def _start_writer(self) -> None:
        self._ended.clear()
        self._leaving = False
        self._writer = thread = threading.Thread(target=self._write_in_thread, name=THREAD, daemon=True)
        # The debugger leaves it alone.
        thread.pydev_do_not_trace = thread.is_pydev_daemon_thread = True  # type: ignore[attr-defined]
        old = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())  # SIGINT is for the main thread
        try:
            thread.start()
        except RuntimeError:  # there can be no more threads; whoever reads, and the end, will write
            self._writer = None
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, old)

    def _write_in_thread(self) -> None:
        while not self._ended.wait(max(0.0, self._not_before - perf_counter())):
            with self._deciding:
                if not self._wanted:
                    self._leaving = True
                    return
                self._wanted = False
            began = perf_counter()
            if not self._write(0.0) and self._attempts < _ATTEMPTS:
                self._wanted = True
            now = perf_counter()
            self._not_before = now + min(max(_SHARE * (now - began), _SHORTEST), _LONGEST)

    def _end_writer(self) -> None:
        """Ends the thread; what it has not written stays wanted."""
        with self._deciding:
            thread, self._writer = self._writer, None
        if thread is not None and thread is not threading.current_thread():
            self._ended.set()
            thread.join(_PATIENCE)  # a disk that hangs must not hang a fork

    def writeout_cache(self, conn: Any = None) -> None:
        """Writes what has not been written, now."""
        if self.stored:
            self._attempts = _ATTEMPTS
            wanted, self._wanted = self._wanted, False  # a thread that came now would find nothing to do
            if not self._write(_PATIENCE):
                self._wanted = self._wanted or wanted
        elif not self._away:
            super().writeout_cache()

    def _write(self, patience: float) -> bool:
        """Writes what there is; returns False if that did not work, and it is still to be done."""
        with self._writing:
            inputs, outputs = list(self.db_input_cache), list(self.db_output_cache)
            if self._away or not (inputs or outputs):
                return True
            try:
                with closing(self._connect(patience)) as connection, connection:
                    number = self._number or historyfile.begin(connection, self._started)
                    for entry in inputs:
                        number = self._insert(connection, number, *entry)
                    for line, output in outputs:
                        historyfile.add_output(connection, number, line, output)
            except Exception as error:
                if historyfile.corrupt(error) and self._repaired():
                    return self._write(patience)
                self._attempts += 1
                if "locked" not in str(error) or self._attempts >= _ATTEMPTS:
                    self._attempts = _ATTEMPTS
                    self._complain(error)
                return False
            self._number, self._attempts = number, 0
            with self.db_input_cache_lock:
                del self.db_input_cache[: len(inputs)]
            with self.db_output_cache_lock:
                del self.db_output_cache[: len(outputs)]
            return True

    def _insert(self, connection: Any, number: int, line: int, source: str, raw: str) -> int:
        """Writes one input; returns the number of the session, which is another one where the line is taken."""
        if not historyfile.add_input(connection, number, line, source, raw):
            self._started = historyfile.now()
            number = historyfile.begin(connection, self._started)
            historyfile.add_input(connection, number, line, source, raw)
        return number

    def _repaired(self) -> bool:
        """Lets IPython move a file that is no database out of the way; returns whether it is worth another try."""
        self._repairs += 1
        if self._repairs > _REPAIRS:
            return False
        self._number = 0
        try:
            super().init_db()
        except Exception:
            return False
        return self.stored

    def _complain(self, error: Exception) -> None:
        """Says, once, that the history cannot be used. The cell that happens to run shows it."""
        self.enabled = self.enabled and not isinstance(error, ModuleNotFoundError)  # as IPython does at the start
        if not self._said:
            self._said = True
            again = ", and tried again" * self.enabled
            text = f"The history cannot be written ({error}); it is kept in memory{again}.\n"
            if sys.__stderr__ is not None:  # not `sys.stderr`, which may be a cell's own by now
                context.run(context.active(), sys.__stderr__.write, text)

    # -- forks

    @contextmanager
    def still(self) -> Iterator[bool]:
        """For the time of a fork nothing is being written; gives False if a write takes too long."""
        lock, still = self._writing, self.hold()  # there is another lock in the copy
        try:
            yield still
        finally:
            if still:
                lock.release()
            if self._wanted:
                self.set()

    def hold(self) -> bool:
        """See `historyforks.Writer`. A thread that waits goes on waiting: to end it and begin another one takes longer
        than a fork. What Python keeps of it in a copy, which does not have it, is 19 KB for each that is resumed.
        """
        return self._writing.acquire(timeout=_PATIENCE)

    def release(self, *, copy: bool) -> None:
        """See `historyforks.Writer`."""
        self._writing.release()
        if self._wanted and not copy:
            self.set()

    def renew(self) -> None:
        """Locks that nobody holds; in a copy, those of the original may be held by threads that it does not have."""
        self._writing = threading.RLock()
        self.db_input_cache_lock = threading.Lock()
        self.db_output_cache_lock = threading.Lock()
        self._deciding, self._ended = threading.Lock(), threading.Event()
        self._writer, self._leaving = None, False
        self._away = True

    def reopen(self, *, new_session: bool) -> None:
        """In a copy that has become the worker: opens the database again; nothing is written twice.

        :param new_session: whether this is another session, as after a respawn; else the old one goes on.
        """
        self._away, self._attempts = False, 0
        if not self.stored:
            return
        self.init_db()
        if new_session:
            self.new_session()
            self.db_input_cache, self.db_output_cache = [], []
            return
        self.db_output_cache = []
        # Not all of them: a session that comes back again and again would take more and more memory.
        written = self.lines(min([len(self.input_hist_raw), *(entry[0] for entry in self.db_input_cache)]))
        self.db_input_cache = [entry for entry in self.db_input_cache if entry[0] not in written]
        # Lines that the original has written and this copy has never seen.
        self.shell.execution_count = max(self.shell.execution_count, max(written, default=0) + 1)
        for line in sorted(written):
            if line >= len(self.input_hist_raw):
                _cut(self, line)
                self.input_hist_parsed.append(written[line][0])
                self.input_hist_raw.append(written[line][1])
        if self.db_input_cache:
            self.set()

    def recall(self, cell: int, code: str) -> None:
        """Keeps the input of a cell of an earlier worker, under its own prompt number."""
        _cut(self, cell)
        self.store_inputs(cell, self.shell.transformed(code), code)
        self.shell.execution_count = max(self.shell.execution_count, cell + 1)

    def lines(self, first: int) -> dict[int, tuple[str, str]]:
        """The inputs of this session in the database, transformed and as typed, from prompt number `first` on."""
        if not self.stored or not os.path.exists(self.hist_file):
            return {}
        try:
            with closing(self._connect(_PATIENCE)) as connection:
                self._number = self._number or historyfile.number(connection, self._started)
                return historyfile.inputs(connection, self._number, first)
        except Exception as error:
            self._complain(error)
            return {}


def _cut(manager: Any, length: int) -> None:
    """Makes the lists of inputs so long that the next one gets the number `length`."""
    for inputs in (manager.input_hist_parsed, manager.input_hist_raw):
        inputs.extend([""] * (length - len(inputs)))
        del inputs[length:]
