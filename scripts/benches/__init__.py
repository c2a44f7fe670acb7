"""Benchmarks: this kernel side by side with others; `scripts/bench` calls them."""
