"""Entry of the worker process; the supervisor starts it, see `ipymini_supervisor.process`."""

import sys

from ipymini_worker.main import main

if __name__ == "__main__":
    main(sys.argv[1:])
