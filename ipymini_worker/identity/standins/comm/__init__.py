"""Comms under the names that they had before the package `comm`."""

from .comm import Comm
from .manager import CommManager

__all__ = ["Comm", "CommManager"]
