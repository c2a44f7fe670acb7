"""Whether it is `print(x, y)` that writes to a stream: it writes `x` and then, whatever happens, a space, `y`, and the
line's end.

Of nobody else who writes is it known that more comes at once. So the text of an argument of `print`, and of no other
call, may wait for the space or the line's end, and both leave together, as one frame and not as two: no code of the
user's runs between them. After a space it may, as the next argument is asked for its text.

It is told by the instruction that the frame of the caller is at: a call with no names and no stars, whose function was
loaded by the name `print`, which means the built-in one. What an instruction is worth is found out once for each code
object, and not before it prints a second time: most cells print once. Where bytecode is not what we know, nothing
waits.
"""

from __future__ import annotations

import builtins
import dis
import sys
from types import CodeType, FrameType

#: Versions of Python whose bytecode is known.
_KNOWN = (3, 11) <= sys.version_info < (3, 15)
#: What is written between two arguments.
SPACE = " "
#: Bytes of bytecode up to which a code object is looked at, and how many are kept in mind.
_LONGEST, _REMEMBERED = 1 << 15, 64
_NONE: frozenset[int] = frozenset()
_OPTIMIZED = 1  # CO_OPTIMIZED: local variables are not looked up by name

_print = builtins.print
#: By id, which is cheaper than by value: the code itself, kept so that no other gets its id, and its calls of `print`.
_seen: dict[int, tuple[CodeType, frozenset[int] | None]] = {}


def ends_line(frame: FrameType) -> bool:
    """Whether `frame`, whose code has called something that writes, is in the midst of a `print(x, y)`."""
    code = frame.f_code
    known = _seen.get(id(code))
    if known is None or known[1] is None:
        _learn(code, again=known is not None)
        return False
    if frame.f_lasti not in known[1]:
        return False
    names = frame.f_globals
    if "print" in names or frame.f_builtins.get("print") is not _print:
        return False
    return bool(code.co_flags & _OPTIMIZED) or frame.f_locals is names


def _learn(code: CodeType, *, again: bool) -> None:
    if len(_seen) >= _REMEMBERED:
        _seen.clear()
    _seen[id(code)] = code, calls_of_print(code) if again else None


def calls_of_print(code: CodeType) -> frozenset[int]:
    """The offsets of the instructions that call `print` by this name with arguments and nothing else.

    Only those whose arguments are computed without a jump, so that what is on the stack is known.
    """
    if not _KNOWN or "print" not in code.co_names or len(code.co_code) > _LONGEST:
        return _NONE
    raw, index = code.co_code, code.co_names.index("print")
    labels = set(dis.findlabels(raw))  # type: ignore[arg-type]  # it takes bytecode
    found: set[int] = set()
    # How much is on the stack, and how much was there before each `print` that has yet to be called. A function that is
    # to be called takes two places, one of them empty; whatever reaches below its first argument has taken it away.
    depth, waiting = 0, list[int]()
    extended, before = 0, ""
    for at in range(0, len(raw), 2):
        op, name = raw[at], dis.opname[raw[at]]
        argument = extended | raw[at + 1]
        extended = argument << 8 if name == "EXTENDED_ARG" else 0
        if at in labels or op in _JUMPS:
            waiting.clear()
            before = ""
        if name in ("CACHE", "EXTENDED_ARG"):
            continue
        ours = waiting and argument and depth == waiting[-1] + 2 + argument
        if name == _CALLS and ours and before != "KW_NAMES":
            found.update((at, at + 4) if name == "PRECALL" else (at,))
        depth += dis.stack_effect(op, argument if op >= dis.HAVE_ARGUMENT else None, jump=False)
        while waiting and depth < waiting[-1] + 3:
            waiting.pop()
        if name == "LOAD_NAME" and argument != index:
            name = ""
        if (name == "LOAD_GLOBAL" and argument == index << 1 | 1) or (before, name) == _LOADS:
            waiting.append(depth - 2)
        before = name
    return frozenset(found)


_JUMPS = frozenset((*dis.hasjrel, *dis.hasjabs))
#: In Python 3.11 a call is two instructions; a built-in function is called by the first or by the second.
_CALLS = "PRECALL" if sys.version_info < (3, 12) else "CALL"
#: How a function that is to be called is loaded by its name, where that is not global.
_LOADS = ("PUSH_NULL", "LOAD_NAME") if sys.version_info < (3, 13) else ("LOAD_NAME", "PUSH_NULL")
