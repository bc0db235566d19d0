"""Layers that one global threshold empties, told from their weights."""

import numpy as np
import tensorflow as tf

from tfmot_swd.swd.lost_layers import expected_lost_layers, lost_layers

LARGE, SMALL = tf.constant([[-1.0, 2.0], [3.0, -4.0]]), tf.constant([0.1, -0.2])
KERNELS = [("large", LARGE, 1), ("small", SMALL, 0)]


def test_a_layer_that_starts_far_below_the_threshold_is_expected_to_be_lost():
    # Sorted .1, .2, 1, 2, 3, 4: at a half the threshold is 2, of which .2 is less than a quarter; at a fifth it is .2.
    (message,) = expected_lost_layers(KERNELS, [LARGE, SMALL], 0.5)
    assert message.endswith("Received: 'small' (largest 0.2, no minimum_kept), threshold 2")
    assert expected_lost_layers(KERNELS, [LARGE, SMALL], 0.2) == []


def test_layers_below_the_threshold_are_lost_or_kept_by_their_floor():
    assert lost_layers(KERNELS, 0.2) == []
    (lost,) = lost_layers(KERNELS, 0.25)
    assert lost.endswith("Received: 'small' (no minimum_kept), threshold 0.25")
    lost, kept = lost_layers(KERNELS, 5.0)
    assert "removed all weights" in lost
    assert kept.endswith("Received: 'large' (1 stay by minimum_kept), threshold 5")


def test_a_layer_without_entries_is_below_any_threshold():
    (lost,) = lost_layers([("none", np.zeros((0, 4)), 0)], 0.1)
    assert "'none'" in lost
