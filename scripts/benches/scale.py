"""How each cost grows with its work, as one picture: `scripts/bench --scale`."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from .kernels import OURS, REFERENCE, Kernel, Spec, installed
from .speed import CALL

PICTURE = Path(__file__).resolve().parents[2] / "share" / "scale.svg"


class Curve(NamedTuple):
    """One panel: sizes of the work, and a function that does it in a kernel and returns milliseconds."""

    title: str
    sizes: Sequence[int]
    cost: Callable[[Kernel, int], float]


def _printed(kernel: Kernel, megabytes: int) -> float:
    kernel.client.execute("text = 'x' * 99_999")
    return 1000 * kernel.client.execute(f"for i in range({10 * megabytes}): print(text)").seconds


def _displayed(kernel: Kernel, count: int) -> float:
    code = f"from IPython.display import display\nfor i in range({count}): display({{'text/plain': 'x'}}, raw=True)"
    return 1000 * kernel.client.execute(code).seconds


def _queued(kernel: Kernel, count: int) -> float:
    begun = time.perf_counter()
    runs = [kernel.client.start(CALL) for _ in range(count)]
    kernel.client.wait(lambda: runs[-1].over)
    return 1000 * (time.perf_counter() - begun)


def _variables(kernel: Kernel, count: int) -> float:
    kernel.client.execute(f"globals().update({{f'variable_{{i}}': [i] for i in range({count})}})")
    return _cell(kernel)


def _session(kernel: Kernel, megabytes: int) -> float:
    kernel.client.execute(f"data = bytearray({megabytes} << 20)\nfor i in range(0, len(data), 4096): data[i] = 1")
    return _cell(kernel)


def _cell(kernel: Kernel) -> float:
    kernel.client.execute(CALL)
    return 1000 * statistics.median(kernel.client.execute(CALL).seconds for _ in range(15))


CURVES = (
    Curve("printed MB", (1, 4, 16, 64, 256), _printed),
    Curve("displays", (100, 400, 1600, 6400), _displayed),
    Curve("cells in the queue", (10, 40, 160, 640), _queued),
    Curve("cell, by variables", (100, 1000, 10_000, 100_000), _variables),
    Curve("cell, by MB of the session", (10, 40, 160, 640, 2560), _session),
)


def plot(quick: bool) -> None:
    """Measures, and writes the picture."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.fonttype"] = "none"  # a third of the size
    from matplotlib import pyplot

    specs = [spec for spec in installed() if spec.name in (OURS, REFERENCE)]
    figure, axes = pyplot.subplots(1, len(CURVES), figsize=(15, 3.2), layout="constrained")
    with tqdm(total=len(CURVES) * len(specs), disable=None, unit="") as bar:
        for curve, ax in zip(CURVES, axes, strict=True):
            for spec in specs:
                sizes = curve.sizes[:2] if quick else curve.sizes
                ax.plot(sizes, _measured(curve, spec, sizes), marker="o", markersize=3, label=spec.name)
                bar.update()
            ax.set(title=curve.title, xscale="log", yscale="log")
            low, high = (math.log10(end) for end in ax.get_ylim())
            ax.set_ylim(10 ** math.floor(low), 10 ** math.ceil(high))  # whole decades: one tick each, and no other
            for axis in (ax.xaxis, ax.yaxis):
                axis.set_major_formatter("{x:g}")
                axis.set_minor_formatter("")
            ax.grid(alpha=0.3)
    axes[0].set_ylabel("ms")
    axes[0].legend(fontsize="small")
    PICTURE.parent.mkdir(exist_ok=True)
    figure.savefig(PICTURE, metadata={"Date": None})
    print(f"{PICTURE} is made.")


def _measured(curve: Curve, spec: Spec, sizes: Sequence[int]) -> list[float]:
    with Kernel(spec) as kernel:
        kernel.ready()
        return [min(curve.cost(kernel, size) for _ in range(3)) for size in sizes]
