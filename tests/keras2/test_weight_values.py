"""Views of weights and pieces of them, on arrays of a few elements."""

import numpy as np
import pytest
import tensorflow as tf

from tfmot_swd.keras2.weight_values import is_finite, largest_magnitude, nonzeros, pieces, view_of


def test_a_view_keeps_the_values_of_before_an_assignment():
    variable = tf.Variable([1.0, 2.0])
    view = view_of(variable)
    variable.assign([3.0, 4.0])
    variable.assign_add([1.0, 1.0])
    np.testing.assert_array_equal(view, [1.0, 2.0])
    np.testing.assert_array_equal(view_of(variable), [4.0, 5.0])


def test_a_view_of_a_variable_on_the_cpu_is_no_copy():
    with tf.device("CPU:0"):
        variable = tf.Variable(tf.ones([64, 64]))
    assert np.shares_memory(view_of(variable), view_of(variable))


def test_a_view_cannot_be_written_to_and_leaves_the_array_writeable():
    given = np.ones(2)
    with pytest.raises(ValueError, match="read-only"):
        view_of(given)[0] = 5.0
    given[0] = 2.0
    assert view_of(given).tolist() == [2.0, 1.0]


@pytest.mark.parametrize("shape", [(), (0,), (7,), (5, 3), (2, 3, 4), (1, 9), (3, 1, 5)])
@pytest.mark.parametrize("size", [1, 4, 1000])
def test_pieces_cover_each_element_once_and_are_small(shape, size):
    values = np.arange(np.prod(shape, dtype=int)).reshape(shape)
    found = [piece for (piece,) in pieces(values, size=size)]
    assert sorted(np.concatenate([piece.ravel() for piece in found]).tolist()) == values.ravel().tolist()
    assert all(piece.size <= size for piece in found)
    assert all(np.shares_memory(piece, values) for piece in found if piece.size)


def test_pieces_of_several_arrays_belong_together_where_they_broadcast():
    values = np.array([[1, 2, 3], [4, 5, 6]])
    columns, rows = np.array([[10, 20, 30]]), np.array([[100], [200]])
    found = [piece + other + another for piece, other, another in pieces(values, columns, rows, size=3)]
    np.testing.assert_array_equal(np.concatenate(found), [[111, 122, 133], [214, 225, 236]])


def test_counts_and_extremes_by_hand():
    weight = tf.Variable([[0.0, -0.0, -3.0], [2.0, 0.0, 1e-45]])
    assert nonzeros(weight) == 3
    assert largest_magnitude(weight) == 3.0
    assert largest_magnitude(np.zeros((0, 2))) == 0.0
    assert np.isnan(largest_magnitude(np.array([1.0, np.nan])))
    assert is_finite(weight)
    assert not is_finite(tf.constant([1.0, np.inf]))
    # Beyond what float32 holds.
    assert not is_finite(np.array([1e300]))


def test_half_precision_is_read_too():
    weight = tf.Variable(tf.constant([0.0, -1.5], tf.bfloat16))
    assert (nonzeros(weight), largest_magnitude(weight), is_finite(weight)) == (1, 1.5, True)
