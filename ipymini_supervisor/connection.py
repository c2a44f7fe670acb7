"""Connection files: the addresses of the five channels and the key that signs their messages.

They are read before the worker is spawned and parsed after it, so the top of this file imports next to nothing.

See Jupyter protocol, section Connection files:
https://jupyter-client.readthedocs.io/en/stable/kernels.html#connection-files
"""

from __future__ import annotations

import errno
import os
import stat
from typing import Any, NamedTuple

CHANNELS = ("shell", "iopub", "stdin", "control", "hb")
#: Largest connection file that is read, in bytes; real ones have some 300.
LARGEST = 1 << 20

_ADVICE = "let the frontend write it again, or leave -f out and a new one is written"
_NEW_ADVICE = "set JUPYTER_RUNTIME_DIR to a folder that can be written to"


class ConnectionFileError(Exception):
    """There is no usable connection file; one plain sentence says what is wrong and what to do."""


class Connection(NamedTuple):
    """The content of a connection file (Jupyter protocol, section Connection files)."""

    transport: str  #: "tcp" or "ipc"
    ip: str  #: address of an interface; for ipc the path that the sockets' names begin with
    shell_port: int
    iopub_port: int
    stdin_port: int
    control_port: int
    hb_port: int
    key: bytes  #: empty: messages are not signed
    signature_scheme: str  #: "hmac-" and the name of a hash that hashlib has
    kernel_name: str
    path: str  #: absolute path of the file
    curve_publickey: bytes = b""  #: Z85; with `curve_secretkey` all channels are encrypted, with us as CURVE server
    curve_secretkey: bytes = b""

    def endpoint(self, channel: str) -> str:
        """The ZMQ address of a channel, such as `tcp://127.0.0.1:5555` or `ipc:///run/kernel-ipc-1`.

        :raises ValueError: there is no such channel.
        """
        if channel not in CHANNELS:
            raise ValueError(f"no such channel: {channel}")
        port = getattr(self, f"{channel}_port")
        if self.transport == "ipc":
            return f"ipc://{self.ip}-{port}"
        ip = f"[{self.ip}]" if ":" in self.ip and not self.ip.startswith("[") else self.ip
        return f"tcp://{ip}:{port}"

    @property
    def local(self) -> bool:
        """Whether nobody but processes of this machine can connect."""
        if self.transport == "ipc" or self.ip in ("localhost", "lo"):
            return True
        import ipaddress

        try:
            address = ipaddress.ip_address(self.ip.strip("[]"))
        except ValueError:  # the name of an interface, or "*"
            return False
        mapped = getattr(address, "ipv4_mapped", None)
        return (mapped or address).is_loopback

    def __repr__(self) -> str:
        """Without the keys, which must not get into a log."""
        return f"<Connection {self.path}: {self.endpoint('shell')}>"


def read(path: str) -> bytes:
    """The bytes of a connection file.

    :raises ConnectionFileError: it is missing, unreadable, not a file, or larger than `LARGEST`.
    """
    try:
        # Not blocking, because to open a named pipe waits for its writer.
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise ConnectionFileError(f"{path} is not a file, so it cannot be a connection file; {_ADVICE}.")
            with open(fd, "rb", closefd=False) as file:
                data = file.read(LARGEST + 1)
        finally:
            os.close(fd)
    except FileNotFoundError:
        raise ConnectionFileError(f"There is no connection file {path}; {_ADVICE}.") from None
    except (OSError, ValueError) as error:  # ValueError: a null character in the path
        raise ConnectionFileError(f"The connection file {path} cannot be read ({_reason(error)}); {_ADVICE}.") from None
    if len(data) > LARGEST:
        raise ConnectionFileError(f"{path} is far too large for a connection file; {_ADVICE}.")
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


def parse(data: bytes, path: str) -> Connection:
    """Makes sense of a connection file (Jupyter protocol, section Connection files).

    Only the five ports are required; what the protocol does not know is ignored.

    :param path: where the data comes from; it gets into the result and into error messages.
    :raises ConnectionFileError: it is not JSON in UTF-8, not an object, or a key is missing or makes no sense.
    """
    import msgspec

    try:
        content = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise ConnectionFileError(f"The connection file {path} is not valid JSON; {_ADVICE}.") from None
    if not isinstance(content, dict):
        raise ConnectionFileError(f"The connection file {path} does not hold a JSON object; {_ADVICE}.")

    def wrong(key: str, should: str) -> ConnectionFileError:
        return ConnectionFileError(f"In the connection file {path}, {key} {should}; {_ADVICE}.")

    def text(key: str, default: str) -> str:
        value = content.get(key, default)
        if not isinstance(value, str):
            raise wrong(key, "must be a string")
        return value

    def curve(name: str) -> bytes:
        value = content.get(name)
        if value is None:
            return b""
        if not isinstance(value, str) or not _is_z85(value):
            raise wrong(name, "must be a CURVE key: 40 characters of Z85")
        return value.encode()

    transport = text("transport", "tcp")
    if transport not in {"tcp", "ipc"}:
        raise wrong("transport", 'must be "tcp" or "ipc"')
    ports: dict[str, int] = {}
    for channel in CHANNELS:
        key = f"{channel}_port"
        if key not in content:
            raise wrong(key, "is missing")
        port = _port(content[key], transport)
        if port is None:
            raise wrong(
                key,
                "must be a whole number from 1 to 65535" if transport == "tcp" else "must be a positive whole number",
            )
        if port in ports.values():
            raise wrong(key, f"is {port}, and so is the port of another channel")
        ports[key] = port
    scheme = text("signature_scheme", "hmac-sha256")
    if not _is_scheme(scheme):
        raise wrong("signature_scheme", 'must be "hmac-" and the name of a hash, such as "hmac-sha256"')
    public, secret = curve("curve_publickey"), curve("curve_secretkey")
    if bool(public) != bool(secret):
        raise wrong("curve_publickey" if secret else "curve_secretkey", "is missing, and the other key is there")
    beside = f"{os.path.splitext(path)[0]}-ipc" if transport == "ipc" else "127.0.0.1"
    return Connection(
        transport=transport,
        ip=text("ip", "") or beside,
        key=text("key", "").encode(),
        signature_scheme=scheme,
        kernel_name=text("kernel_name", ""),
        path=os.path.abspath(path),
        curve_publickey=public,
        curve_secretkey=secret,
        **ports,
    )


def _port(value: Any, transport: str) -> int | None:
    """A port if it is one: no truth value, and a number that TCP has."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        return None
    return None if transport == "tcp" and value > 65535 else value


def _is_z85(text: str) -> bool:
    """Whether it is 32 bytes in Z85 (ZeroMQ RFC 32)."""
    return len(text) == 40 and text.isascii() and all(c.isalnum() or c in ".-:+=^!/*?&<>()[]{}@%$#" for c in text)


def _is_scheme(scheme: str) -> bool:
    import hashlib

    kind, _, algorithm = scheme.partition("-")
    try:
        # Those without a fixed digest size, as shake_128, cannot be used for HMAC.
        return kind == "hmac" and hashlib.new(algorithm).digest_size > 0
    except (ValueError, TypeError):
        return False


def write_new() -> str:
    """Writes a connection file for this process, with free local ports and a new key, that only its owner can read.

    See Jupyter protocol, section Connection files.

    :returns: its absolute path, in the Jupyter runtime folder.
    :raises ConnectionFileError: it cannot be written, or others could replace it.
    """
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
