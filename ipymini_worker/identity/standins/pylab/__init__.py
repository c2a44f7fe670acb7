"""The inline backend of matplotlib under the name that it had before the package `matplotlib_inline`."""
