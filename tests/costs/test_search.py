"""The search for channels to keep: against trying every threshold, with floors, rounding, ties and parts of tensors."""

import itertools

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras
from hypothesis import given, settings
from hypothesis import strategies as st

from tfmot_swd.channels import channel_groups
from tfmot_swd.costs.cost import find_cost
from tfmot_swd.costs.counts import ChannelCosts
from tfmot_swd.costs.search import ChannelSearch

L = keras.layers


def chain(*widths: int) -> keras.Model:
    model = keras.Sequential([keras.Input((3,))])
    for number, width in enumerate(widths):
        model.add(L.Dense(width, name=f"d{number}"))
    model.add(L.Dense(2, name="out"))
    return model


def search_of(model: keras.Model, **options: int) -> ChannelSearch:
    groups = channel_groups(model)
    costs = ChannelCosts(groups)
    terms = [find_cost(name).terms(costs) for name in ("parameters", "macs")]
    return ChannelSearch(groups, list(groups), terms, costs, **options)


def parameters(*widths: int) -> int:
    sizes = [3, *widths, 2]
    return sum((a + 1) * b for a, b in itertools.pairwise(sizes))


def within(search: ChannelSearch, values, limit: float, **options):
    limits = tf.constant([float(limit), np.inf], tf.float64)
    return search.within(tf.constant(values, tf.float32), limits, **options)


def test_the_best_channels_that_fit_by_hand():
    search = search_of(chain(4, 3))
    values = [0.1, 0.9, 0.5, 0.2, 0.8, 0.3, 0.7]
    # By falling value: d0[1], d1[0], d1[2], d0[2], d1[1], ...: 4, 6, ... parameters of (1, 1), (1, 2), (2, 2), (2, 3).
    assert [parameters(1, 1), parameters(1, 2), parameters(2, 2), parameters(2, 3)] == [10, 14, 20, 25]
    fitted = within(search, values, 24)
    assert search.split(fitted.keep.numpy())["d0"].tolist() == [False, True, True, False]
    assert search.split(fitted.keep.numpy())["d1"].tolist() == [True, False, True]
    assert fitted.costs.numpy().tolist() == [20, 2 * 3 + 2 * 2 + 2 * 2]
    assert float(fitted.threshold) == pytest.approx(0.5)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_it_is_the_largest_set_that_fits(data):
    widths = data.draw(st.lists(st.integers(1, 9), min_size=1, max_size=3))
    minimum, round_to = data.draw(st.integers(1, 3)), data.draw(st.sampled_from([1, 2, 4]))
    values = np.array(data.draw(st.permutations(range(sum(widths)))), np.float32)
    search = search_of(chain(*widths), minimum=minimum, round_to=round_to)
    bounds = np.cumsum([0, *widths])

    def left(threshold: float) -> list[int]:
        found = []
        for start, end in itertools.pairwise(bounds):
            wanted = max(int((values[start:end] >= threshold).sum()), minimum)
            found.append(min(-(-wanted // round_to) * round_to, end - start))
        return found

    limit = data.draw(st.integers(parameters(*left(np.inf)), parameters(*widths)))
    best = max(parameters(*left(each)) for each in [*values, np.inf] if parameters(*left(each)) <= limit)
    fitted = within(search, values, limit, keep_ties=False)
    assert fitted.costs.numpy()[0] == best
    keep = fitted.keep.numpy()
    assert search.costs_of(keep)[0] == best
    for start, end in itertools.pairwise(bounds):
        mine, stays = values[start:end], keep[start:end]
        if (~stays).any():
            assert mine[stays].min() > mine[~stays].max()


def test_channels_of_equal_value_stay_or_go_together_until_the_last():
    search = search_of(chain(6, 6))
    equal = np.ones(12)
    assert within(search, equal, 10).keep.numpy().all()
    fitted = within(search, equal, parameters(3, 3), keep_ties=False)
    assert fitted.costs.numpy()[0] <= parameters(3, 3)
    two = np.repeat([1.0, 2.0], 6)
    assert within(search, two, parameters(5, 6)).keep.numpy().tolist() == [True] + [False] * 5 + [True] * 6


def test_floors_hold_and_are_told():
    search = search_of(chain(4, 8), minimum=2)
    fitted = within(search, np.arange(12), parameters(2, 5), keep_ties=False)
    assert [int(mask.sum()) for mask in search.split(fitted.keep.numpy()).values()] == [2, 5]
    assert fitted.floored.numpy().tolist() == [True, False]
    assert {name: int(mask.sum()) for name, mask in search.smallest().items()} == {"d0": 2, "d1": 2}


def test_a_part_of_a_tensor_never_comes_out_empty():
    inputs = keras.Input((3,))
    x = L.Dense(6, name="first")(inputs)
    left, right = L.Dense(2, name="left")(x[:, :3]), L.Dense(2, name="right")(x[:, 3:])
    model = keras.Model(inputs, [left, right])
    search = search_of(model)
    fitted = within(search, [9, 8, 7, 1, 3, 2], 0, keep_ties=False)
    assert fitted.keep.numpy().tolist() == [True, False, False, False, True, False]
    assert search.costs_of(fitted.keep.numpy())[0] == 4 * 2 + 2 * 4


def test_the_smallest_net_is_of_the_channels_of_the_largest_marginal_cost():
    inputs = keras.Input((3,))
    cheap, dear = L.Dense(2, name="cheap")(inputs), L.Dense(2, name="dear")(inputs)
    both = L.Add()([L.Concatenate()([cheap, dear]), L.Dense(4, name="both")(inputs)])
    # Channels 2 and 3 are read twice more.
    model = keras.Model(inputs, [L.Dense(2)(both), L.Dense(9)(dear)])
    search = search_of(model)
    smallest = search.costs_of(np.concatenate(list(search.smallest().values())))
    for values in ([4, 3, 2, 1], [1, 2, 3, 4], [1, 4, 2, 3]):
        found = search.within(tf.constant(values, tf.float32), tf.constant([0.0, 0.0], tf.float64), keep_ties=False)
        assert all(cost <= least for cost, least in zip(found.costs.numpy(), smallest, strict=True))


def test_a_threshold_keeps_in_a_graph_what_the_search_kept():
    search = search_of(chain(5, 7), round_to=2)
    values = tf.constant(np.random.default_rng(0).normal(size=12), tf.float32)

    @tf.function
    def both():
        fitted = within(search, values, parameters(3, 4))
        return fitted.keep, search.above(values, fitted.threshold)

    found, again = both()
    np.testing.assert_array_equal(found, again)
    assert 0 < int(tf.reduce_sum(tf.cast(found, tf.int32))) < 12
