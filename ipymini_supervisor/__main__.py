"""`python -m ipymini_supervisor`, as kernelspecs start it."""

import sys

if __name__ == "__main__" and not sys.flags.safe_path:
    # `-m` has put the current folder first: a random.py or zmq.py beside the notebook must not stand in for what
    # we import. Where that folder is the one that we are run from, as in a checkout, it has to stay.
    _home = __file__.rpartition("/")[0].rpartition("/")[0]
    if sys.path[0] != _home:
        del sys.path[0]

from ipymini_supervisor.cli import main

if __name__ == "__main__":
    status = main()
    try:
        sys.stderr.flush()
    except OSError:  # a log on a full disk; Python would try once more, and make that the exit status
        import os

        os._exit(status)
    raise SystemExit(status)
