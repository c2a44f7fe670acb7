"""The file of the flight recorder, and the thread that writes it.

A disk may take its time, and one that is somewhere else may take nothing at all until its network is back. So nothing
here is done by the supervisor's own thread but to hand lines over: what a disk holds up is this thread. It sleeps as
long as there is nothing to write. When the supervisor is killed, what has been handed over in the last moment is lost.

Lines are only ever added. A file that is full becomes FILE.1, and the one that had this name before is gone.
"""

from __future__ import annotations

import fcntl
import logging
import os
import stat
import threading
from collections.abc import Callable
from queue import SimpleQueue

log = logging.getLogger("ipymini")

#: Bytes of the end of a record that are read for what ended the kernel that wrote it.
TAIL = 1 << 18
#: Bytes that may wait for the disk.
WAITING = 1 << 20


class Tape:
    """Writes one record. Nothing here that is called from another thread waits for the disk, unless it says so.

    :param path: of the file.
    :param most: bytes that it may have; there may be an older one of the same size.
    :param read: called in the thread with the last lines of what is there already.
    :param refused: called in the thread if it is no file, or none of ours, with the reason.
    """

    def __init__(
        self, path: str, most: int, read: Callable[[list[bytes]], None], refused: Callable[[str], None]
    ) -> None:
        self._path = path
        self._most = most
        self._read = read
        self._refused = refused
        self._queue: SimpleQueue[bytes | threading.Event | None] = SimpleQueue()
        self._lock = threading.Lock()  # never held while the disk is asked for anything
        self._waiting = 0
        self._closed = False
        self._fd: int | None = None
        self._size = 0
        self._whole = True  # whether the file ends with a whole line
        self._failing = False
        # Whoever ends does not wait for it: it may be in a system call that does not come back.
        self._thread = threading.Thread(target=self._run, name="flight-recorder", daemon=True)

    def start(self) -> None:
        """Begins to write."""
        try:
            self._thread.start()
        except RuntimeError:
            self._closed = True
            self._refused("there can be no more threads")

    @property
    def closed(self) -> bool:
        """Whether nothing is taken any longer: the file was refused, or it is closed."""
        return self._closed

    @property
    def behind(self) -> bool:
        """Whether there is much that the disk has not taken yet."""
        return self._waiting > WAITING // 2

    def add(self, line: bytes) -> bool:
        """Hands a line over; returns whether there was room for it."""
        with self._lock:
            if self._waiting + len(line) > WAITING:
                return False
            self._waiting += len(line)
        self._queue.put(line)
        return True

    def flush(self, within: float) -> bool:
        """Waits for the disk until everything is written, for so many seconds at the most; returns whether it is."""
        if not self._thread.is_alive():
            return True
        written = threading.Event()
        self._queue.put(written)
        return written.wait(within)

    def close(self, within: float) -> bool:
        """Waits for the disk until everything is written, and the file is closed; returns whether it is.

        :param within: seconds; after that the thread is left to itself.
        """
        self._closed = True
        self._queue.put(None)
        self._thread.join(within)
        return not self._thread.is_alive()

    # -- in the thread

    def _run(self) -> None:
        try:
            self._open()
            self._read(self._tail())
        except OSError as error:
            self._closed = True
            self._refused(_why(error))
        else:
            self._write_all()
        finally:
            if self._fd is not None:
                os.close(self._fd)
                self._fd = None
            while not self._queue.empty():
                if isinstance(item := self._queue.get(), threading.Event):
                    item.set()

    def _write_all(self) -> None:
        while (item := self._queue.get()) is not None:
            if isinstance(item, threading.Event):
                item.set()
                continue
            try:
                self._write(item)
                self._failing = False
            except OSError as error:
                if not self._failing:
                    self._failing = True
                    log.warning("The flight recorder cannot write to %s (%s).", self._path, _why(error))
            with self._lock:
                self._waiting -= len(item)

    def _open(self) -> None:
        """Opens the file, or makes it.

        :raises OSError: it cannot be had, or is none that we should write to.
        """
        # Not blocking: somebody's pipe would hold us, and so would a lock that another kernel has.
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        fd = os.open(self._path, flags, 0o600)
        try:
            found = os.fstat(fd)
            if not stat.S_ISREG(found.st_mode):
                raise OSError(0, "it is not a file")
            if found.st_uid != os.geteuid() or found.st_nlink != 1:
                raise OSError(0, "it is somebody else's, or has other names")
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise OSError(0, "another kernel writes to it") from None
            except OSError:  # a file system that knows no locks
                pass
            self._size = found.st_size
            self._whole = not found.st_size or os.pread(fd, 1, found.st_size - 1) == b"\n"
        except BaseException:
            os.close(fd)
            raise
        self._fd = fd

    def _tail(self) -> list[bytes]:
        assert self._fd is not None
        return os.pread(self._fd, TAIL, max(0, self._size - TAIL)).split(b"\n")

    def _write(self, line: bytes) -> None:
        if self._fd is not None and self._size + len(line) > self._most:
            self._turn()
        if self._fd is None:  # what took the place of the full one was refused
            return
        line = line if self._whole else b"\n" + line
        written = os.write(self._fd, line)
        self._size += written
        self._whole = written == len(line)
        if not self._whole:
            raise OSError(0, "there is no room")

    def _turn(self) -> None:
        """Begins a new file."""
        assert self._fd is not None
        os.replace(self._path, f"{self._path}.1")
        old, self._fd = self._fd, None
        os.close(old)
        self._open()


def _why(error: OSError) -> str:
    return error.strerror or str(error)
