"""The flow of iopub: when what was said leaves for the subscribers, and how fast the worker may go on."""

from __future__ import annotations

import logging
from collections.abc import Callable

from ipymini_supervisor.frontends import Frontends
from ipymini_supervisor.outbox import Outbox
from ipymini_supervisor.sockets import Sockets
from ipymini_supervisor.timers import Timer, Timers
from ipymini_supervisor.worker import Worker

log = logging.getLogger("ipymini")

#: Seconds after which stream text that may still grow is published.
TEXT_DELAY = 0.02
#: Topics of which is known how many have subscribed to them, and the bytes that tell them apart: subscriptions need
#: no key, and may come in floods. Frontends subscribe to everything, which is one topic.
_TOPICS, _TOPIC = 1000, 100
#: Seconds that the last messages have to leave.
LINGER = 1.0


class Flow:
    """Publishes what there is to be published, without ever waiting for a subscriber.

    :param patience: seconds that a subscriber may stand still before it is given up on.
    :param on_sent: told how many bytes have left.
    """

    def __init__(
        self,
        sockets: Sockets,
        outbox: Outbox,
        frontends: Frontends,
        timers: Timers,
        clock: Callable[[], float],
        patience: float,
        on_sent: Callable[[int], None],
    ) -> None:
        self._sockets = sockets
        self._outbox = outbox
        self._frontends = frontends
        self._timers = timers
        self._clock = clock
        self._patience = patience
        self._on_sent = on_sent
        self._waiting: dict[int, int] | None = None
        self._looked = 0.0  # when
        self._untold = ""
        self._text_timer: Timer | None = None
        self._text_last = 0.0
        self._text_for = b""  # the request whose text was published last, by its header
        self._retry_timer: Timer | None = None
        self._subscribed: dict[bytes, int] = {}

    def pump(self, worker: Worker | None) -> None:
        """Publishes, and sees to it that the loop comes back for the rest; `worker` waits while there is too much."""
        at = self._clock()
        if self._frontends.has_text:
            first = self._frontends.text_parent != self._text_for  # a cell's first line waits for nothing
            if (first or at - self._text_last >= TEXT_DELAY) and self._frontends.text_ends_line:
                self._flush_text()
            elif self._text_timer is None:
                # A line that is not complete waits from now on, what follows a message, from that message on.
                since = self._text_last if self._frontends.text_ends_line else at
                self._text_timer = self._timers.at(since + TEXT_DELAY, self._flush_text)
        again = self._publish()
        if self._retry_timer is not None:
            self._retry_timer.cancel()
            self._retry_timer = None
        if again is not None:
            self._retry_timer = self._timers.at(at + again, lambda: None)
        self._look_for_stuck(self._outbox.blocked(at))
        if worker is not None:
            worker.reading = not self._outbox.full

    def _look_for_stuck(self, blocked: float) -> None:
        ended, left = self._end_stuck(blocked, self._patience)
        if ended:
            text = f"A client took no output for {self._patience:g} s and was given up on; it may miss some.\n"
            log.warning(text.strip())
            self._untold = text
            if left:
                self._tell()

    def _end_stuck(self, blocked: float, patience: float) -> tuple[int, int]:
        """Ends the connection of who has taken no byte for the second half of `patience`: one large message may take
        longer. Were the socket to drop messages instead, it would drop those of others, too.

        :returns: how many connections were ended, and how many are left of those that were looked at.
        """
        if blocked < patience / 2:
            self._waiting = None
        elif self._waiting is None:
            self._waiting, self._looked = self._sockets.waiting(), self._clock()
        elif blocked >= patience and self._clock() - self._looked >= patience / 2:  # it may be us who stood still
            before, self._waiting = self._waiting, None
            self._outbox.wait_anew()
            return self._sockets.give_up(before)
        return 0, 0

    def _tell(self) -> None:
        text, self._untold = self._untold, ""
        if text:
            self._frontends.text("stderr", text, self._frontends.parent(0))

    def _publish(self) -> float | None:
        again = self._outbox.pump(lambda parts: self._sockets.send("iopub", parts), self._clock())
        self._on_sent(self._outbox.sent)
        self._outbox.sent = 0
        return again

    def _flush_text(self) -> None:
        if self._text_timer is not None:
            self._text_timer.cancel()
            self._text_timer = None
        self._text_last, self._text_for = self._clock(), self._frontends.text_parent
        self._frontends.flush_text()

    def subscription(self, frame: bytes) -> None:
        """A subscriber has come or gone (XPUB: first byte 1 or 0, then the topic)."""
        topic = frame[1 : 1 + _TOPIC]
        number = self._subscribed.get(topic, 0)
        if frame[:1] == b"\x01":
            if number or len(self._subscribed) < _TOPICS:
                self._subscribed[topic] = number + 1
                self._outbox.subscribers += 1
            self._frontends.welcome(frame[1:])
            self._tell()  # there was nobody else, so this is the one that comes back
        elif frame[:1] == b"\x00" and number:  # whoever leaves has been there, if that can be told
            self._subscribed[topic] = number - 1
            if number == 1:
                del self._subscribed[topic]
            self._outbox.left(self._clock())

    def drain(self) -> None:
        """The kernel ends: waits until everything has left, for `LINGER` seconds at most, and for nobody to come."""
        self._frontends.flush_text()
        self._outbox.open()
        self._waiting = None
        end = self._clock() + LINGER
        while (at := self._clock()) < end and (again := self._publish()) is not None:
            self._end_stuck(self._outbox.blocked(at), LINGER / 2)  # the others have to hear that it was the end
            self._sockets.poll(again)
            while (frame := self._sockets.receive("iopub")) is not None:
                self.subscription(frame[0])  # or nobody would know that one has gone
