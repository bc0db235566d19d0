"""Runnable examples, and the data and networks that they share with the experiments."""

from examples.quiet import load_tensorflow

load_tensorflow()
