"""tau2-bench's telecom domain in solo mode: no simulated user, no judge; the world at the end decides."""
