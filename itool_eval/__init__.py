"""Benchmarks: decoding, checking and scoring of policies' answers, with no model needed."""
