"""What a connection file says: the addresses of the five channels and the key that signs their messages.

See Jupyter protocol, section Connection files:
https://jupyter-client.readthedocs.io/en/stable/kernels.html#connection-files
"""

from __future__ import annotations

import os
from typing import Any, NamedTuple

import msgspec

from ipymini_supervisor.connectionfile import ADVICE, CHANNELS, ConnectionFileError


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


def parse(data: bytes, path: str) -> Connection:
    """Makes sense of a connection file (Jupyter protocol, section Connection files).

    Only the five ports are required; what the protocol does not know is ignored.

    :param path: where the data comes from; it gets into the result and into error messages.
    :raises ConnectionFileError: it is not JSON in UTF-8, not an object, or a key is missing or makes no sense.
    """
    try:
        content = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise ConnectionFileError(f"The connection file {path} is not valid JSON; {ADVICE}.") from None
    if not isinstance(content, dict):
        raise ConnectionFileError(f"The connection file {path} does not hold a JSON object; {ADVICE}.")

    def wrong(key: str, should: str) -> ConnectionFileError:
        return ConnectionFileError(f"In the connection file {path}, {key} {should}; {ADVICE}.")

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
    if scheme == "hmac-sha256":  # everybody's, and the one that needs no OpenSSL
        return True
    import hashlib

    kind, _, algorithm = scheme.partition("-")
    try:
        # Those without a fixed digest size, as shake_128, cannot be used for HMAC.
        return kind == "hmac" and hashlib.new(algorithm).digest_size > 0
    except (ValueError, TypeError):
        return False
