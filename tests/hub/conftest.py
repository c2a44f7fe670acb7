"""Hubs and gateways, each in an environment that knows nothing of the user's."""

from __future__ import annotations

from e2e.conftest import neutral_environment  # noqa: F401
