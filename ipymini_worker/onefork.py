"""Forks a process that is not our child, with one fork; for x86-64 Linux.

A child that shares our memory, as `posix_spawn` has one, calls the C library's `fork` and ends while we wait (`man 2
clone`: CLONE_VM, CLONE_VFORK): what it leaves behind belongs to the next subreaper. It costs next to nothing, where a
child of the usual kind costs as much as the fork itself. But from its begin to its end nothing may return into code
that goes on here, so that this is a function of machine code, which calls the rest by address.

Hazard: a library that starts native threads after a fork starts them in the child, where they end with it. So this is
for a process in which only Python has started threads (`native_threads`).
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import select
import sys
import threading

#: Of one argument, the address of twelve words of 64 bits (rbx), in the calling convention of x86-64 on Unix:
#:
#:     0-4   addresses: PyOS_BeforeFork, PyOS_AfterFork_Parent, fork, poll, PyOS_AfterFork_Child
#:     5     the copy's process id comes here; -1 if there is none
#:     6, 7  a pollfd, and for how many milliseconds the copy polls it before it does anything else
#:     8, 9  all signals, and room for those that are blocked
#:     10    room for a byte
#:     11    a descriptor that the copy closes
#:
#: Returns 0 in the copy; in the original the process id of the child, or the negative number of an error.
_CODE = bytes.fromhex(
    "53 55 41 54 48 89 fb ff 13"  # push rbx, rbp, r12; rbx = rdi; call word 0
    # Signals are blocked: the child must not run handlers, whose changes would be changes here.
    "bf 02 00 00 00 48 8d 73 40 48 8d 53 48 41 ba 08 00 00 00"  # edi = SIG_SETMASK; rsi, rdx = words 8, 9; r10d = 8
    "b8 0e 00 00 00 0f 05"  # rt_sigprocmask
    "31 f6 31 d2 45 31 d2 45 31 c0 bf 00 41 00 00 b8 38 00 00 00 0f 05"  # clone(CLONE_VM | CLONE_VFORK, 0, 0, 0, 0)
    "48 85 c0 74 25"  # rax is 0: go to child
    "48 89 c5 41 bc 08 00 00 00 0f 88 85 00 00 00"  # rbp = rax; r12d = 8; rax is negative: go to end
    "31 f6 45 31 d2 ba 00 00 00 80 48 89 ef b8 3d 00 00 00 0f 05 eb 6f"  # wait4(rbp, 0, __WCLONE, 0); go to end
    # child: in a group of its own, for this one may be killed at any time.
    "31 ff 31 f6 b8 6d 00 00 00 0f 05"  # setpgid(0, 0)
    "ff 53 10 85 c0 74 0f"  # call word 2; eax is 0: go to copy
    "48 98 48 89 43 28 31 ff b8 3c 00 00 00 0f 05"  # word 5 = eax; exit(0)
    # copy: it sleeps, and if it has been discarded meanwhile, it ends.
    "8b 7b 58 b8 03 00 00 00 0f 05"  # close(word 11)
    "48 8d 7b 30 be 01 00 00 00 8b 53 38 ff 53 18"  # rdi, esi, edx = word 6, 1, word 7; call word 3
    "8b 7b 30 48 8d 73 50 ba 01 00 00 00 41 ba 42 00 00 00"  # edi, rsi, edx = word 6, word 10, 1; r10d = MSG_PEEK, ...
    "45 31 c0 45 31 c9 b8 2d 00 00 00 0f 05"  # ... MSG_DONTWAIT; r8d, r9d = 0; recvfrom
    "31 ed 41 bc 20 00 00 00 48 85 c0 75 09"  # ebp = 0; r12d = 32; rax is not 0: go to end
    "31 ff b8 e7 00 00 00 0f 05"  # exit_group(0)
    # end: signals are let in again, and Python told.
    "bf 02 00 00 00 48 8d 73 48 31 d2 41 ba 08 00 00 00"  # edi = SIG_SETMASK; rsi = word 9; edx = 0; r10d = 8
    "b8 0e 00 00 00 0f 05"  # rt_sigprocmask
    "42 ff 14 23 48 89 e8 41 5c 5d 5b c3"  # call [rbx + r12]; rax = rbp; pop r12, rbp, rbx; ret
)
#: How many of the words are addresses.
_ADDRESSES = 5
#: Of the system call by which a thread is told which processor it is on (`man 2 rseq`): its number, the size of what is
#: written to, and the signature, which is glibc's.
_RSEQ, _RSEQ_SIZE, _RSEQ_SIGNATURE = 334, 32, 0x53053053


class OneFork:
    """The function, and what it needs. One thread may call it.

    :raises OSError: this is another kind of system, or one that lets nobody make machine code.
    :raises AttributeError: the C library or Python does not give its functions.
    """

    def __init__(self) -> None:
        kind = (sys.platform, os.uname().machine, ctypes.sizeof(ctypes.c_void_p))
        if kind != ("linux", "x86_64", 8):
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
        python, libc = ctypes.pythonapi, ctypes.PyDLL(None)
        before, after = python.PyOS_BeforeFork, python.PyOS_AfterFork_Parent
        functions = (before, after, libc.fork, libc.poll, python.PyOS_AfterFork_Child)
        addresses = [ctypes.cast(function, ctypes.c_void_p).value or 0 for function in functions]
        self._words = (ctypes.c_int64 * (_ADDRESSES + 7))(*addresses, -1, 0, 0, -1)
        self._page = mmap.mmap(-1, mmap.PAGESIZE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self._page[: len(_CODE)] = _CODE
        self._pin = ctypes.c_char.from_buffer(self._page)
        start = ctypes.addressof(self._pin)
        if libc.mprotect(ctypes.c_void_p(start), ctypes.c_size_t(mmap.PAGESIZE), mmap.PROT_READ | mmap.PROT_EXEC):
            raise OSError(errno.EACCES, os.strerror(errno.EACCES))
        self._call = ctypes.PYFUNCTYPE(ctypes.c_long, ctypes.c_void_p)(start)
        self._argument = ctypes.c_void_p(ctypes.addressof(self._words))
        self._syscall = libc.syscall
        try:
            here = ctypes.CFUNCTYPE(ctypes.c_void_p)(("pthread_self", libc))()
            self._rseq = ctypes.c_void_p(here + ctypes.c_ssize_t.in_dll(libc, "__rseq_offset").value)
            self._rseq_size = ctypes.c_uint.in_dll(libc, "__rseq_size").value
        except ValueError:  # another C library, or an old one, which does without
            self._rseq_size = 0

    def fork(self, own: int, other: int, rest: int) -> int:
        """Returns the copy's process id, and 0 in the copy.

        :param own: a descriptor of a socket; the copy rests until there is something to read, and ends at end of file.
        :param other: a descriptor that the copy closes.
        :param rest: milliseconds that the copy rests at the most.
        :raises OSError: the system refuses it.
        :raises Exception: an audit hook refuses it.
        """
        sys.audit("os.fork")
        words = self._words
        words[5], words[6], words[7], words[11] = -1, own | select.POLLIN << 32, rest, other
        child = self._call(self._argument)
        if child == 0:
            if self._rseq_size:  # of its parent, which shared our memory, the copy has not inherited it
                self._syscall(_RSEQ, self._rseq, max(_RSEQ_SIZE, self._rseq_size), 0, _RSEQ_SIGNATURE)
            return 0
        copy = int(words[5])
        if copy <= 0:
            number = -child if child < 0 else errno.EAGAIN
            raise OSError(number, os.strerror(number))
        return copy


def native_threads() -> bool:
    """Whether there are threads that Python has not started."""
    ours = {str(os.getpid())}
    ours.update(str(t.native_id) for t in threading.enumerate() if not isinstance(t, threading._DummyThread))
    return not ours.issuperset(os.listdir("/proc/self/task"))
