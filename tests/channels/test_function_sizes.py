"""Whether a function follows the number of channels that it is given: by calling it with all and with some."""

import numpy as np
import tensorflow as tf

from tfmot_swd.channels.function_sizes import follows_sizes
from tfmot_swd.layers.labels import Labels

FEATURES = Labels(np.arange(6).reshape(1, 6), (None, 6))


def follows(function, walk) -> bool:
    return follows_sizes(function, FEATURES, {}, tf.float32, walk)


def same(ties, labels):
    return labels


def halves_tied(ties, labels):
    (given,) = labels
    ties.tie(given.ids[:, :3], given.ids[:, 3:])
    return [Labels(given.ids[:, :3], (None, 3))]


def first_four(ties, labels):
    (given,) = labels
    return [Labels(given.ids[:, :4], (None, 4))]


def test_what_asks_the_tensor_for_its_size_follows():
    assert follows(lambda x: x[:, : x.shape[1] // 2] * x[:, x.shape[1] // 2 :], halves_tied)
    assert follows(lambda x: tf.multiply(*tf.split(x, 2, -1)), halves_tied)
    assert follows(lambda x: tf.reshape(x, (-1, x.shape[1])), same)


def test_a_number_of_channels_does_not_follow():
    assert not follows(lambda x: x[:, :3] * x[:, 3:], halves_tied)
    assert not follows(lambda x: tf.reshape(x, (-1, 6)), same)
    # It would take four where two of them are left.
    assert not follows(lambda x: x[:, :4], first_four)


def test_other_values_of_the_right_shape_do_not_follow():
    # The largest of what is left: of the right shape where the others leave.
    assert not follows(lambda x: x / tf.reduce_max(x, -1, keepdims=True), same)


def test_nothing_can_be_wrong_where_nothing_can_leave():
    def pinned(ties, labels):
        ties.pin(labels[0].ids, "for a reason")
        return labels

    assert follows(lambda x: tf.reshape(x, (-1, 6)), pinned)
