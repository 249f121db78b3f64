"""Samples, policies, search and the tables they are kept in; imports nothing of the other itool packages."""
