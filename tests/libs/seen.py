"""What a user sees of a cell, read from its messages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from e2e.client import Client, Message, Run

WIDGET = "application/vnd.jupyter.widget-view+json"
#: Seconds for a cell that imports much, or starts processes, on a busy machine that has none of it in memory yet.
PATIENCE = 60.0


def load(client: Client, code: str, **options: Any) -> Run:
    """Runs a cell that imports much, or starts processes, to its end."""
    return client.finish(client.start(code, **options), PATIENCE)


def displayed(run: Run) -> list[dict[str, Any]]:
    """The MIME bundles that a cell displayed, its result among them."""
    return [content["data"] for content in run.contents("display_data", "execute_result")]


def only(run: Run) -> dict[str, Any]:
    """The one MIME bundle that a cell displayed."""
    (bundle,) = displayed(ok(run))
    return bundle


def ok(run: Run) -> Run:
    """The same cell, which did what it should."""
    assert run.status == "ok", run.traceback
    return run


def messages(run: Run, kind: str) -> list[Message]:
    """The messages of a type that belong to a cell."""
    return [m for m in run.published if m["msg_type"] == kind]


def models(run: Run) -> dict[str, dict[str, Any]]:
    """The states of the widgets that a cell made, by the names of their models; of several of a name the last."""
    states = [m["content"]["data"].get("state", {}) for m in messages(run, "comm_open")]
    return {state["_model_name"]: state for state in states if "_model_name" in state}


def updates(run: Run) -> list[dict[str, Any]]:
    """What a cell, or a message, changed in widgets, in order."""
    data = [message["content"]["data"] for message in messages(run, "comm_msg")]
    return [d["state"] for d in data if d.get("method") == "update"]


def change(client: Client, comm_id: str, state: Mapping[str, Any], buffers: Sequence[bytes] = (), **paths: Any) -> Run:
    """Changes a widget as a frontend does, with `buffer_paths` for what is in `buffers`."""
    data = {"method": "update", "state": dict(state), "buffer_paths": [], **paths}
    return client.ask("comm_msg", {"comm_id": comm_id, "data": data}, buffers=buffers)


def tell(client: Client, comm_id: str, content: Any, buffers: Sequence[bytes] = ()) -> Run:
    """Sends a widget a message of its own, as a click is."""
    data = {"method": "custom", "content": content}
    return client.ask("comm_msg", {"comm_id": comm_id, "data": data}, buffers=buffers)


def word(client: Client, expression: str) -> str:
    """A string that an expression gives."""
    return client.evaluate(expression).strip("'")
