"""Warm-up and preference training on what itool_data mined."""
