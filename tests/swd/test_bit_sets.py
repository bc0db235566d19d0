"""Sets of entries, a bit each, counted by hand."""

import numpy as np
import tensorflow as tf

from tfmot_swd.swd.bit_sets import BitSets


def test_what_enters_and_leaves_is_counted_over_all_sets():
    ten = np.zeros((2, 5), bool)
    before = BitSets.of([ten, tf.constant([True, True])])
    ten[0, 1] = ten[1, 4] = True
    after = BitSets.of([ten, tf.constant([False, True])])
    assert (before.counts(), after.counts()) == ([0, 2], [2, 1])
    assert after.count_without(before) == 2
    assert before.count_without(after) == 1
    assert before.count_without(before) == 0


def test_bits_beyond_the_last_entry_count_on_neither_side():
    full, empty = BitSets.of([np.ones(3, bool)]), BitSets.of([np.zeros(3, bool)])
    assert full.counts() == [3]
    assert full.count_without(empty) == 3
    assert empty.count_without(full) == 0


def test_a_weight_takes_a_bit():
    assert BitSets.of([np.ones((100, 80), bool)]).packed[0].nbytes == 1000
