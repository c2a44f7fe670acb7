"""Which calls are known to write their line's end next, and no others."""

from __future__ import annotations

import _thread
import builtins
import io
import sys
import threading
from types import CodeType, SimpleNamespace
from typing import Any

import pytest

from ipymini_worker import context, printing
from ipymini_worker.streams import OutStream

#: Code, and how many of its calls are.
PRINTS = {
    "print('a')": 1,
    "print(x)": 1,
    "print(f'{x} {y:>3}')": 1,
    "print('%s' % x)": 1,
    "print(a.b[c](d, e=1) + 2)": 1,
    "print(x < y)": 1,
    "print(not x)": 1,
    "print((y := 2))": 1,
    "print(sum(i for i in x))": 1,
    "print(x); f(y); print(z)": 2,
    "for i in range(3): print(i)": 1,
    "try:\n    print(x)\nexcept E:\n    print(y)": 2,
    "print(print(x))": 2,
    "f(g(x), print(x))": 1,
    "print(x)[0](y)": 1,
    "print('%s' % f(print(x), 2))": 2,
    "print(x, y)": 1,
    "print('a', x, f'{y}', 4)": 1,
    "print(f(x), g(y, z=1))": 1,
    "print(x, print(y, z))": 2,
    "print(x, f(print)(y))": 1,
}
OTHERS = (
    "print()",
    "print(x, y, end='')",
    "print(x, y, sep='')",
    "print(x, *y)",
    "print(x, y if z else 0)",
    "print(x, end='')",
    "print(x, file=f)",
    "print(x, flush=True)",
    "print(*x)",
    "print(**x)",
    "print(end='')",
    "print(a if b else c)",
    "(a and print)(x)",
    "(a or print)(x)",
    "(print if a else b)(x)",
    "p = print\np(x)",
    "f(print)(x)",
    "f(x)(print)",
    "f(print, g(x))",
    "f(print, 1)(x)",
    "print.a(x)",
    "print.__call__(x)",
    "print[0](x)",
    "x[print](y)",
    "[print, f(1)]",
    "x = print; f(x)",
    "w(x)",
)


def code_of(source: str, inside: bool) -> CodeType:
    if not inside:
        return compile(source, "<cell>", "exec")
    lines = "\n".join(f"    {line}" for line in source.splitlines())
    outer = compile(f"def f():\n{lines}", "<cell>", "exec")
    return next(const for const in outer.co_consts if isinstance(const, CodeType))


def count(source: str, inside: bool) -> int:
    calls = len(printing.calls_of_print(code_of(source, inside)))
    return calls // 2 if sys.version_info < (3, 12) else calls  # a call is two instructions there


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="other Pythons may know fewer, which costs time only")
@pytest.mark.parametrize("inside", [False, True], ids=["cell", "function"])
@pytest.mark.parametrize("source", PRINTS)
def test_call_of_print_with_arguments_is_known(source: str, inside: bool) -> None:
    assert count(source, inside) == PRINTS[source]


@pytest.mark.parametrize("inside", [False, True], ids=["cell", "function"])
@pytest.mark.parametrize("source", OTHERS)
def test_no_other_call_is(source: str, inside: bool) -> None:
    assert count(source, inside) == 0


class Stream(io.TextIOBase):
    """Writes down what is written, and whether a line's end is certain to come."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, bool]] = []

    def write(self, text: str) -> int:
        self.seen.append((text, printing.ends_line(sys._getframe().f_back)))
        return len(text)


def seen(source: str, monkeypatch: pytest.MonkeyPatch, **names: Any) -> set[tuple[str, bool]]:
    """What a stream sees of code, after the first time."""
    stream = Stream()
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", stream)
        exec(compile(source, "<cell>", "exec"), {"__builtins__": builtins, "w": stream.write, **names})
    return set(stream.seen[2:])


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="other Pythons may know fewer, which costs time only")
@pytest.mark.parametrize(
    "source",
    ["for i in range(20): print('x')", "def f():\n    for i in range(20): print('x')\nf()"],
    ids=["cell", "function"],
)
def test_line_end_is_certain_after_print(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert ("x", True) in seen(source, monkeypatch)


@pytest.mark.parametrize(
    "source",
    [
        "for i in range(20): w('x')",
        "import sys\nfor i in range(20): sys.stdout.write('x')",
        "print = w\nfor i in range(20): print('x')",
        "from functools import partial\nprint = partial(w)\nfor i in range(20): print('x')",
        "from functools import partial\nclass C:\n    print = partial(w)\n    for i in range(20): print('x')",
        "for i in range(20): print('x', end='')",
        "def f(print):\n    for i in range(20): print('x')\nf(w)",
        "class C:\n    print = w\n    for i in range(20): print('x')",
        "class C:\n    def __str__(self): w('x'); return ''\nc = C()\nfor i in range(20): print(c)",
        "class C:\n    def __str__(self): w('x'); return ''\nc = C()\nfor i in range(20): print('y', c)",
    ],
)
def test_line_end_is_not_certain_after_others(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert ("x", True) not in seen(source, monkeypatch)


def test_print_that_somebody_has_replaced_is_not_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Stream()
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setattr(builtins, "print", stream.write)
    exec(compile("for i in range(20): print('x')", "<cell>", "exec"), {"__builtins__": builtins})
    assert set(stream.seen) == {("x", False)}


def test_text_of_native_code_that_nobody_in_python_has_called_does_not_wait() -> None:
    sent: list[object] = []
    there = threading.Event()

    def send_text(*what: object) -> None:
        sent.append(what)
        there.set()

    stream = OutStream(SimpleNamespace(send_text=send_text), 1)  # type: ignore[arg-type]
    _thread.start_new_thread(stream.write, ("text",))
    assert there.wait(20)
    assert sent == [(context.active().id, b"text", 0, False)]


def test_what_is_kept_is_bounded() -> None:
    for number in range(500):
        frame = eval(compile(f"sys._getframe() or {number}", "<cell>", "eval"), {"sys": sys})
        printing.ends_line(frame)
    assert len(printing._seen) <= 64
