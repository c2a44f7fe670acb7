"""The execution queues: which request runs next, and what every request is owed. Pure: no I/O, no clock.

Rules:

1. Every request that is accepted gets exactly one reply (if its type has one), one busy and one idle.
2. Each shell has a lane with one active request, which is handed to the worker only when the worker is ready. A cell
   that says so is joined by others: it is unlocked, or it awaits, and comm messages come to it meanwhile.
3. A request that fails aborts the executes queued behind it, unless it says `stop_on_error: false`; an interrupted
   one aborts those that were queued when it ended.
4. The last status that a frontend sees is busy as long as any request is active: frontends show the last one, whoever
   it belongs to. Of all that run one has had its busy; the idle of every other one comes before its busy.
5. Nothing is replayed: a request that a worker died with gets its error. Only one that the worker had provably not
   begun with, because it had not said STARTED, is handed to the next worker, once; and a question, if a cell ran.
6. Questions that can be answered while the main shell is busy go to a lane of their own, and whoever waits too long
   there is answered without the worker.

Events go in by method calls, actions come out as a list; whoever calls carries them out: all Forwards, in order, and
then all others, in order, before it listens to the worker again. `now` is in seconds.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from ipymini_supervisor.lanes import ASIDE, MAIN, SILENT, Content, Lane, Lanes, Request
from ipymini_supervisor.session import Message, Part
from ipymini_supervisor.statuses import Status, Statuses

#: Message types that are answered while the main shell is busy.
QUESTIONS = frozenset(
    {"complete_request", "inspect_request", "history_request", "is_complete_request", "comm_info_request"}
)


class Forward(msgspec.Struct, frozen=True):
    """Hand a request to the worker."""

    request: Request


class Reply(msgspec.Struct, frozen=True):
    """Send the worker's reply, or one of ours, to whoever asked."""

    request: Request
    content: Part | Content
    status: str = "ok"
    buffers: tuple[Part, ...] = ()


class Interrupt(msgspec.Struct, frozen=True):
    """Interrupt `request`, which is executing: SIGINT to the worker's process group if it is of the main shell."""

    request: Request


class End(msgspec.Struct, frozen=True):
    """Tell the worker that a subshell is over."""

    subshell: str


class Nothing(msgspec.Struct, frozen=True):
    """Tell the worker, which has asked for what may come to a request, that it has been handed all there is."""


Action = Status | Forward | Reply | Interrupt | End | Nothing


class _ExecuteOptions(msgspec.Struct):
    stop_on_error: bool = True


_options = msgspec.json.Decoder(_ExecuteOptions)


class Router(msgspec.Struct):
    """The lanes of all shells.

    :param patience: seconds after an error for which executes that arrive are aborted.
    """

    patience: float = 0.0
    ready: bool = False
    ending: bool = False
    lanes: Lanes = msgspec.field(default_factory=Lanes)
    _statuses: Statuses = msgspec.field(default_factory=Statuses)
    _last: int = 0

    @property
    def active(self) -> Request | None:
        """What the main shell executes: its cell, rather than what has joined it."""
        return self.lanes.main.first

    def waiting(self) -> Iterator[Request]:
        """The requests that no worker has been handed."""
        return (request for lane in self.lanes for request in lane.queue)

    def running(self) -> list[Request]:
        """The requests that the worker has been handed, those of the main shell first."""
        return [request for lane in self.lanes for request in lane.active if not request.abandoned]

    def request(self, channel: str, message: Message) -> Request:
        """`message` as a request with an id of its own; it is not queued yet."""
        self._last += 1
        request = Request(self._last, channel, message)
        if request.type == "execute_request":
            try:
                request.stop_on_error = _options.decode(message.content).stop_on_error
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                pass  # the worker will say what is wrong with it
        return request

    def accept(self, request: Request, now: float = 0.0) -> list[Action]:
        """A request for the worker has arrived."""
        lane = self._lane(request)
        if lane is None:
            sentence = f"There is no subshell {request.message.header.subshell_id!r:.80}; it may have been deleted."
            content = {"status": "error", "ename": "UnknownSubshell", "evalue": sentence, "traceback": []}
            return self._told(request, content, "error")
        if request.type == "execute_request" and now < lane.aborting_until:
            return self._told(request, {"status": "aborted"}, "aborted")
        request.lane = lane.name
        if request.type in SILENT and lane.joined and self.ready and not self.ending:
            return self._join(lane, request)
        lane.queue.append(request)
        return self._advance(lane)

    def _lane(self, request: Request) -> Lane | None:
        header, lanes = request.message.header, self.lanes
        if header.subshell_id:
            return lanes.subshells.get(header.subshell_id)
        if request.type in QUESTIONS and (lanes.main.active or not lanes.aside.over):
            return lanes.aside
        detour = lanes.detours.get(header.session) if request.type == "execute_request" else None
        return lanes.main if detour is None else detour

    def answer(self, request: Request, content: Content) -> list[Action]:
        """A request that the supervisor answers itself has arrived."""
        return self._told(request, content, str(content.get("status", "ok")))

    def give_up(self, request: Request, content: Content) -> list[Action]:
        """Nobody has answered a question for too long; `content` is all that can be said."""
        lane = self.lanes.aside
        if request in lane.queue:
            lane.queue.remove(request)
            return self._told(request, content, "ok")
        if request not in lane.active or request.abandoned:
            return []
        request.abandoned = True  # the lane is the worker's until it says something
        return [Reply(request, content), *self._statuses.over(request)]

    # -- what the worker says

    def worker_ready(self) -> list[Action]:
        """A worker takes requests from now on, and knows nothing of what the one before had."""
        for lane in self.lanes:
            for request in [request for request in lane.active if request.abandoned]:
                lane.active.remove(request)
        self.ready = True
        return self._advance_all()

    def worker_started(self, request_id: int, cell: int) -> list[Action]:
        """The worker executes an active request; an interrupt that came before can now be delivered.

        :param cell: the prompt number.
        :raises LookupError: that request is not active.
        """
        request = self.lanes.find(request_id)
        request.executing = True
        request.cell = cell
        return [Interrupt(request)] if request.interrupted else []

    def worker_replied(
        self,
        request_id: int,
        content: Part,
        *,
        error: bool = False,
        abort: bool = False,
        buffers: tuple[Part, ...] = (),
        now: float = 0.0,
    ) -> list[Action]:
        """An active request is over.

        :raises LookupError: that request is not active.
        """
        request = self.lanes.find(request_id)
        reply = Reply(request, content, "error" if error else "ok", buffers)
        return self._finish(request, reply, abort=abort or request.interrupted, now=now)

    def worker_joins(self, request_id: int, *, unlocked: bool) -> list[Action]:
        """A cell awaits, and comm messages may come to it; `unlocked`: so may everything else.

        :raises LookupError: that request is not active.
        """
        request = self.lanes.find(request_id)
        lane = self.lanes.of(request)
        request.joined = True
        request.unlocked = request.unlocked or unlocked
        if self.ending or not self.ready:
            return []
        actions: list[Action] = []
        for waiting in [r for r in lane.queue if r.type in SILENT]:
            lane.queue.remove(waiting)
            actions += self._join(lane, waiting)
        return actions + self._advance(lane)

    def worker_asks(self, request_id: int) -> list[Action]:
        """User code lets comm messages come to the request that executes it (`kernel.do_one_iteration()`), and waits
        for those that are there.

        :raises LookupError: that request is not active.
        """
        return [*self.worker_joins(request_id, unlocked=False), Nothing()]

    # -- the end of a worker

    def victims(self, *, again: bool = True) -> list[Request]:
        """The requests that would get the error if the worker were gone now, those of the main shell first.

        :param again: False if the next worker is not in the state in which others were to run.
        """
        running = self.running()
        guilty = [r for r in running if not again or self.ending or r.guilty]
        if all(r.lane == ASIDE for r in guilty) or not again or self.ending:
            return guilty
        # A question is asked once more: a cell was to blame.
        return [r for r in guilty if r.lane != ASIDE or r.again or r.doomed]

    @property
    def victim(self) -> Request | None:
        """The first of them."""
        return next(iter(self.victims()), None)

    def worker_away(self) -> None:
        """The worker is gone, and it is not known yet what becomes of what it was executing."""
        self.ready = False

    def worker_lost(
        self,
        content: Content,
        now: float = 0.0,
        *,
        status: str = "error",
        again: bool = True,
        others: Content | None = None,
    ) -> list[Action]:
        """The worker is gone; `content` is the reply for what it was executing, an error unless `status` says "ok".

        A request that it had been handed but not begun with waits, once, for the next worker.

        :param again: False if the next worker is not in the state in which that request was to run.
        :param others: the error for all but the first of those requests, where the first gets none.
        """
        self.ready = False
        victims = self.victims(again=again)
        for lane in self.lanes:
            for request in reversed([r for r in lane.active if r not in victims]):
                lane.active.remove(request)
                if not request.abandoned:
                    request.again = True
                    request.joined = request.unlocked = request.inside = False
                    lane.queue.appendleft(request)
        actions: list[Action] = []
        for number, request in enumerate(victims):
            reply = (
                Reply(request, content, status) if number == 0 or others is None else Reply(request, others, "error")
            )
            actions += self._finish(request, reply, abort=reply.status == "error" and request.stop_on_error, now=now)
        return actions

    def refuse(self, content: Content) -> list[Action]:
        """There will be no worker: everything that waits gets `content` as its error reply."""
        actions: list[Action] = []
        for lane in self.lanes:
            while lane.queue:
                actions += self._told(lane.queue.popleft(), content, "error")
        return actions

    # -- what frontends ask for

    def _aimed_at(self, subshell: str) -> list[Lane]:
        """The lanes that an interrupt of a shell is for."""
        lanes = self.lanes
        if subshell != MAIN:
            return [lanes.subshells[subshell]] if subshell in lanes.subshells else []
        return [lanes.main] if lanes.main.active else [lane for lane in lanes if lane is not lanes.aside]

    def aimed(self, subshell: str = MAIN) -> Request | None:
        """What an interrupt of a shell would hit first; None if nothing."""
        return next((lane.first for lane in self._aimed_at(subshell) if lane.first is not None), None)

    def interrupt(self, subshell: str = MAIN) -> list[Action]:
        """Somebody wants what a shell executes to be interrupted; of the main shell, if that is idle, what all
        subshells do. With nothing active nothing happens, unless executes wait for a worker to start: they are aborted.
        """
        aimed = self._aimed_at(subshell)
        requests = [r for lane in aimed for r in lane.active if not r.inside or r is lane.first]
        if not requests and not self.ready:
            return [action for lane in aimed for action in self._abort(lane)]
        for request in requests:
            request.interrupted = True
        return [Interrupt(lane.first) for lane in aimed if lane.first is not None and lane.first.executing]

    def delete(self, subshell: str) -> list[Action]:
        """A subshell goes; what waits in it is aborted, what it executes may come to its end.

        :raises KeyError: there is none of that name.
        """
        lane = self.lanes.leave(subshell)
        actions: list[Action] = []
        while lane.queue:
            actions += self._told(lane.queue.popleft(), {"status": "aborted"}, "aborted")
        return actions + self._left(lane)

    def close(self, subshell: str) -> list[Action]:
        """A subshell takes no more requests, and goes when those that it has are over.

        :raises KeyError: there is none of that name.
        """
        return self._left(self.lanes.leave(subshell))

    def end(self) -> list[Action]:
        """The kernel ends: everything that waits, or still comes, is aborted; after what its shell executes, if there
        is something, because replies come in the order in which requests were made.
        """
        self.ending = True
        return self._advance_all()

    def restart(self) -> list[Action]:
        """The session ends, and another one will begin: what waits is aborted, subshells go; what comes is for that."""
        self.ready = False
        for lane in self.lanes:
            lane.aborting_until = 0.0
            for request in (*lane.active, *lane.queue):
                request.doomed = True
        actions = [a for name in list(self.lanes.subshells) for a in self.close(name)] + self._advance_all()
        return actions + [a for lane in list(self.lanes) for a in self._left(lane)]  # whose queues are empty by now

    # -- the parts of all that

    def _finish(self, request: Request, reply: Reply, *, abort: bool, now: float = 0.0) -> list[Action]:
        lane = self.lanes.of(request)
        lane.active.remove(request)
        if request.abandoned:
            return self._advance(lane)
        actions: list[Action] = [] if request.type in SILENT else [reply]
        actions += self._statuses.over(request)
        actions += self._closed(request)
        if abort and not request.doomed:  # what came after it is for another session
            lane.aborting_until = now + self.patience
            actions += self._abort(lane)
        return [*actions, *self._advance(lane), *self._left(lane)]

    def _closed(self, request: Request) -> list[Action]:
        """A cell that is over leads nobody to a subshell any longer."""
        return self.close(request.detour) if request.detour in self.lanes.subshells else []

    def _left(self, lane: Lane) -> list[Action]:
        return [End(lane.name)] if self.lanes.forget(lane) else []

    def _abort(self, lane: Lane) -> list[Action]:
        """Only executes are aborted; a completion that waits behind them is still worth an answer."""
        actions: list[Action] = []
        for request in [r for r in lane.queue if r.type == "execute_request"]:
            lane.queue.remove(request)
            actions += self._told(request, {"status": "aborted"}, "aborted")
        return actions

    def _told(self, request: Request, content: Content, status: str) -> list[Action]:
        """What a request that no worker sees is owed."""
        reply: list[Action] = [] if request.type in SILENT else [Reply(request, content, status)]
        if request.again:  # it is known as one that runs
            return [*reply, *self._statuses.over(request)]
        before = self._statuses.begun(request)
        return [*before, *reply, *self._statuses.over(request)]

    def _advance_all(self) -> list[Action]:
        return [action for lane in list(self.lanes) for action in self._advance(lane)]

    def _advance(self, lane: Lane) -> list[Action]:
        actions: list[Action] = []
        while lane.queue and not lane.held:
            if self.ending or lane.queue[0].doomed:
                if lane.active:
                    break
                actions += self._told(lane.queue.popleft(), {"status": "aborted"}, "aborted")
            elif self.ready:
                actions += self._hand(lane, lane.queue.popleft())
            else:
                break
        return actions

    def _join(self, lane: Lane, request: Request) -> list[Action]:
        request.inside = True
        return self._hand(lane, request)

    def _hand(self, lane: Lane, request: Request) -> list[Action]:
        lane.active.append(request)
        return [Forward(request)] if request.again else [*self._statuses.begun(request), Forward(request)]
