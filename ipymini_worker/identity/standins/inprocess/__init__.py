"""Kernels in the process of their frontend, which this one is not."""
