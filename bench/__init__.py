"""Measurements that print what they measured; each runs with `python -m bench.NAME`."""
