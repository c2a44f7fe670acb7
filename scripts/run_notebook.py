"""Runs a notebook on a kernel and prints what comes out, cell by cell; `scripts/run` calls it.

The exit status is 0 if every cell did what it is expected to, 1 if not, and 2 if there is no notebook to run. A cell
with the tag `raises-exception` may raise.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import logging
import signal
import struct
import sys
from pathlib import Path
from typing import Any

import nbformat
from jupyter_client.kernelspec import NoSuchKernel
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, DeadKernelError
from tqdm import tqdm

TOUR = Path(__file__).resolve().parent.parent / "share" / "tour" / "tour.ipynb"
TAG = "raises-exception"
WIDGET = "application/vnd.jupyter.widget-view+json"
#: Lines of one output that are printed, and characters of one line.
LINES, COLUMNS = 40, 200
BAR = "{desc} {percentage:3.0f}%|{bar:30}| {elapsed}"


class NotebookError(Exception):
    """There is no notebook to run; one plain sentence says why."""


def main() -> int:
    """Does what the command line asks for; returns the exit status."""
    parser = argparse.ArgumentParser(prog="scripts/run", description="Run a notebook and print what comes out.")
    parser.add_argument("notebook", nargs="?", type=Path, default=TOUR, help="default: the tour")
    parser.add_argument("--kernel", default="ipymini", metavar="NAME", help="default: %(default)s")
    options = parser.parse_args()
    # Our own lines say what happened.
    logging.getLogger("traitlets").setLevel(logging.CRITICAL)
    try:
        notebook = read(options.notebook)
        return asyncio.run(run(notebook, options.notebook.resolve().parent, options.kernel))
    except NotebookError as error:
        print(f"scripts/run: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    except NoSuchKernel:
        print(f"scripts/run: There is no kernel {options.kernel}.", file=sys.stderr)
        return 2


def read(path: Path) -> Any:
    """The notebook in a file, in the current format.

    :raises NotebookError: it cannot be read, or is no notebook.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise NotebookError(f"{path} cannot be read ({(error.strerror or str(error)).lower()}).") from None
    except UnicodeDecodeError:
        raise NotebookError(f"{path} is not a notebook: it is not a text in UTF-8.") from None
    try:
        notebook = nbformat.reads(text, as_version=4)
        nbformat.validate(notebook)
    except Exception as error:
        # nbformat raises whatever comes up when JSON is not what it expects.
        reason = (str(error).splitlines() or [type(error).__name__])[0][:COLUMNS]
        raise NotebookError(f"{path} is not a notebook that can be run ({reason}).") from None
    return notebook


async def run(notebook: Any, folder: Path, kernel: str) -> int:
    """Runs all code cells, up to the first that raises and is not expected to.

    :param folder: the current folder of the kernel.
    :returns: the exit status: 0 if all went as expected, 1 if not, 130 if it was interrupted.
    """
    client = NotebookClient(
        notebook, kernel_name=kernel, resources={"metadata": {"path": str(folder)}}, coalesce_streams=True
    )
    numbers = [number for number, cell in enumerate(notebook.cells) if cell.cell_type == "code" and cell.source.strip()]
    task = asyncio.current_task()
    assert task is not None
    interrupted = False
    at = "before the first cell"

    def interrupt() -> None:
        nonlocal interrupted
        interrupted = True
        task.cancel()

    bar = tqdm(total=len(numbers), unit="cell", file=sys.stderr, disable=None, leave=False, bar_format=BAR)
    with bar:
        try:
            async with client.async_setup_kernel():
                # In place of nbclient's handler, which ends the kernel and lets us wait for the cell.
                asyncio.get_running_loop().add_signal_handler(signal.SIGINT, interrupt)
                for count, number in enumerate(numbers, 1):
                    cell = notebook.cells[number]
                    at = f"at cell {count} of {len(numbers)}"
                    bar.set_description_str(f"cell {count}/{len(numbers)}")
                    say(f"── cell {count}/{len(numbers)} " + "─" * 40)
                    say(first_lines(cell.source, "  > "))
                    try:
                        await client.async_execute_cell(cell, number)
                    finally:
                        for output in cell.outputs:
                            say(rendered(output, client.widget_state))
                    bar.update()
        except CellExecutionError:
            say(f"Stopped {at}: it raised an exception and is not tagged {TAG}.")
            return 1
        except (DeadKernelError, asyncio.CancelledError):
            say(f"Stopped {at}: {'interrupted' if interrupted else 'the kernel is gone'}.")
            return 130 if interrupted else 1
        except RuntimeError as error:
            say(f"Stopped {at}: {error}.")
            return 1
    say(f"All {len(numbers)} cells did what they are expected to.")
    return 0


def say(text: str) -> None:
    """Prints a text on stdout, above the bar."""
    if text:
        tqdm.write(text, file=sys.stdout)
        sys.stdout.flush()


def rendered(output: Any, widgets: dict[str, Any]) -> str:
    """An output of a cell as a text for the terminal.

    :param output: an output as notebooks have them (nbformat, section Code cell outputs).
    :param widgets: the state of the widgets, by model id.
    """
    if output.output_type == "stream":
        return first_lines(output.text, "  ")
    if output.output_type == "error":
        return first_lines(f"{output.ename}: {output.evalue}".rstrip(": "), "  ! ")
    data = output.data
    if WIDGET in data:
        model = widgets.get(data[WIDGET].get("model_id", ""), {})
        return f"  [widget {model.get('_model_name', '').removesuffix('Model') or 'without a model'}]"
    for kind, content in data.items():
        if kind.startswith("image/"):
            return f"  [{kind} {size(kind, content)}]"
    plain = str(data.get("text/plain", ""))
    # The repr of a wrapper says nothing; what it wraps does.
    if plain.startswith("<IPython.core.display."):
        for kind in ("text/markdown", "text/latex"):
            if kind in data:
                return first_lines(data[kind], "  ")
        for kind, content in data.items():
            if kind != "text/plain":
                return f"  [{kind}, {len(str(content))} characters]"
    return first_lines(plain, "  ")


def size(kind: str, content: str) -> str:
    """Width and height of a PNG in pixels, as "640x480"; of other pictures the length of the data."""
    if kind == "image/png":
        head = base64.b64decode(content.replace("\n", "")[:64])
        if head[:8] == b"\x89PNG\r\n\x1a\n" and len(head) >= 24:
            width, height = struct.unpack("!II", head[16:24])
            return f"{width}x{height}"
    return f"{len(content)} characters"


def first_lines(text: str, indent: str) -> str:
    """The first lines of a text, indented; says how many are left out."""
    lines = text.rstrip("\n").splitlines()
    shown = [f"{indent}{line[:COLUMNS]}" for line in lines[:LINES]]
    if len(lines) > LINES:
        shown.append(f"{indent}... ({len(lines) - LINES} more lines)")
    return "\n".join(shown)


if __name__ == "__main__":
    sys.exit(main())
