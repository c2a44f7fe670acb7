"""What waits to be published on iopub. Pure: sockets and time come in as arguments.

Rules:

1. Nothing is lost because a subscriber is slow: what the socket does not take waits here, and while `full` the
   supervisor does not read from the worker, which slows user code down.
2. While nobody has subscribed, messages wait for a bounded time: a frontend that connects at this moment, as after a
   restart, misses nothing. Then they go out, whoever takes them: anybody can say that he leaves who never came, so
   that the number of subscribers is only a claim.
3. How long the socket has taken nothing is known, so that a subscriber that stands still can be given up on.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

Part = bytes | bytearray | memoryview

FULL = 4 << 20  #: bytes from which on the worker has to wait
HELD = 16 << 20  #: bytes that wait for a first subscriber; older ones give way
WELCOME = 2.0  #: seconds that a message waits for a first subscriber
#: Seconds after the start until anything is published: frontends that come back after a restart connect again within
#: 0.2 s (ZeroMQ's interval), one socket after the other, and each is to see everything.
SETTLE = 0.25
RETRY = 0.001  #: seconds between attempts while the socket takes nothing


class Outbox:
    """Messages in the order in which they go out.

    :param opens: the time before which nothing goes out.
    """

    def __init__(self, opens: float = 0.0) -> None:
        self._opens = opens
        self._welcome = WELCOME
        self.subscribers = 0
        self._queue: deque[tuple[float, int, Sequence[Part]]] = deque()  # when it came, bytes, parts
        self._bytes = 0
        self.sent = 0  #: bytes that have gone out, or given way, since somebody has set it back
        self._blocked_since: float | None = None
        self._alone_since = 0.0

    def open(self) -> None:
        """Nothing waits for frontends that come any longer."""
        self._opens = self._welcome = 0.0

    @property
    def full(self) -> bool:
        """Whether the worker has to wait."""
        return self.subscribers > 0 and self._bytes > FULL

    @property
    def overfull(self) -> bool:
        """Whether more waits than a worker can have said, with a subscriber or without."""
        return self._bytes > HELD + FULL

    @property
    def empty(self) -> bool:
        """Whether everything has gone out."""
        return not self._queue

    def left(self, now: float) -> None:
        """A subscriber has gone. If it was the last one and comes back at once, it is to miss nothing that waits."""
        self.subscribers = max(0, self.subscribers - 1)
        self._alone_since = now

    def add(self, parts: Sequence[Part], now: float) -> None:
        """A message is to be published."""
        size = sum(map(len, parts))
        self._queue.append((now, size, parts))
        self._bytes += size
        while self.subscribers == 0 and self._bytes > HELD:
            self._pop()

    def pump(self, send: Callable[[Sequence[Part]], bool], now: float) -> float | None:
        """Sends what can be sent; returns after how many seconds to call again, None for not before the next `add`.

        :param send: False if the socket takes nothing at the moment.
        """
        if now < self._opens:
            return self._opens - now if self._queue else None
        if self.subscribers == 0:
            self._blocked_since = None
            while self._queue and (now >= self._held_until() or self._bytes > HELD // 2):
                if not send(self._queue[0][2]):
                    return RETRY
                self._pop()
            return self._held_until() - now if self._queue else None
        while self._queue:
            if not send(self._queue[0][2]):
                if self._blocked_since is None:
                    self._blocked_since = now
                return RETRY
            self._blocked_since = None
            self._pop()
        return None

    def blocked(self, now: float) -> float:
        """For how many seconds the socket has taken nothing."""
        return 0.0 if self._blocked_since is None else now - self._blocked_since

    def wait_anew(self) -> None:
        """Counts `blocked` from the next attempt on."""
        self._blocked_since = None

    def _held_until(self) -> float:
        return max(self._queue[0][0], self._alone_since) + self._welcome

    def _pop(self) -> None:
        size = self._queue.popleft()[1]
        self._bytes -= size
        self.sent += size
