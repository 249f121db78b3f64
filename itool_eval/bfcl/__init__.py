"""BFCL: the official verdict and error type of every item, without running anything a model wrote."""
