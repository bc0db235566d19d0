"""What every test needs: a quiet TensorFlow on one thread, and one seed."""

import gc
import os

import pytest

# The suite runs one process a core; more threads in each would only get in each other's way.
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
os.environ.setdefault("TF_NUM_INTEROP_THREADS", "1")

from examples.quiet import load_tensorflow

load_tensorflow()

import tf_keras as keras  # noqa: E402  after TensorFlow
from tensorflow.python.util import tf_stack  # noqa: E402

# TensorFlow notes the Python stack with each operation that it traces, for its error messages. Under pytest a stack is
# a hundred frames deep, which took a sixth of the suite's time; so all operations get this one.
_STACK = tf_stack.extract_stack()
tf_stack.extract_stack = lambda stacklevel=1: _STACK

# What the imports have made stays: without this each full collection walks through all of it once more.
gc.collect()
gc.freeze()


@pytest.fixture(autouse=True)
def _fresh() -> None:
    keras.utils.set_random_seed(0)
    # A policy that an earlier test has set by name would no longer follow `set_floatx`.
    keras.mixed_precision.set_global_policy(None)
