"""What a kernel that does nothing costs."""

from __future__ import annotations

import time

from .kernels import Kernel, Spec
from .speed import Results

#: The completer is not loaded beforehand, where there is such a thing.
COLD = {"IPYMINI_WARM": "0"}


def memory(spec: Spec, quick: bool) -> Results:
    """Memory of all processes of a kernel, before and after its first cell, what they share counted once."""
    with Kernel(spec, COLD) as kernel:
        info = kernel.client.send("comm_info_request", {})  # which the worker answers
        kernel.client.wait(lambda: info.reply is not None)
        time.sleep(1.0)
        fresh = kernel.proportional()
        kernel.ready()
        time.sleep(1.0)
        cold = kernel.proportional()
    with Kernel(spec) as kernel:
        kernel.ready()
        time.sleep(4.0)
        warm = kernel.proportional()
    return {"memory before a cell": fresh, "memory when idle": cold, "memory, completer warm": warm}


def idle(spec: Spec, quick: bool) -> Results:
    """How often any thread of an idle kernel wakes up."""
    seconds = 3.0 if quick else 10.0
    with Kernel(spec) as kernel:
        kernel.ready()
        time.sleep(4.0)
        before = kernel.wake_ups()
        time.sleep(seconds)
        return {"wake-ups in 10 s": (kernel.wake_ups() - before) * 10 / seconds}
