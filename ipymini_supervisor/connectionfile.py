"""Connection files as files: read, looked at, written.

They are read before the worker is spawned and parsed after it (`connection`), so the top of this file imports next to
nothing.

See Jupyter protocol, section Connection files:
https://jupyter-client.readthedocs.io/en/stable/kernels.html#connection-files
"""

from __future__ import annotations

import os
import stat

CHANNELS = ("shell", "iopub", "stdin", "control", "hb")
#: Largest connection file that is read, in bytes; real ones have some 300.
LARGEST = 1 << 20

#: What to do about a bad one.
ADVICE = "let the frontend write it again, or leave -f out and a new one is written"
_NEW_ADVICE = "set JUPYTER_RUNTIME_DIR to a folder that can be written to"


class ConnectionFileError(Exception):
    """There is no usable connection file; one plain sentence says what is wrong and what to do."""


def read(path: str) -> bytes:
    """The bytes of a connection file.

    :raises ConnectionFileError: it is missing, unreadable, not a file, or larger than `LARGEST`.
    """
    try:
        # Not blocking, because to open a named pipe waits for its writer.
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise ConnectionFileError(f"{path} is not a file, so it cannot be a connection file; {ADVICE}.")
            with open(fd, "rb", closefd=False) as file:
                data = file.read(LARGEST + 1)
        finally:
            os.close(fd)
    except FileNotFoundError:
        raise ConnectionFileError(f"There is no connection file {path}; {ADVICE}.") from None
    except (OSError, ValueError) as error:  # ValueError: a null character in the path
        raise ConnectionFileError(f"The connection file {path} cannot be read ({_reason(error)}); {ADVICE}.") from None
    if len(data) > LARGEST:
        raise ConnectionFileError(f"{path} is far too large for a connection file; {ADVICE}.")
    return data


def exposed(path: str) -> str | None:
    """What is wrong with who may read a connection file, in one sentence; None if only its owner may."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    mode = stat.S_IMODE(found.st_mode)
    if mode & 0o077:
        return (
            f"Others may read the connection file {path} or write to it (its mode is {mode:04o}), and who can read it "
            f"can run code as you: chmod 600 {path}"
        )
    if found.st_uid not in (os.geteuid(), 0):
        return f"The connection file {path} belongs to another user (number {found.st_uid}), who can run code as you."
    return None


def check_folder(folder: str) -> None:
    """Makes sure that nobody else can replace what is in a folder.

    :raises ConnectionFileError: it belongs to another user, or others may write to it.
    :raises OSError: it is not there, or cannot be looked at.
    """
    found = os.stat(folder)
    if found.st_uid not in (os.geteuid(), 0):
        raise ConnectionFileError(
            f"The folder {folder} belongs to another user (number {found.st_uid}), who could put other files in the "
            f"place of ours; {_NEW_ADVICE}."
        )
    if found.st_mode & 0o022 and not found.st_mode & stat.S_ISVTX:
        raise ConnectionFileError(
            f"Others may write to the folder {folder} (its mode is {stat.S_IMODE(found.st_mode):04o}), and could put "
            f"other files in the place of ours: chmod go-w {folder}"
        )


def write_new() -> str:
    """Writes a connection file for this process, with free local ports and a new key, that only its owner can read.

    See Jupyter protocol, section Connection files.

    :returns: its absolute path, in the Jupyter runtime folder.
    :raises ConnectionFileError: it cannot be written, or others could replace it.
    """
    import errno
    import json
    import secrets

    from jupyter_core.paths import jupyter_runtime_dir

    folder = os.path.abspath(jupyter_runtime_dir())
    path = os.path.join(folder, f"kernel-{os.getpid()}.json")
    try:
        os.makedirs(folder, mode=0o700, exist_ok=True)
        check_folder(folder)
        content = {
            **dict(zip((f"{channel}_port" for channel in CHANNELS), _free_ports("127.0.0.1"), strict=True)),
            "ip": "127.0.0.1",
            "key": secrets.token_hex(32),
            "transport": "tcp",
            "signature_scheme": "hmac-sha256",
            "kernel_name": "ipymini",
        }
        _write(path, json.dumps(content, indent=2).encode())
    except OSError as error:
        if error.errno in {errno.EADDRINUSE, errno.EADDRNOTAVAIL, errno.EMFILE, errno.ENFILE}:
            raise ConnectionFileError(
                f"No free ports were found for a new kernel ({_reason(error)}); end another one and try again."
            ) from None
        raise ConnectionFileError(
            f"No connection file can be written in {folder} ({_reason(error)}); {_NEW_ADVICE}."
        ) from None
    return path


def _write(path: str, data: bytes) -> None:
    """Writes a file that was not there, and that only its owner can read from its first moment on.

    :raises OSError: it cannot be written; nothing is left of it then.
    """
    # One of an earlier process with our pid may be left, and may have been made readable. A link is taken away itself.
    if os.path.lexists(path):
        os.unlink(path)
    # Exclusive: what somebody has put there since, link or file, is refused.
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with open(fd, "wb") as file:
            file.write(data)
    except OSError:  # a full disk: half a connection file is of no use to anybody
        os.unlink(path)
        raise


def _free_ports(ip: str) -> list[int]:
    """As many ports as there are channels that nobody listens on at the moment."""
    import socket
    from contextlib import ExitStack

    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in CHANNELS]
        for sock in sockets:
            sock.bind((ip, 0))
        return [sock.getsockname()[1] for sock in sockets]


def _reason(error: Exception) -> str:
    return (getattr(error, "strerror", None) or str(error)).lower()
