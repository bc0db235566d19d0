"""The k-th magnitude must equal numpy's to the bit, whatever the numbers look like."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tfmot_swd.pruning.thresholds import (
    _BRACKET,
    bits_to_float,
    concat_magnitude_bits,
    kth_magnitude,
    magnitude_bits,
    select_and_count_near,
    select_bits,
    select_bits_near,
)

SMALLEST = np.float32(1e-45)
LARGEST = np.finfo(np.float32).max
# A trace for each length, which the graph must know: so a few lengths, around multiples of eight.
LENGTHS = st.sampled_from([1, 7, 8, 9, 40])
select = tf.function(select_bits)
select_near = tf.function(select_bits_near)


def to_bits(values) -> np.ndarray:
    return np.abs(np.asarray(values, np.float32)).view(np.int32)


def expected(arrays, k) -> np.int32:
    pool = np.concatenate([np.abs(array.astype(np.float32)).ravel() for array in arrays])
    return np.partition(pool, k)[k].view(np.int32)


def assert_every_rank(*arrays: np.ndarray) -> None:
    tensors = [tf.constant(array) for array in arrays]
    for k in range(sum(array.size for array in arrays)):
        found = kth_magnitude(tensors, k).numpy()
        assert found.dtype == np.float32
        assert found.view(np.int32) == expected(arrays, k), f"rank {k}"


@pytest.mark.parametrize(
    "values",
    [
        [0.1, -0.2, 0.3, -0.4],
        [0.5, -0.5, 0.5, 0.25, -0.25],
        [0.0, -0.0, 0.0],
        [0.0, SMALLEST, -SMALLEST, 2 * SMALLEST, 1e-40, -1e-38, np.finfo(np.float32).tiny],
        [LARGEST, -LARGEST, 1.0, np.inf, -np.inf],
        [1.0, np.nextafter(np.float32(1), np.float32(2)), np.nextafter(np.float32(1), np.float32(0))],
        [7.0],
    ],
    ids=["signs", "ties", "zeros", "subnormal", "huge", "neighbours", "one"],
)
def test_every_rank_of_hard_examples(values):
    assert_every_rank(np.array(values, np.float32))


def test_many_tensors_of_any_shape_are_one_pool():
    rng = np.random.default_rng(1)
    shapes = [(3, 3, 2, 2), (5,), (), (1, 4), (2, 0)]
    assert_every_rank(*[rng.normal(size=shape).astype(np.float32) for shape in shapes])


@pytest.mark.parametrize("dtype", [tf.float16, tf.bfloat16])
def test_half_precision_variables_widen_exactly(dtype):
    # 65504 overflows to infinity in no form; 6e-8 is the smallest float16 above zero.
    values = np.array([0.1, -0.2, 0.1, 65504.0, -6e-8, 3e-7, 0.0, -1.0])
    variable = tf.Variable(tf.cast(values, dtype))
    wide = variable.numpy().astype(np.float32)

    for k in range(values.size):
        assert kth_magnitude([variable], k).numpy().view(np.int32) == expected([wide], k)


def test_the_smallest_numbers_of_bfloat16_are_not_flushed():
    tiny = np.array([0x0001, 0x8002, 0x0003, 0x0000], np.uint16).view(tf.bfloat16.as_numpy_dtype)

    assert [int(kth_magnitude([tf.constant(tiny)], k).numpy().view(np.int32)) for k in range(4)] == [
        0x00000,
        0x10000,
        0x20000,
        0x30000,
    ]


def int32(value) -> tf.Tensor:
    return tf.constant(value, tf.int32)


def vectors(elements) -> st.SearchStrategy:
    """Pairs of a list of one of the lengths, and a rank in it."""
    return LENGTHS.flatmap(
        lambda size: st.tuples(st.lists(elements, min_size=size, max_size=size), st.integers(0, size - 1))
    )


@settings(max_examples=150, deadline=None)
@given(vectors(st.integers(0, 0x7F800000)))
def test_any_bits_equal_the_sort(case):
    bits, k = case

    assert int(select(int32(bits), int32(k))) == sorted(bits)[k]


@settings(max_examples=100, deadline=None)
@given(vectors(st.floats(width=32, allow_nan=False)))
def test_any_floats_equal_numpy_partition(case):
    values, k = case
    array = np.array(values, np.float32)

    assert int(select(int32(to_bits(array)), int32(k))) == expected([array], k)


# Digits that collide in the high, the middle or the low part only.
NEIGHBOURS = st.builds(
    lambda base, offset: min(max(base + offset, 0), 0x7F800000),
    st.sampled_from([0, 0x3F800000, 0x3F800000 - (1 << 20), 0x00800000, _BRACKET, 0x3F800000 + _BRACKET]),
    st.integers(-(1 << 11), 1 << 11),
)
GUESSES = st.one_of(st.integers(0, 0x7FFFFFFF), NEIGHBOURS)


@settings(max_examples=200, deadline=None)
@given(vectors(NEIGHBOURS), GUESSES)
def test_a_guess_changes_nothing(case, guess):
    bits, k = case

    assert int(select_near(int32(bits), int32(k), int32(guess))) == sorted(bits)[k]


@pytest.mark.parametrize("rank", [0, 500, 999])
def test_a_guess_below_inside_and_above_the_bracket(rank):
    bits = to_bits(np.random.default_rng(2).normal(size=1000))
    answer = int(np.sort(bits)[rank])

    edges = [answer + side * _BRACKET + near for side in (-1, 1) for near in (-1, 0, 1)]
    for guess in (0, answer - 1, answer, answer + 1, *edges, 0x7FFFFFFF):
        assert int(select_near(int32(bits), int32(rank), int32(guess))) == answer


def test_what_fills_the_vector_up_is_above_every_magnitude():
    bits = concat_magnitude_bits([tf.constant([np.inf, -1.0]), tf.constant([[0.5]])]).numpy()

    assert bits[:3].tolist() == to_bits([np.inf, 1.0, 0.5]).tolist()
    assert (bits[3:] >= 0x7F800000).all()


def test_nan_orders_above_infinity():
    found = [kth_magnitude([tf.constant([np.nan, 1.0, -np.inf])], k).numpy() for k in range(3)]

    assert found[:2] == [1.0, np.inf]
    assert np.isnan(found[2])


def test_bits_forget_the_sign_and_come_back():
    values = tf.constant([-0.0, -1.5, 2.0, -SMALLEST])

    assert bits_to_float(magnitude_bits(values)).numpy().view(np.int32).tolist() == [
        0,
        0x3FC00000,
        0x40000000,
        1,
    ]


def test_works_inside_a_graph_with_a_rank_known_only_there():
    weight = tf.Variable([0.4, -0.1, 0.3])

    @tf.function
    def threshold(rate):
        return kth_magnitude([weight], tf.cast(rate * 3.0, tf.int32))

    assert threshold(tf.constant(0.0)).numpy() == np.float32(0.1)
    assert threshold(tf.constant(0.5)).numpy() == np.float32(0.3)
    assert threshold(tf.constant(0.99)).numpy() == np.float32(0.4)


def test_no_tensor_is_refused():
    with pytest.raises(ValueError, match=r"at least one tensor\. Received: an empty list"):
        concat_magnitude_bits([])


@pytest.mark.parametrize("k", [-1, 3])
def test_a_rank_outside_the_pool_is_refused(k):
    with pytest.raises(ValueError, match=rf"below the 3 weights\. Received: k={k}"):
        kth_magnitude([tf.constant([1.0, 2.0, 3.0])], k)


@pytest.mark.parametrize("offset", [0.0, 0.003, 0.5], ids=["hit", "near", "miss"])
@pytest.mark.parametrize("k", [0, 7, 40, 62])
def test_counts_by_part_come_with_the_selection(k, offset):
    parts = [np.random.default_rng(size).normal(size=size).astype(np.float32) for size in (8, 3, 40, 12)]
    expected = float(np.sort(np.abs(np.concatenate(parts)))[k])
    bits = concat_magnitude_bits(parts, aligned=True)
    assert bits.shape == (8 + 8 + 40 + 16,)
    guess = magnitude_bits(tf.constant(expected * (1 + offset)))
    chosen, below = select_and_count_near(bits, k, guess, [1, 1, 5, 2])
    assert float(bits_to_float(chosen)) == expected
    assert below.numpy().tolist() == [int((np.abs(part) < expected).sum()) for part in parts]
