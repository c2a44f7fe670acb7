"""The faults as data: what ends a worker, or may be thought to, and what the frontend is told about it."""

from __future__ import annotations

import re
import textwrap
from typing import NamedTuple

#: What the code of the faults needs. A cell of its own, so that the cells that die have lines worth looking at.
IMPORTS = """
import asyncio, atexit, ctypes, mmap, os, platform, random, resource, signal, socket, stat, subprocess, sys, threading, time
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]
def pipes_of_others(kinds):
    "The descriptors that this code has not opened and should not touch."
    for fd in range(3, 1024):
        try:
            mode = os.fstat(fd).st_mode
        except OSError:
            continue
        if any(kind(mode) for kind in kinds):
            yield fd
def spoil(fd, data):
    "Of those that lead to nobody, as a connection that a copy of the worker has lost, nothing comes."
    try:
        os.write(fd, data)
    except OSError:
        pass
def at_gate(then):
    "In a thread: does something when the test says so."
    def wait():
        open('gate').read()
        then()
    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
"""

_DIED = r"The worker died of {}{{cell}}\."
_ENDED = r"The worker ended with exit status {}{{cell}}\."
_LINK = (
    r"The worker (ended{cell}, because something closed file descriptors that it had not opened"
    r"|was killed{cell}, because it had closed its link)\."
)
_GARBAGE = r"The worker was killed{cell}, because what it sent was not understood \(.*\)\."


class Fault(NamedTuple):
    """One way to end a worker."""

    code: str  #: the body of `die()`
    said: str  #: the evalue, as a regular expression with {cell} for where it happened
    signal: str | None = None  #: the name in the record
    status: int | None = None  #: the exit status in the record
    stack: bool = False  #: whether faulthandler gets to say where Python was
    words: str = ""  #: what is repeated of native stderr, as a regular expression
    main_only: bool = False  #: the same in a thread leaves no stack: only the main thread has one for handlers
    dies: bool = True  #: the process ends by itself, whatever the supervisor does

    def define(self) -> str:
        """A cell that defines `die()`."""
        return f"def die():\n{textwrap.indent(self.code, '    ')}"

    def tells(self, evalue: str, cell: int) -> bool:
        """Whether a sentence is that of this fault in prompt number `cell`; 0 for no cell."""
        where = rf" in cell \[{cell}\]" if cell else ""
        return re.fullmatch(self.said.format(cell=where), evalue) is not None


def _signalled(name: str, meaning: str, code: str, *, words: str = "", stack: bool = True) -> Fault:
    said = _DIED.format(rf"{name} \({meaning}\)" if meaning else name)
    return Fault(code, said, signal=name, stack=stack, words=words)


def _exited(status: int, code: str) -> Fault:
    return Fault(code, _ENDED.format(status), status=status)


_SEGV, _ABRT = "segmentation fault", "abort"

FAULTS: dict[str, Fault] = {
    "null pointer": _signalled("SIGSEGV", _SEGV, "ctypes.string_at(0)"),
    "stack overflow in C": Fault(
        "libc.regcomp(ctypes.create_string_buffer(1000), b'(' * 10_000_000, 1)",
        _DIED.format(r"SIGSEGV \(segmentation fault\)"),
        signal="SIGSEGV",
        stack=True,
        main_only=True,
    ),
    "truncated file": _signalled(
        "SIGBUS",
        "bus error",
        "f = open('page', 'w+b'); f.truncate(4096)\nm = mmap.mmap(f.fileno(), 4096); f.truncate(0)\nm[0]",
    ),
    "division in C": _signalled(
        "SIGFPE",
        "arithmetic error",
        "if platform.machine() == 'x86_64': libc.div(1, 0)\nsignal.raise_signal(signal.SIGFPE)",
    ),
    "illegal instruction": _signalled(
        "SIGILL",
        "illegal instruction",
        "m = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)\n"
        "m.write(b'\\x0f\\x0b' if platform.machine() == 'x86_64' else bytes(4))\n"
        "ctypes.CFUNCTYPE(None)(ctypes.addressof(ctypes.c_char.from_buffer(m)))()",
    ),
    "abort": _signalled("SIGABRT", _ABRT, "os.abort()"),
    "double free": _signalled("SIGABRT", _ABRT, "p = libc.malloc(24); libc.free(p); libc.free(p)", words="double free"),
    "heap overflow": _signalled(
        "SIGABRT",
        _ABRT,
        "a, b = libc.malloc(2000), libc.malloc(2000)\nctypes.memset(a, 0xff, 2100); libc.free(b); libc.free(a)",
        words=r"free\(\): invalid|munmap_chunk|corrupted|double free",
    ),
    "fatal error of Python": _signalled(
        "SIGABRT",
        _ABRT,
        "fatal = ctypes.pythonapi.Py_FatalError\nfatal(b'the end')",
        words="Fatal Python error: .*the end",
    ),
    "out of memory in C": _signalled(
        "SIGABRT",
        _ABRT,
        "resource.setrlimit(resource.RLIMIT_AS, (1 << 20, -1))\n"
        "if not libc.malloc(1 << 40): libc.dprintf(2, b'cannot allocate\\n'); libc.abort()",
        words="cannot allocate",
    ),
    "out of memory, unchecked": _signalled(
        "SIGSEGV",
        _SEGV,
        "resource.setrlimit(resource.RLIMIT_AS, (1 << 20, -1))\nlibc.memset(ctypes.c_void_p(libc.malloc(1 << 40)), 0, 1000)",
    ),
    "os._exit(3)": _exited(3, "os._exit(3)"),
    "os._exit(0)": _exited(0, "os._exit(0)"),
    "exit() in C": _exited(4, "libc.exit(4)"),
    "another program": _exited(7, "os.execv('/bin/sh', ['sh', '-c', 'exit 7'])"),
    "another program that stays": Fault(
        "os.execv('/bin/sleep', ['sleep', '1000'])", _LINK, signal="SIGKILL", dies=False
    ),
    "SIGKILL": _signalled("SIGKILL", "killed from outside", "os.kill(os.getpid(), signal.SIGKILL)", stack=False),
    "SIGKILL to the group": _signalled("SIGKILL", "killed from outside", "os.killpg(0, signal.SIGKILL)", stack=False),
    "SIGTERM": _signalled(
        "SIGTERM", "terminated", "os.kill(os.getpid(), signal.SIGTERM); time.sleep(1000)", stack=False
    ),
    "SIGALRM": _signalled("SIGALRM", "", "signal.setitimer(signal.ITIMER_REAL, 0.001); time.sleep(1000)", stack=False),
    "a signal without a name": Fault("os.kill(os.getpid(), 40)", _DIED.format("signal 40"), signal="signal 40"),
    # The history database loses its file as well, and a library that is at work on one may crash.
    "descriptors closed": Fault(
        "os.closerange(3, 65536)", rf"{_LINK}|The worker died of SIG(SEGV|BUS) \([a-z ]+\){{cell}}\.", dies=False
    ),
    "garbage": Fault(
        "for fd in pipes_of_others([stat.S_ISSOCK, stat.S_ISFIFO]): spoil(fd, b'garbage' * 100)\ntime.sleep(1000)",
        _GARBAGE,
        signal="SIGKILL",
        dies=False,
    ),
    "zeros": Fault(
        "for fd in pipes_of_others([stat.S_ISSOCK]): spoil(fd, bytes(100))\ntime.sleep(1000)",
        _GARBAGE,
        signal="SIGKILL",
        dies=False,
    ),
    "noise until it is full": Fault(
        "dice = random.Random(3)\nfor fd in pipes_of_others([stat.S_ISSOCK, stat.S_ISFIFO]):\n"
        "    os.set_blocking(fd, False)\n    try:\n        while True: os.write(fd, dice.randbytes(10_000))\n"
        "    except OSError: pass\ntime.sleep(1000)",
        _GARBAGE,
        signal="SIGKILL",
        dies=False,
    ),
}

#: What keeps a worker from running for ever, as the body of `die()`, with the state that is told of it.
HUNG: dict[str, tuple[str, str]] = {
    "SIGSTOP": ("os.kill(os.getpid(), signal.SIGSTOP)", "stopped"),
    "a C call that never returns": ("sum(range(10**15))", "unresponsive"),  # and keeps the GIL
}
#: Takes all descriptors that there are, as the body of `die()`; the kernel has all that it needs.
EXHAUSTED = (
    "resource.setrlimit(resource.RLIMIT_NOFILE, (256, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))\n"
    "try:\n    while True: taken.append(os.dup(0))\nexcept OSError: pass"
)
#: What looks as if it could end a worker and must not, as a cell; an exception is allowed, another worker is not.
SURVIVED: dict[str, str] = {
    "all descriptors used up": "fds = []\nwhile True: fds.append(os.open('/dev/null', 0))",
    "all descriptors used up, and kept": (
        "try:\n    while True: keep = globals().setdefault('keep', []); keep.append(os.dup(0))\nexcept OSError: print('full')"
    ),
    "standard descriptors closed": "os.closerange(0, 3)",
    "standard streams closed": "sys.stdout.close(); sys.stderr.close(); sys.__stdout__.close()",
    "standard streams gone": "sys.stdout = sys.stderr = None",
    "standard streams deleted": "del sys.stdout, sys.stderr",
    "standard streams that are none": "sys.stdout, sys.stderr = 5, object()",
    "clocks patched": "time.monotonic = time.perf_counter = time.time = None",
    "forks refused": (
        "def refuse(event, arguments):\n    if event == 'os.fork': raise RuntimeError('no forks')\nsys.addaudithook(refuse)"
    ),
    "the loop's descriptors closed": "await asyncio.sleep(0)\nos.closerange(3, 200)",
    "no memory in Python": (
        "old = resource.getrlimit(resource.RLIMIT_AS)\ntry:\n    resource.setrlimit(resource.RLIMIT_AS, (1 << 30, old[1])); x = bytearray(1 << 40)\n"
        "finally: resource.setrlimit(resource.RLIMIT_AS, old)"
    ),
    "recursion": "def f(): f()\nf()",
    "recursion in a repr": "x = []\nfor _ in range(100_000): x = [x]\nx",
    "a child that crashes": "subprocess.run([sys.executable, '-c', 'import os; os.abort()'], stderr=subprocess.DEVNULL).returncode",
    "a fork that crashes": "if not (pid := os.fork()): os.abort()\nos.waitpid(pid, 0)[1]",
    "a fork that exits": "if not (pid := os.fork()): sys.exit(3)\nos.waitpid(pid, 0)[1]",
    "a fork that closes everything": "if not (pid := os.fork()): os.closerange(0, 65536); os._exit(0)\nos.waitpid(pid, 0)[1]",
    "SystemExit in a thread": "t = threading.Thread(target=sys.exit); t.start(); t.join()",
    "a full fault pipe": (
        "for fd in pipes_of_others([stat.S_ISFIFO]):\n    os.set_blocking(fd, False)\n    try:\n"
        "        for _ in range(1000): os.write(fd, b'x' * 10_000)\n    except OSError: pass"
    ),
    "signals ignored": "for s in (signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE, signal.SIGCHLD): signal.signal(s, signal.SIG_IGN)",
    "a broken pipe": "a, b = os.pipe(); os.close(a); os.write(b, b'x')",
    "other folder that goes": "os.mkdir('gone'); os.chdir('gone'); os.rmdir('../gone')",
}
