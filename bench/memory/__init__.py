"""Estimates of memory held against counts: `python -m bench.memory`."""
