"""The states of the worker, as one table. Pure: no I/O, no clock.

Theory of operation: the supervisor reports an event; `Lifecycle.on` looks the pair of state and event up and returns
what is to be done. A pair that is not in the table cannot happen and raises.
"""

from __future__ import annotations

import enum


class State(enum.Enum):
    """Where the worker is in its life. The names are those of process managers."""

    STARTING = "starting"  #: spawned, has not said HELLO
    RUNNING = "running"  #: takes requests
    RESUMING = "resuming"  #: a snapshot that becomes the worker, has not said HELLO
    REPLACING = "replacing"  #: told to end, by us, because another one is wanted in its place
    CLEARING = "clearing"  #: ended for that; what it had started is being ended
    STOPPING = "stopping"  #: told to end, by us
    BACKOFF = "backoff"  #: died before HELLO; the next attempt waits for its time
    FATAL = "fatal"  #: died before HELLO too often; the next attempt waits for an execute
    SWEEPING = "sweeping"  #: ended because we told it to; what it had started is being ended
    EXITED = "exited"  #: nothing is left; there will be no other


class Event(enum.Enum):
    """What happens to the worker."""

    HELLO = "hello"
    DIED = "died"
    FELL = "fell"  #: died, and there is a snapshot to go on with
    STOP = "stop"  #: somebody wants the kernel to end
    RESTART = "restart"  #: somebody wants the kernel to begin anew, in this process
    SWEPT = "swept"  #: nothing is left of what the worker had started
    DUE = "due"  #: the waiting time of BACKOFF is over
    ASKED = "asked"  #: an execute request came while FATAL


class Deed(enum.Enum):
    """What the supervisor has to do about it."""

    NONE = "none"
    READY = "ready"  #: publish idle, hand over the queue
    RESUME = "resume"  #: make the snapshot the worker
    RESTORED = "restored"  #: tell what has happened, hand over the queue
    RESPAWN = "respawn"  #: spawn a worker now
    DELAY = "delay"  #: spawn a worker after `Lifecycle.delay` seconds
    GIVE_UP = "give up"  #: tell whoever asks why there is no worker
    REPLACE = "replace"  #: begin the ladder that ends the worker; there will be another one
    AGAIN = "again"  #: abort what has come for the session that will not be
    CLEAR = "clear"  #: end what the worker has left behind, but for what makes the next one
    RENEW = "renew"  #: spawn a worker for a session that knows nothing of the one before
    FORGO = "forgo"  #: there will be no other one after all
    END = "end"  #: begin the ladder that ends the worker
    SWEEP = "sweep"  #: end what the worker has left behind
    LEAVE = "leave"  #: the supervisor may exit


TABLE: dict[tuple[State, Event], tuple[State, Deed]] = {
    (State.STARTING, Event.HELLO): (State.RUNNING, Deed.READY),
    (State.STARTING, Event.DIED): (State.BACKOFF, Deed.DELAY),  # FATAL after the third, see `on`
    (State.STARTING, Event.STOP): (State.STOPPING, Deed.END),
    (State.RUNNING, Event.DIED): (State.STARTING, Deed.RESPAWN),
    (State.RUNNING, Event.FELL): (State.RESUMING, Deed.RESUME),
    (State.RESUMING, Event.HELLO): (State.RUNNING, Deed.RESTORED),
    (State.RESUMING, Event.FELL): (State.RESUMING, Deed.RESUME),
    (State.RESUMING, Event.DIED): (State.STARTING, Deed.RESPAWN),
    (State.RESUMING, Event.STOP): (State.STOPPING, Deed.END),
    (State.RUNNING, Event.STOP): (State.STOPPING, Deed.END),
    (State.STOPPING, Event.HELLO): (State.STOPPING, Deed.NONE),
    (State.STOPPING, Event.STOP): (State.STOPPING, Deed.NONE),
    (State.STOPPING, Event.DIED): (State.SWEEPING, Deed.SWEEP),
    (State.BACKOFF, Event.DUE): (State.STARTING, Deed.RESPAWN),
    (State.BACKOFF, Event.STOP): (State.SWEEPING, Deed.SWEEP),
    (State.FATAL, Event.ASKED): (State.STARTING, Deed.RESPAWN),
    (State.FATAL, Event.STOP): (State.SWEEPING, Deed.SWEEP),
    (State.STARTING, Event.RESTART): (State.REPLACING, Deed.REPLACE),
    (State.RUNNING, Event.RESTART): (State.REPLACING, Deed.REPLACE),
    (State.RESUMING, Event.RESTART): (State.REPLACING, Deed.REPLACE),
    (State.BACKOFF, Event.RESTART): (State.REPLACING, Deed.REPLACE),
    (State.FATAL, Event.RESTART): (State.REPLACING, Deed.REPLACE),
    (State.REPLACING, Event.RESTART): (State.REPLACING, Deed.AGAIN),
    (State.REPLACING, Event.HELLO): (State.REPLACING, Deed.NONE),
    (State.REPLACING, Event.STOP): (State.STOPPING, Deed.FORGO),
    (State.REPLACING, Event.DIED): (State.CLEARING, Deed.CLEAR),
    (State.CLEARING, Event.RESTART): (State.CLEARING, Deed.AGAIN),
    (State.CLEARING, Event.STOP): (State.SWEEPING, Deed.FORGO),
    (State.CLEARING, Event.SWEPT): (State.STARTING, Deed.RENEW),
    (State.STOPPING, Event.RESTART): (State.STOPPING, Deed.NONE),
    (State.SWEEPING, Event.RESTART): (State.SWEEPING, Deed.NONE),
    (State.EXITED, Event.RESTART): (State.EXITED, Deed.NONE),
    (State.SWEEPING, Event.STOP): (State.SWEEPING, Deed.NONE),
    (State.SWEEPING, Event.SWEPT): (State.EXITED, Deed.LEAVE),
    (State.EXITED, Event.STOP): (State.EXITED, Deed.NONE),
}

#: Seconds to wait before the second and the third attempt to start a worker.
DELAYS = (0.1, 1.0)


class Lifecycle:
    """The state of the worker and the count of failed starts; the only place that has either."""

    def __init__(self) -> None:
        self.state = State.STARTING
        self.failed_starts = 0

    @property
    def delay(self) -> float:
        """Seconds that the next start has to wait."""
        return DELAYS[min(self.failed_starts, len(DELAYS)) - 1]

    def on(self, event: Event) -> Deed:
        """Moves on and says what is to be done.

        :raises KeyError: the event cannot happen in this state.
        """
        if (self.state, event) == (State.STARTING, Event.DIED):
            self.failed_starts += 1
            if self.failed_starts > len(DELAYS):
                self.state = State.FATAL
                return Deed.GIVE_UP
        self.state, deed = TABLE[self.state, event]
        if event in (Event.HELLO, Event.RESTART):
            self.failed_starts = 0
        return deed
