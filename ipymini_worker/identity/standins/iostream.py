"""What `sys.stdout` is."""

from ipymini_worker.identity.session import PubSocket as BackgroundSocket
from ipymini_worker.identity.session import PubThread as IOPubThread
from ipymini_worker.streams import OutStream

__all__ = ["BackgroundSocket", "IOPubThread", "OutStream"]
