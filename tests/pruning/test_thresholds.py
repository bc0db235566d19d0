"""The k-th magnitude must equal numpy's to the bit, whatever the numbers look like."""

import functools

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tfmot_swd.pruning import magnitude_bits as magnitude_bits_module
from tfmot_swd.pruning.compacting import BRACKET
from tfmot_swd.pruning.magnitude_bits import ABOVE_ALL, BitVectors, bits_to_float, magnitude_bits
from tfmot_swd.pruning.thresholds import kth_magnitude, needs_static_shapes, selector

SMALLEST = np.float32(1e-45)
LARGEST = np.finfo(np.float32).max
# A trace for each length, which the graph must know: so a few lengths, around multiples of eight.
LENGTHS = st.sampled_from([1, 7, 8, 9, 40])
FORMS = ["compacting", "counting", "counting by XLA"]


@functools.lru_cache
def compiled(form):
    """Returns the k-th magnitude of one tensor in a form: (values, k, guess) → float32."""

    def kth(values, k, guess):
        return kth_magnitude([values], k, guess=guess, static=form != "compacting")

    return tf.function(kth, jit_compile=form == "counting by XLA")


def select(form, bits, k, guess=0) -> int:
    values, near = (tf.constant(np.array(each, np.uint32).view(np.float32)) for each in (bits, guess))
    return int(compiled(form)(values, tf.constant(k), near).numpy().view(np.uint32))


def to_bits(values) -> np.ndarray:
    return np.abs(np.asarray(values, np.float32)).view(np.uint32)


def expected(arrays, k) -> np.uint32:
    pool = np.concatenate([np.abs(array.astype(np.float32)).ravel() for array in arrays])
    return np.partition(pool, k)[k].view(np.uint32)


def assert_every_rank(form: str, *arrays: np.ndarray) -> None:
    @functools.partial(tf.function, jit_compile=form == "counting by XLA")
    def kth(k):
        return kth_magnitude([tf.constant(array) for array in arrays], k, static=form != "compacting")

    for k in range(sum(array.size for array in arrays)):
        found = kth(tf.constant(k)).numpy()
        assert found.dtype == np.float32
        assert found.view(np.uint32) == expected(arrays, k), f"rank {k}"


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
@pytest.mark.parametrize("form", FORMS)
def test_every_rank_of_hard_examples(values, form):
    assert_every_rank(form, np.array(values, np.float32))


@pytest.mark.parametrize("form", FORMS)
def test_many_tensors_of_any_shape_are_one_pool(form):
    rng = np.random.default_rng(1)
    shapes = [(3, 3, 2, 2), (5,), (), (1, 4), (2, 0)]
    assert_every_rank(form, *[rng.normal(size=shape).astype(np.float32) for shape in shapes])


@pytest.mark.parametrize("static", [False, True])
@pytest.mark.parametrize("dtype", [tf.float16, tf.bfloat16])
def test_half_precision_variables_widen_exactly(dtype, static):
    # 65504 overflows to infinity in no form; 6e-8 is the smallest float16 above zero.
    values = np.array([0.1, -0.2, 0.1, 65504.0, -6e-8, 3e-7, 0.0, -1.0])
    variable = tf.Variable(tf.cast(values, dtype))
    wide = variable.numpy().astype(np.float32)

    for k in range(values.size):
        assert kth_magnitude([variable], k, static=static).numpy().view(np.uint32) == expected([wide], k)


@pytest.mark.parametrize("static", [False, True])
def test_float64_is_ranked_as_float32(static):
    values = np.array([1.0, 1.0 + 1e-12, -0.5, 1e-320, 0.1])
    found = [kth_magnitude([tf.constant(values)], k, static=static).numpy() for k in range(5)]

    assert found == [0.0, np.float32(0.1), 0.5, 1.0, 1.0]


@pytest.mark.parametrize("static", [False, True])
def test_the_smallest_numbers_of_bfloat16_are_not_flushed(static):
    tiny = np.array([0x0001, 0x8002, 0x0003, 0x0000], np.uint16).view(tf.bfloat16.as_numpy_dtype)

    assert [int(kth_magnitude([tf.constant(tiny)], k, static=static).numpy().view(np.uint32)) for k in range(4)] == [
        0x00000,
        0x10000,
        0x20000,
        0x30000,
    ]


def vectors(elements) -> st.SearchStrategy:
    """Pairs of a list of one of the lengths, and a rank in it."""
    return LENGTHS.flatmap(
        lambda size: st.tuples(st.lists(elements, min_size=size, max_size=size), st.integers(0, size - 1))
    )


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=100, deadline=None)
@given(vectors(st.integers(0, 0x7F800000)))
def test_any_bits_equal_the_sort(form, case):
    bits, k = case

    assert select(form, bits, k) == sorted(bits)[k]


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=60, deadline=None)
@given(vectors(st.floats(width=32, allow_nan=False)))
def test_any_floats_equal_numpy_partition(form, case):
    values, k = case
    array = np.array(values, np.float32)

    assert select(form, array.view(np.uint32), k) == expected([array], k)


# Digits that collide in the high, the middle or the low part only.
NEIGHBOURS = st.builds(
    lambda base, offset: min(max(base + offset, 0), 0x7F800000),
    st.sampled_from([0, 0x3F800000, 0x3F800000 - (1 << 20), 0x00800000, BRACKET, 0x3F800000 + BRACKET]),
    st.integers(-(1 << 11), 1 << 11),
)
GUESSES = st.one_of(st.integers(0, 0x7FFFFFFF), NEIGHBOURS)


@settings(max_examples=200, deadline=None)
@given(vectors(NEIGHBOURS), GUESSES)
def test_a_guess_changes_nothing(case, guess):
    bits, k = case

    assert select("compacting", bits, k, guess) == sorted(bits)[k]


@pytest.mark.parametrize("rank", [0, 500, 999])
def test_a_guess_below_inside_and_above_the_bracket(rank):
    bits = to_bits(np.random.default_rng(2).normal(size=1000))
    answer = int(np.sort(bits)[rank])

    edges = [answer + side * BRACKET + near for side in (-1, 1) for near in (-1, 0, 1)]
    for guess in (0, answer - 1, answer, answer + 1, *edges, 0x7FFFFFFF):
        assert select("compacting", bits, rank, guess) == answer


def test_small_tensors_share_a_vector_and_what_fills_it_up_is_above_every_magnitude():
    bits = BitVectors.of([tf.constant([np.inf, -1.0]), tf.constant([[0.5]])])
    vector, (pieces,) = bits.bits(0), bits.pieces

    assert [(piece.tensor, piece.start, piece.size) for piece in pieces] == [(0, 0, 8), (1, 8, 8)]
    assert vector.numpy()[[0, 1, 8]].tolist() == to_bits([np.inf, 1.0, 0.5]).tolist()
    assert (np.delete(vector.numpy(), [0, 1, 8]) > 0x7F800000).all()


@pytest.mark.parametrize("form", FORMS)
def test_a_large_tensor_is_a_vector_but_for_its_end(form):
    rng = np.random.default_rng(3)
    arrays = [rng.normal(size=size).astype(np.float32) for size in (5, (1 << 16) + 3, 1 << 16)]
    bits = BitVectors.of([tf.constant(each) for each in arrays])

    assert [vector.shape[0] for vector in bits.values] == [1 << 16, 1 << 16, 16]
    assert [[piece.tensor for piece in inside] for inside in bits.pieces] == [[1], [2], [0, 1]]
    for rank in (0, 70_000, 131_079):
        guess = tf.constant(np.float32(0.7))
        found = kth_magnitude([tf.constant(each) for each in arrays], rank, guess=guess, static=form != "compacting")
        assert found.numpy().view(np.uint32) == expected(arrays, rank)


def test_a_very_large_tensor_is_several_vectors(monkeypatch):
    monkeypatch.setattr(magnitude_bits_module, "_ALONE", 8)
    monkeypatch.setattr(magnitude_bits_module, "_LONGEST", 16)
    array = np.random.default_rng(4).normal(size=45).astype(np.float32)
    bits = BitVectors.of([tf.constant(array)])

    assert [vector.shape[0] for vector in bits.values] == [16, 16, 8, 8]
    for static in (False, True):
        for rank in range(45):
            guess = tf.constant(np.float32(0.7))
            found = kth_magnitude([tf.constant(array)], rank, guess=guess, static=static)
            assert found.numpy().view(np.uint32) == expected([array], rank)
        among = selector([tf.constant(array)], static)
        assert (
            bits_to_float(among.kth_of_each([40], tf.constant([True]), magnitude_bits(guess)[None])).numpy()[0]
            == np.sort(np.abs(array))[40]
        )


@pytest.mark.parametrize("static", [False, True])
def test_nan_orders_above_infinity(static):
    found = [kth_magnitude([tf.constant([np.nan, 1.0, -np.inf])], k, static=static).numpy() for k in range(3)]

    assert found[:2] == [1.0, np.inf]
    assert np.isnan(found[2])


def test_bits_forget_the_sign_and_come_back():
    values = tf.constant([-0.0, -1.5, 2.0, -SMALLEST])

    assert bits_to_float(magnitude_bits(values)).numpy().view(np.uint32).tolist() == [
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
        kth_magnitude([], 0)


@pytest.mark.parametrize("k", [-1, 3])
def test_a_rank_outside_the_pool_is_refused(k):
    with pytest.raises(ValueError, match=rf"below the 3 weights\. Received: k={k}"):
        kth_magnitude([tf.constant([1.0, 2.0, 3.0])], k)


@pytest.mark.parametrize("static", [False, True])
@pytest.mark.parametrize("offset", [0.0, 0.003, 0.5], ids=["hit", "near", "miss"])
@pytest.mark.parametrize("k", [0, 7, 40, 62])
def test_counts_by_tensor_come_with_the_selection(k, offset, static):
    parts = [np.random.default_rng(size).normal(size=size).astype(np.float32) for size in (8, 3, 40, 12)]
    expected = float(np.sort(np.abs(np.concatenate(parts)))[k])
    among = selector([tf.constant(part) for part in parts], static)
    guess = magnitude_bits(tf.constant(expected * (1 + offset)))
    chosen, below = among.kth_and_counts(tf.constant(k), guess)
    assert float(bits_to_float(chosen)) == expected
    assert below.numpy().tolist() == [int((np.abs(part) < expected).sum()) for part in parts]
    _, upto = among.kth_and_counts(tf.constant(k), guess, with_equal=True)
    assert upto.numpy().tolist() == [int((np.abs(part) <= expected).sum()) for part in parts]


@pytest.mark.parametrize("static", [False, True])
def test_selection_among_what_is_below_a_limit_of_each_tensor(static):
    among = selector([tf.constant([1.0, -4.0, 3.0]), tf.constant([0.5, 2.0])], static)
    guesses = magnitude_bits(tf.constant([3.01, 0.0]))
    own = among.kth_of_each([1, None], tf.constant([True, True]), guesses)
    free = among.under(own)

    assert bits_to_float(own).numpy()[0] == 3.0
    assert among.kth_of_each([1, None], tf.constant([False, True]), guesses).numpy().tolist() == [ABOVE_ALL, ABOVE_ALL]
    assert [float(bits_to_float(free.kth(tf.constant(k)))) for k in range(3)] == [0.5, 1.0, 2.0]
    assert float(bits_to_float(free.largest())) == 2.0


def test_xla_needs_static_shapes_and_a_plain_step_on_a_cpu_does_not():
    variable, seen = tf.Variable(1.0), []

    def look():
        seen.append(needs_static_shapes(variable))

        @tf.function
        def inside():
            seen.append(needs_static_shapes(variable))
            tf.cond(variable > 0.0, lambda: seen.append(needs_static_shapes(variable)), lambda: None)

        inside()

    tf.function(look)()
    assert not any(seen)
    seen.clear()
    tf.function(look, jit_compile=True)()
    assert len(seen) == 3
    assert all(seen)
