"""The process that runs user code: standard library, IPython and comm; never zmq, never the supervisor.

For cells it has two helpers, which are the kernel's own: `from ipymini_worker import unlock, subshell`.
"""


def __getattr__(name: str) -> object:
    if name not in ("subshell", "unlock"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from ipymini_worker import helpers

    return getattr(helpers, name)
