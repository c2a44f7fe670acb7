"""Messages, held against the schemas that jupyter_kernel_test has of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jupyter_kernel_test import msgspec_v5


def validate(message: Mapping[str, Any]) -> None:
    """Holds a message against its schema, where jupyter_kernel_test has one.

    :raises jsonschema.ValidationError: it does not keep to it.
    """
    kind, content = message["msg_type"], message["content"]
    if kind not in msgspec_v5.schema_fragments or content.get("status") == "aborted":
        return
    if kind == "is_complete_reply" and content["status"] == "error":
        return  # for a request that makes no sense
    if kind == "input_request":
        assert (type(content["prompt"]), type(content["password"])) == (str, bool)  # the schema has a number there
    elif content.get("execution_state") != "restarting":  # the schema knows of three states only
        msgspec_v5.validate_message(message)
