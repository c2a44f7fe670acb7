"""`matplotlib_inline.config`."""

from matplotlib_inline.config import *  # noqa: F403
