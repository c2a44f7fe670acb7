"""The worker as the supervisor sees it, with a process made of sockets and pipes whose other ends the test has."""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Iterator
from itertools import chain

import pytest

from fakes import Clock
from forks import PATIENCE, readable
from ipymini_supervisor import worker as module
from ipymini_supervisor.link import Link
from ipymini_supervisor.probes import DUMP_BEGINS, DUMP_ENDS, PONG_AT_LAST, PONG_WITHIN, WHERE_AT_LAST
from ipymini_supervisor.process import Exit
from ipymini_supervisor.stack import Cells
from ipymini_supervisor.threads import Thread
from ipymini_supervisor.timers import Timers
from ipymini_supervisor.worker import FLOOD, GATHER, LITTLE, Worker
from ipymini_worker.wire import DUMP_SIGNAL, STACK, Decoder, Frame, Kind, WireError, encode

#: A dump that is complete: it comes to the first frame of the main thread.
DUMP = b'Thread 0x1 (most recent call first):\n  File "x", line 1 in f\n  File "<string>", line 1 in <module>\n'


class Process:
    """Stands for `ipymini_supervisor.process.Process`."""

    def __init__(self) -> None:
        self.pid = 1234
        work, self.theirs = socket.socketpair()
        control, self.their_control = socket.socketpair()
        self.work, self.control = Link(work, "work"), Link(control, "control")
        for end in (self.theirs, self.their_control):
            end.settimeout(PATIENCE)
        self.writing: dict[str, int] = {}
        self._pipes: dict[int, str] = {}
        for name in ("stdout", "stderr", "fault"):
            reading, self.writing[name] = os.pipe()
            os.set_blocking(reading, False)
            self._pipes[reading] = name
        self.exit_fd, self._exit = os.pipe()
        self.reaped = False
        self.status = 0
        self.signals: list[tuple[str, int]] = []

    @property
    def pipes(self) -> tuple[int, ...]:
        return tuple(self._pipes)

    def pipe_name(self, fd: int) -> str:
        return self._pipes[fd]

    def end_pipe(self, fd: int) -> None:
        del self._pipes[fd]
        os.close(fd)

    @property
    def descriptors(self) -> tuple[int, ...]:
        return (self.work.fileno(), self.control.fileno(), *self._pipes, self.exit_fd)

    def signal(self, number: int) -> None:
        self.signals.append(("group", number))

    def signal_alone(self, number: int) -> None:
        self.signals.append(("alone", number))

    def reap(self) -> Exit:
        self.reaped = True
        return Exit(self.status, 1 << 20)

    def close(self) -> None:
        self.work.close()
        self.control.close()
        for fd in (*self._pipes, self.exit_fd):
            os.close(fd)
        self._pipes.clear()

    # -- what the worker does

    def says(self, kind: Kind, request: int = 0, *parts: bytes) -> None:
        """A frame on the socket that it belongs on."""
        end = self.their_control if kind is Kind.PONG else self.theirs
        end.sendall(b"".join(encode(kind, request, parts)))

    def writes(self, name: str, data: bytes) -> None:
        """Bytes on a pipe."""
        os.write(self.writing[name], data)

    def closes(self, name: str) -> None:
        """Its end of a pipe."""
        os.close(self.writing.pop(name))

    def dies(self, status: int) -> None:
        """All its ends are closed."""
        self.status = status
        os.close(self._exit)
        self._exit = -1
        self.theirs.close()
        self.their_control.close()
        for name in list(self.writing):
            self.closes(name)

    def hears(self, control: bool = False) -> list[Frame]:
        """What it has been told."""
        end, decoder = (self.their_control, "control") if control else (self.theirs, "work")
        end.setblocking(False)
        reader = Decoder("supervisor", decoder)
        found: list[Frame] = []
        while True:
            with reader.buffer() as buffer:
                try:
                    count = end.recv_into(buffer)
                except BlockingIOError:
                    return found
            found += reader.filled(count)


class Sockets:
    """What is watched, and for what."""

    def __init__(self) -> None:
        self.watched: dict[int, tuple[bool, bool]] = {}

    def watch(self, fd: int, *, read: bool = True, write: bool = False) -> None:
        """From now on."""
        self.watched[fd] = read, write

    def ignore(self, fd: int) -> None:
        """Not any longer."""
        self.watched.pop(fd, None)


class House:
    """A worker with fakes around it."""

    def __init__(self) -> None:
        self.process = Process()
        self.sockets = Sockets()
        self.timers = Timers()
        self.clock = Clock()
        self.frames: list[Frame] = []
        self.text: list[tuple[str, bytes]] = []
        self.refuses: Exception | None = None
        self.threads = {1234: Thread("S", 0.0)}
        self.worker = Worker(
            self.process,  # type: ignore[arg-type]
            self.sockets,  # type: ignore[arg-type]
            self.timers,
            self.clock,
            self._frame,
            lambda name, data: self.text.append((name, data)),
            Cells(),
            lambda pid: dict(self.threads),
        )

    def _frame(self, frame: Frame) -> None:
        if self.refuses is not None:
            raise self.refuses
        self.frames.append(frame)

    def handles(self) -> bool:
        """One pass of the loop: whether the process has ended."""
        ready: set[str | int] = {fd for fd, (read, _) in self.sockets.watched.items() if read and readable(fd, 0)}
        ready |= {fd for fd, (_, write) in self.sockets.watched.items() if write}
        return self.worker.handle(ready)

    def waits(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.timers.run(self.clock())

    @property
    def killed(self) -> bool:
        return ("group", signal.SIGKILL) in self.process.signals

    def close(self) -> None:
        if self.process._exit != -1:
            self.process.dies(0)
        if not self.process.reaped:
            self.worker.bury()
        assert not self.sockets.watched


@pytest.fixture
def house(monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    monkeypatch.setattr(module.cgroup, "oom_kills", lambda: None)
    made = House()
    yield made
    made.close()


def kinds(frames: list[Frame]) -> list[Kind]:
    return [frame.kind for frame in frames]


def test_worker_is_listened_to_everywhere(house: House) -> None:
    assert set(house.sockets.watched) == set(house.process.descriptors)
    assert set(house.sockets.watched.values()) == {(True, False)}


def test_frames_and_native_text_are_passed_on(house: House) -> None:
    house.process.says(Kind.STARTED, 1, b"7")
    house.process.says(Kind.REPLY, 1, b"{}")
    house.process.writes("stdout", b"out")
    house.process.writes("stderr", b"err")
    assert house.handles() is False
    assert kinds(house.frames) == [Kind.STARTED, Kind.REPLY]
    assert house.text == [("stdout", b"out"), ("stderr", b"err")]


def test_what_was_said_before_native_text_comes_first_when_only_the_pipe_was_seen_to_be_readable(house: House) -> None:
    """A look at many descriptors takes its time: what the worker printed, and then its last words, may come meanwhile."""
    said: list[str] = []
    house.worker._on_frame = lambda frame: said.append(frame.kind.name)
    house.worker._on_text = lambda name, data: said.append(name)
    house.process.says(Kind.STREAM, 1, b"before")
    house.process.writes("stderr", b"Fatal Python error")
    (stderr,) = (fd for fd in house.process.pipes if house.process.pipe_name(fd) == "stderr")
    house.worker.handle({stderr})
    assert said == ["STREAM", "stderr"]


@pytest.mark.skipif(sys.platform != "linux", reason="snapshots need Linux")
def test_a_snapshot_that_came_before_does_not_end_the_look_at_what_was_said(house: House) -> None:
    """One read of the link takes what was said up to a descriptor and no more."""
    said: list[str] = []
    house.worker._on_frame = lambda frame: said.append(frame.kind.name)
    house.worker._on_text = lambda name, data: said.append(name)
    for _ in range(3):
        socket.send_fds(house.process.theirs, encode(Kind.SNAPSHOT, 0, (b"1", b"2")), [0])  # type: ignore[arg-type]
    house.process.says(Kind.STARTED, 1, b"7")
    house.process.says(Kind.STREAM, 1, b"before")
    house.process.writes("stderr", b"Fatal Python error")
    (stderr,) = (fd for fd in house.process.pipes if house.process.pipe_name(fd) == "stderr")
    house.worker.handle({stderr})
    assert said == ["SNAPSHOT"] * 3 + ["STARTED", "STREAM", "stderr"]


@pytest.mark.parametrize(
    "error", [WireError("so"), LookupError("so"), UnicodeDecodeError("utf-8", b"\xff", 0, 1, "so")], ids=repr
)
def test_worker_that_is_not_understood_is_killed_and_not_listened_to(house: House, error: Exception) -> None:
    house.refuses = error
    house.process.says(Kind.STARTED, 1, b"7")
    house.handles()
    assert house.killed
    house.process.dies(-signal.SIGKILL)
    assert house.handles() is True
    reason = house.worker.bury().reason
    assert reason.startswith("was killed, because what it sent was not understood (")
    assert "so" in reason


def test_garbage_is_not_understood_either_and_what_came_before_it_is(house: House) -> None:
    house.process.says(Kind.STARTED, 1, b"7")
    house.process.theirs.sendall(bytes(64))
    house.handles()
    assert kinds(house.frames) == [Kind.STARTED]
    assert house.killed


def test_worker_that_is_not_read_waits_but_its_control_and_its_end_are_heard(house: House) -> None:
    house.worker.reading = False
    process = house.process
    fault = next(fd for fd in process.pipes if process.pipe_name(fd) == "fault")
    assert set(house.sockets.watched) == {process.exit_fd, process.control.fileno(), fault}
    process.says(Kind.STARTED, 1, b"7")
    process.writes("stdout", b"out")
    house.handles()
    assert (house.frames, house.text) == ([], [])
    house.worker.reading = True
    house.handles()
    assert (kinds(house.frames), house.text) == ([Kind.STARTED], [("stdout", b"out")])


def test_pipe_that_user_code_closes_is_forgotten(house: House) -> None:
    fd = house.process.pipes[0]
    house.process.writes("stdout", b"last")
    house.process.closes("stdout")
    house.handles()
    house.handles()
    assert house.text == [("stdout", b"last")]
    assert fd not in house.sockets.watched
    assert len(house.process.pipes) == 2


def test_worker_that_closes_its_link_and_lives_is_killed_after_a_moment(house: House) -> None:
    house.process.theirs.close()
    house.handles()
    assert house.process.work.fileno() not in house.sockets.watched
    assert not house.killed
    house.waits(0.5)
    assert house.killed
    house.process.dies(-9)
    assert house.worker.bury().reason == "was killed, because it had closed its link"


def test_what_the_socket_does_not_take_is_written_when_it_does(house: House) -> None:
    content = bytes(4 << 20)
    house.worker.send(Kind.REQUEST, 5, (b"{}", b"{}", b"{}", content))
    work = house.process.work.fileno()
    assert house.sockets.watched[work] == (True, True)
    decoder = Decoder("supervisor", "work")
    frames: list[Frame] = []
    while not frames:
        with decoder.buffer() as buffer:
            count = house.process.theirs.recv_into(buffer)
        frames += decoder.filled(count)
        house.handles()
    assert frames[0].parts[3] == content
    assert house.sockets.watched[work] == (True, False)


def test_request_is_written_also_while_the_worker_is_not_read(house: House) -> None:
    house.worker.reading = False
    house.worker.send(Kind.REQUEST, 5, (b"{}", b"{}", b"{}", bytes(4 << 20)))
    assert house.sockets.watched[house.process.work.fileno()] == (False, True)


def test_first_reason_is_the_reason(house: House) -> None:
    house.worker.condemn("was killed after three interrupts")
    house.worker.condemn("was killed, because it had closed its link")
    house.process.dies(-9)
    assert house.worker.bury().reason == "was killed after three interrupts"


def test_last_words_of_a_worker_that_was_killed_are_heard(house: House) -> None:
    """It was not listened to, because a frontend reads slowly."""
    house.worker.reading = False
    for number in range(20):
        house.process.says(Kind.STREAM, 1, b"%d" % number)
    house.worker.condemn("was killed after three interrupts")
    house.process.dies(-9)
    house.worker.bury()
    assert b"".join(bytes(frame.parts[0]) for frame in house.frames) == b"".join(b"%d" % n for n in range(20))


def test_what_was_not_understood_has_no_last_words(house: House) -> None:
    house.process.says(Kind.STREAM, 1, b"understood")
    house.process.theirs.sendall(b"garbage" * 100)
    house.process.says(Kind.STREAM, 1, b"too late")
    house.handles()
    house.process.dies(-9)
    assert "was not understood" in house.worker.bury().reason
    assert [bytes(frame.parts[0]) for frame in house.frames] == [b"understood"]


def test_worker_that_is_buried_is_not_killed_again(house: House) -> None:
    house.process.dies(3)
    assert house.worker.bury().status == 3
    assert house.worker.buried
    house.worker.condemn("was killed")
    assert not house.killed


# -- ping


def test_worker_that_answers_is_well(house: House) -> None:
    answers: list[bool] = []
    house.worker.ping(answers.append)
    (ping,) = house.process.hears(control=True)
    assert ping.kind is Kind.PING
    house.process.says(Kind.PONG, ping.request)
    house.handles()
    assert answers == [True]
    house.waits(PONG_WITHIN)
    assert (answers, house.timers.timeout(0)) == ([True], None)


def test_worker_that_does_not_answer_in_time_is_not(house: House) -> None:
    answers: list[bool] = []
    house.worker.ping(answers.append)
    house.waits(PONG_WITHIN)
    assert answers == [False]
    house.process.says(Kind.PONG, 1)
    house.process.says(Kind.PONG, 99)
    house.handles()
    assert answers == [False]
    assert not house.killed


def test_worker_that_is_kept_from_running_has_more_time(house: House) -> None:
    """On a busy machine; but not for ever."""
    answers: list[bool] = []
    house.threads = {1234: Thread("R", 0.0)}
    for answered in (True, False):
        house.worker.ping(answers.append)
        waited = 0.0
        while waited < PONG_AT_LAST - PONG_WITHIN:
            house.waits(PONG_WITHIN)
            waited += PONG_WITHIN
            assert answers == []
        if answered:
            house.process.says(Kind.PONG, house.process.hears(control=True)[-1].request)
            house.handles()
        for _ in range(3):
            house.waits(PONG_WITHIN)
        assert answers == [answered]
        answers.clear()


def test_when_the_machine_stood_still_the_worker_has_its_time_once_more(house: House) -> None:
    answers: list[bool] = []
    house.worker.ping(answers.append)
    house.waits(5.0)
    assert answers == []
    house.waits(5.0)  # but not for ever
    assert answers == [False]


def test_answer_that_is_there_counts_although_we_are_late(house: House) -> None:
    answers: list[bool] = []
    house.worker.ping(answers.append)
    house.process.says(Kind.PONG, 1)
    house.waits(10.0)
    assert answers == [True]


def test_everybody_who_asked_is_told_when_the_worker_dies(house: House) -> None:
    answers: list[bool] = []
    dumps: list[str] = []
    house.worker.ping(answers.append)
    house.worker.dump(dumps.append)
    house.worker.dump(dumps.append)
    house.process.writes("fault", DUMP)
    house.process.dies(-11)
    house.worker.bury()
    assert (answers, dumps) == ([False], [DUMP.decode()] * 2)
    assert house.timers.timeout(0) is None


def test_worker_that_does_not_come_is_condemned(house: House) -> None:
    house.worker.expect(10.0, "was late")
    house.waits(9.9)
    assert not house.killed
    house.waits(0.2)
    assert house.killed


def test_worker_that_comes_is_not_condemned(house: House) -> None:
    house.worker.expect(10.0, "was late")
    house.waits(9.9)
    house.worker.come()
    house.waits(100.0)
    assert not house.killed


def test_worker_is_not_late_as_long_as_it_is_not_listened_to(house: House) -> None:
    """What keeps us from it is a frontend that reads slowly; it may have said long ago that it is there."""
    house.worker.expect(10.0, "was late")
    house.waits(5.0)
    house.worker.reading = False
    house.waits(100.0)
    house.waits(9.0)
    house.worker.reading = True
    house.waits(9.9)
    assert not house.killed
    house.waits(0.2)
    assert house.killed


# -- where it is


def test_worker_says_where_it_is_and_no_signal_is_sent(house: House) -> None:
    dumps: list[str] = []
    house.worker.dump(dumps.append)
    house.worker.dump(dumps.append)
    (ping,) = house.process.hears(control=True)
    assert (ping.kind, ping.flags) == (Kind.PING, STACK)
    house.process.says(Kind.PONG, ping.request, DUMP)
    house.handles()
    assert dumps == [DUMP.decode()] * 2
    house.waits(100.0)
    assert (house.process.signals, house.timers.timeout(0)) == ([], None)


def test_worker_that_does_not_say_where_it_is_gets_a_signal(house: House) -> None:
    dumps: list[str] = []
    house.worker.dump(dumps.append)
    house.waits(PONG_WITHIN)
    assert (dumps, house.process.signals) == ([], [("alone", DUMP_SIGNAL)])
    house.process.says(Kind.PONG, 1, DUMP + b"late")
    house.process.writes("fault", DUMP)
    house.handles()
    house.waits(DUMP_ENDS)
    assert dumps == [DUMP.decode()]


def test_worker_that_is_kept_from_running_has_time_to_say_where_it_is(house: House) -> None:
    """The signal might be the end of it, if it is about to run."""
    house.threads = {1234: Thread("R", 0.0)}
    house.worker.dump(lambda text: None)
    waited = 0.0
    while waited < WHERE_AT_LAST - PONG_WITHIN:
        house.waits(PONG_WITHIN)
        waited += PONG_WITHIN
        assert house.process.signals == []
    for _ in range(3):
        house.waits(PONG_WITHIN)
    assert house.process.signals == [("alone", DUMP_SIGNAL)]


def test_worker_that_answers_and_cannot_say_where_it_is_gets_a_signal(house: House) -> None:
    house.worker.dump(lambda text: None)
    house.process.says(Kind.PONG, 1)
    house.handles()
    assert house.process.signals == [("alone", DUMP_SIGNAL)]


def test_of_what_a_worker_says_about_itself_so_much_is_taken(house: House) -> None:
    dumps: list[str] = []
    house.worker.dump(dumps.append)
    for number in (1, 77):
        house.process.says(Kind.PONG, number, b"x" * 100_000)
        while readable(house.process.control.fileno(), 0):
            house.handles()
    assert dumps == ["x" * 65536]


def test_a_worker_that_has_ended_is_nowhere(house: House) -> None:
    """Whoever hears of its end may ask."""
    dumps: list[str] = []
    house.worker.ping(lambda answered: house.worker.dump(dumps.append, deaf=True))
    house.process.dies(-9)
    house.worker.bury()
    assert (dumps, house.process.signals, house.timers.timeout(0)) == ([""], [], None)


def test_a_dump_that_nobody_waits_for_any_longer_is_no_part_of_the_obituary(house: House) -> None:
    """A worker that was stopped may write it when it goes on."""
    house.worker.dump(lambda text: None, deaf=True)
    house.waits(DUMP_BEGINS)
    house.process.writes("fault", b"Stack (most recent call first):\n" + DUMP)
    house.handles()
    house.process.dies(3)
    assert house.worker.bury().fault == ""


def test_last_words_of_a_worker_that_is_asked_where_it_is(house: House) -> None:
    """They are told to whoever has asked, and belong into the obituary."""
    dumps: list[str] = []
    house.worker.dump(dumps.append)
    house.process.writes("fault", DUMP)
    house.handles()
    house.process.dies(-11)
    assert house.worker.bury().fault == DUMP.decode()
    assert dumps == [DUMP.decode()]
    assert house.process.signals == []


def test_dump_is_told_when_nothing_more_comes(house: House) -> None:
    dumps: list[str] = []
    house.worker.dump(dumps.append, deaf=True)
    assert house.process.signals == [("alone", DUMP_SIGNAL)]
    for piece in (DUMP[:40], DUMP[40:]):
        house.process.writes("fault", piece)
        house.handles()
        assert dumps == []
        house.waits(DUMP_ENDS / 2)
    house.waits(DUMP_ENDS / 2)
    assert dumps == [DUMP.decode()]


def test_those_who_ask_meanwhile_get_the_same_dump(house: House) -> None:
    dumps: list[str] = []
    house.worker.dump(dumps.append, deaf=True)
    house.worker.dump(dumps.append, deaf=True)
    assert len(house.process.signals) == 1
    house.process.writes("fault", DUMP)
    house.handles()
    house.waits(DUMP_ENDS)
    assert dumps == [DUMP.decode()] * 2


def test_worker_that_says_nothing_has_no_dump(house: House) -> None:
    dumps: list[str] = []
    house.worker.dump(dumps.append, deaf=True)
    house.waits(DUMP_BEGINS)
    assert dumps == [""]


def test_dump_that_has_come_while_we_stood_still_is_told(house: House) -> None:
    dumps: list[str] = []
    house.worker.dump(dumps.append, deaf=True)
    house.process.writes("fault", DUMP)
    house.waits(DUMP_BEGINS)
    assert dumps == []
    house.waits(DUMP_ENDS)
    assert dumps == [DUMP.decode()]


def test_worker_that_is_kept_from_running_has_time_for_its_dump(house: House) -> None:
    dumps: list[str] = []
    house.threads = {1234: Thread("R", 0.0)}
    house.worker.dump(dumps.append, deaf=True)
    for _ in range(2):
        house.waits(DUMP_BEGINS)
    assert dumps == []
    house.process.writes("fault", DUMP)
    house.handles()
    house.waits(DUMP_ENDS)
    assert dumps == [DUMP.decode()]


def test_worker_that_never_comes_to_its_dump_has_none(house: House) -> None:
    dumps: list[str] = []
    house.threads = {1234: Thread("R", 0.0)}
    house.worker.dump(dumps.append, deaf=True)
    while not dumps:
        house.waits(DUMP_BEGINS)
        assert house.clock() < 1000.0 + 2 * WHERE_AT_LAST
    assert dumps == [""]


def test_dump_that_never_ends_is_told_all_the_same(house: House) -> None:
    dumps: list[str] = []
    house.worker.dump(dumps.append, deaf=True)
    while not dumps:
        house.process.writes("fault", b"x")
        house.handles()
        house.waits(DUMP_ENDS / 2)
        assert house.clock() < 1000.0 + 2 * WHERE_AT_LAST + 2 * DUMP_BEGINS


def test_dump_that_is_not_complete_gets_one_more_time_and_no_other(house: House) -> None:
    dumps: list[str] = []
    house.worker.dump(dumps.append, deaf=True)
    house.process.writes("fault", DUMP[:50])
    house.handles()
    house.waits(DUMP_ENDS)
    assert dumps == []
    house.waits(DUMP_BEGINS)
    assert dumps == [DUMP[:50].decode()]
    assert house.timers.timeout(0) is None


def test_dump_that_was_asked_for_is_no_part_of_the_obituary(house: House) -> None:
    house.worker.dump(lambda text: None, deaf=True)
    house.process.writes("fault", DUMP)
    house.handles()
    house.waits(DUMP_ENDS)
    house.process.dies(-11)
    assert house.worker.bury().fault == ""


# -- the end


def test_everything_that_was_said_before_the_end_is_heard(house: House) -> None:
    house.worker.reading = False
    for number in range(30):
        house.process.says(Kind.STREAM, 1, b"%d" % number, b"text")
    house.process.says(Kind.REPLY, 1, b"{}")
    house.process.writes("stderr", b"last words")
    house.process.writes("fault", b"Fatal Python error")
    house.process.dies(-signal.SIGSEGV)
    house.clock.advance(5.0)
    death = house.worker.bury()
    assert kinds(house.frames) == [*[Kind.STREAM] * 30, Kind.REPLY]
    assert house.text == [("stderr", b"last words")]
    assert (death.status, death.stderr, death.fault) == (-signal.SIGSEGV, "last words", "Fatal Python error")
    assert (death.peak, death.uptime, death.reason, death.oom_kills) == (1 << 20, 5.0, "", None)


def test_what_a_condemned_worker_has_done_does_not_count_after_its_death(house: House) -> None:
    house.process.says(Kind.REPLY, 1, b"{}")
    house.worker.condemn("was killed after three interrupts")
    house.process.dies(-9)
    house.worker.bury()
    assert house.frames == []


def test_only_the_end_of_what_native_code_wrote_is_kept(house: House) -> None:
    for number in range(10):
        house.process.writes("stderr", b"%d" % number * 8192)
        house.handles()
    house.process.writes("stderr", b"\xff!")
    house.process.dies(1)
    stderr = house.worker.bury().stderr
    assert stderr.endswith("9\ufffd!")
    assert len(stderr) == module._TAIL


def test_reason_that_was_given_beforehand_is_told(house: House) -> None:
    house.worker.explain("was ended, because the kernel shuts down")
    house.process.dies(-15)
    assert house.worker.bury().reason == "was ended, because the kernel shuts down"
    assert not house.killed


@pytest.mark.parametrize(
    ("before", "after", "told"), [(3, 3, 0), (3, 5, 2), (None, 5, None), (3, None, None), (None, None, None)]
)
def test_kills_of_the_system_are_those_since_the_worker_was_born(
    monkeypatch: pytest.MonkeyPatch, before: int | None, after: int | None, told: int | None
) -> None:
    counts = chain([before, after])
    monkeypatch.setattr(module.cgroup, "oom_kills", lambda: next(counts))
    house = House()
    house.process.dies(-9)
    assert house.worker.bury().oom_kills == told
    house.close()


def prints(house: House, count: int, text: bytes = b"x", pause: float = GATHER / 2) -> int:
    """Text, each a read of its own; returns how many of them were read."""
    before = len(house.frames)
    for _ in range(count):
        house.process.says(Kind.STREAM, 1, text)
        house.handles()
        house.waits(pause)
    return len(house.frames) - before


def test_flood_of_little_text_gathers_before_it_is_read(house: House) -> None:
    assert prints(house, FLOOD) == FLOOD
    work = house.process.work.fileno()
    house.process.says(Kind.STREAM, 1, b"the last that is read at once")
    house.handles()
    assert work not in house.sockets.watched
    house.process.says(Kind.STREAM, 1, b"one")
    house.process.says(Kind.STREAM, 1, b"two")
    house.process.says(Kind.REPLY, 1, b"{}")
    house.handles()
    assert len(house.frames) == FLOOD + 1
    assert house.timers.timeout(house.clock()) == pytest.approx(GATHER)
    house.waits(GATHER)
    house.handles()
    assert [bytes(frame.parts[0]) for frame in house.frames[FLOOD + 1 :]] == [b"onetwo", b"{}"]
    assert house.sockets.watched[work] == (True, False)
    assert house.timers.timeout(house.clock()) is None  # what is no text ends it


def test_flood_of_small_displays_gathers_as_well(house: House) -> None:
    for _ in range(FLOOD + 1):
        house.process.says(Kind.PUBLISH, 1, b"display_data", b"{}", b"{}")
        house.handles()
        house.waits(GATHER / 2)
    assert len(house.frames) == FLOOD + 1
    assert house.process.work.fileno() not in house.sockets.watched
    house.waits(GATHER)
    assert house.process.work.fileno() in house.sockets.watched


def test_large_displays_are_read_at_once(house: House) -> None:
    for _ in range(3 * FLOOD):
        house.process.says(Kind.PUBLISH, 1, b"display_data", b"{}", b'{"a": "%s"}' % (b"x" * LITTLE))
        house.handles()
    assert house.process.work.fileno() in house.sockets.watched


@pytest.mark.parametrize(
    ("text", "pause"), [(b"x" * LITTLE, GATHER / 2), (b"x", 2 * GATHER)], ids=["much at once", "not so fast"]
)
def test_other_text_is_read_at_once(house: House, text: bytes, pause: float) -> None:
    assert prints(house, 3 * FLOOD, text, pause) == 3 * FLOOD


def test_what_has_gathered_when_the_worker_dies_is_taken(house: House) -> None:
    prints(house, FLOOD + 1, pause=0)
    house.process.says(Kind.STREAM, 1, b"last words")
    house.process.dies(-signal.SIGSEGV)
    assert house.handles()
    house.worker.bury()
    assert bytes(house.frames[-1].parts[0]) == b"last words"
    assert house.timers.timeout(house.clock()) is None


def test_worker_that_must_wait_is_not_read_when_its_text_has_gathered(house: House) -> None:
    prints(house, FLOOD + 1, pause=0)
    house.worker.reading = False
    house.waits(GATHER)
    assert house.process.work.fileno() not in house.sockets.watched
    house.worker.reading = True
    assert house.process.work.fileno() in house.sockets.watched
