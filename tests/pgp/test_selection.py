"""Which filters of which layers leave, on models whose filters have norms written out; nothing is trained."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

import tfmot_swd
from tests.pgp.nets import L, begun, fit, layer_of, network, residual, set_kernel, widths, wrapped, wrapper_of


def headed(inputs, x) -> keras.Model:
    return keras.Model(inputs, L.Dense(3, name="head")(L.Flatten()(x)))


def cut(net: keras.Model, norms: dict, rate: float = 0.5, **settings) -> keras.Model:
    """Returns the wrapped model pruned to its rate at once, by L1 norms."""
    settings = {"criterion": "l1", "curve": "geometric", **settings}
    model = wrapped(net, rate=rate, epochs=4, **settings)
    for name, values in norms.items():
        set_kernel(model, name, values)
    tfmot_swd.prune_now(model)
    return model


def norms_of(model: keras.Model, name: str) -> list[float]:
    """Returns the L1 norms of the filters that are left; of a layer whose input channels are all there."""
    return np.abs(layer_of(model, name).kernel.numpy()).sum(axis=(0, 1, 2)).round(4).tolist()


STEM, A2 = [4, 1, 3, 2], [1, 6, 2, 3]


@pytest.mark.parametrize(
    ("reduction", "left"),
    # Sums are 5 7 5 5, of which the first of the equal ones go.
    [("leader", [4, 3]), ("sum", [1, 2]), ("mean", [1, 2])],
)
def test_what_an_addition_joins_is_ranked_together(reduction, left):
    model = cut(residual(), {"stem": STEM, "a2": A2}, reduction=reduction)
    assert norms_of(model, "stem") == left
    of_blocks = {"stem": 2, "a1": 2, "a2": 2, "b1": 3, "b2": 3, "shortcut": 3}
    assert widths(model) == {**of_blocks, "head": 3}


def split() -> keras.Model:
    """Half of the maps of `a` (8) is added to `b` (4), the other half is not."""
    inputs = keras.Input((6, 6, 2))
    first, second = tf.split(L.Conv2D(8, 1, use_bias=False, name="a")(inputs), 2, axis=-1)
    joined = L.Add()([first, L.Conv2D(4, 1, use_bias=False, name="b")(inputs)])
    return headed(inputs, L.Concatenate()([joined, L.Conv2D(2, 1, name="c")(second)]))


@pytest.mark.parametrize(
    ("reduction", "left"),
    [
        # 7 6 5 8 | 9 6.5 1 2
        ("leader", [7, 8, 9, 6.5]),
        # 8 10 11 12 | 9 6.5 1 2
        ("sum", [6, 5, 8, 9]),
        # 4 5 5.5 6 | 9 6.5 1 2
        ("mean", [5, 8, 9, 6.5]),
    ],
)
def test_a_mean_is_over_those_that_make_a_channel(reduction, left):
    norms = {"a": [7, 6, 5, 8, 9, 6.5, 1, 2], "b": [1, 4, 6, 4]}
    assert norms_of(cut(split(), norms, skip=["c"], reduction=reduction), "a") == left


def test_of_each_piece_of_a_split_something_is_left():
    # All of the second half are weaker than all of the first.
    model = cut(split(), {"a": [5, 6, 7, 8, 4, 3, 2, 1], "b": [1, 1, 1, 1]}, skip=["c"])
    assert norms_of(model, "a") == [6, 7, 8, 4]


def concatenated() -> keras.Model:
    """`a` (3) and `b` (3) side by side are added to `c` (6), which reads `a`."""
    inputs = keras.Input((6, 6, 2))
    a, b = (L.Conv2D(3, 1, use_bias=False, name=name)(inputs) for name in "ab")
    c = L.Conv2D(6, 1, use_bias=False, name="c")(L.ReLU()(a))
    return headed(inputs, L.Add()([L.Concatenate()([a, b]), c]))


def test_each_channel_has_a_leader_where_filters_are_concatenated():
    model = cut(concatenated(), {"a": [1, 5, 6], "b": [4, 3, 2], "c": [9, 9, 9, 1, 1, 1]})
    assert norms_of(model, "a") == [5, 6]
    assert norms_of(model, "b") == [4]
    assert widths(model)["c"] == 3
    assert wrapper_of(model, "c").scored[0].leads.numpy().tolist() == [False] * 3


@pytest.mark.parametrize(("minimum", "left"), [(1, (2, 1)), (2, (2, 2))])
def test_no_part_of_a_concatenation_comes_out_empty(minimum, left):
    # All of "b" are weaker than all of "a".
    model = cut(concatenated(), {"a": [4, 5, 6], "b": [1, 2, 3]}, minimum=minimum)
    assert (widths(model)["a"], widths(model)["b"]) == left


def test_global_takes_more_of_the_layers_whose_filters_matter_less():
    # Over the norms of their layers, seven of "a" are .02 and those of "b" about .4, though they are larger by far.
    norms = {"a": [100] * 7 + [5000], "b": [7, 8, 7, 8, 7, 8]}
    found = {scope: widths(cut(network(), norms, scope=scope)) for scope in ("layer", "global")}
    assert found == {"layer": {"a": 4, "b": 3, "head": 3}, "global": {"a": 1, "b": 6, "head": 3}}


def test_global_ends_with_as_many_as_asked_over_several_epochs():
    model = wrapped(network(), rate=0.5, epochs=4, criterion="l1", curve="linear", scope="global", hard_share=1.0)
    set_kernel(model, "a", [1] * 7 + [50])
    set_kernel(model, "b", [7, 8, 7, 8, 7, 8])
    callback = begun(model)
    for epoch in range(4):
        callback.on_epoch_end(epoch)
    # 14·(1 - e/8)
    assert [each.channels for each in callback.history] == [13, 11, 9, 7]
    tfmot_swd.prune_now(model)
    assert {name: widths(model)[name] for name in "ab"} == {"a": 1, "b": 6}


@pytest.mark.parametrize(
    ("settings", "left"),
    [
        ({"round_to": 4}, {"a": 4, "b": 4}),
        ({"round_to": 8}, {"a": 8, "b": 6}),
        ({"minimum": 5}, {"a": 5, "b": 5}),
        ({"minimum": 3, "rate": 0.9}, {"a": 3, "b": 3}),
        ({"minimum": 3, "round_to": 2, "rate": 0.9}, {"a": 4, "b": 4}),
        ({"skip": ["a"]}, {"a": 8, "b": 3}),
    ],
)
def test_rounding_and_minimum(settings, left):
    model = cut(network(), {}, **settings)
    assert {name: widths(model)[name] for name in "ab"} == left


def test_what_rounding_keeps_at_the_end_is_not_silenced():
    model = wrapped(network(), rate=0.5, epochs=2, criterion="l1", round_to=8, hard_share=0.5)
    callback = begun(model)
    for epoch in range(2):
        callback.on_epoch_end(epoch)
    assert [(each.removed, each.soft_pruned) for each in callback.history] == [(0, 0), (0, 0)]
    assert wrapper_of(model, "a").scored[0].mask.numpy().all()


def test_rounding_leaves_whole_multiples_that_all_work():
    inputs = keras.Input((6, 6, 2))
    net = headed(inputs, L.BatchNormalization()(L.Conv2D(16, 1, use_bias=False, name="a")(inputs)))
    model = wrapped(net, rate=0.7, epochs=3, criterion="l1", round_to=8, hard_share=1.0)
    callback = begun(model)
    for epoch in range(3):
        set_kernel(model, "a", np.arange(1.0, widths(model)["a"] + 1))
        # As a training step would have done.
        model.optimizer.iterations.assign_add(1)
        callback.on_epoch_end(epoch)
    # 4.8 filters are left by the rate, 8 by rounding, and no silenced one is among them.
    assert (np.array(norms_of(model, "a")) > 0).all()
    assert tfmot_swd.strip_pruning(model).get_layer("a").filters == 8


def test_other_kinds_of_convolutions_lose_the_filters_of_their_own_axis():
    inputs = keras.Input((8, 8, 2))
    x = L.Conv2DTranspose(6, 2, use_bias=False, name="transposed")(inputs)
    x = L.SeparableConv2D(4, 2, use_bias=False, name="separable")(x)
    model = wrapped(headed(inputs, x), rate=0.5, epochs=4, criterion="l1", curve="geometric")
    set_kernel(model, "transposed", [6, 1, 5, 2, 4, 3])
    pointwise = layer_of(model, "separable").pointwise_kernel
    pointwise.assign(np.broadcast_to(np.array([1, 4, 2, 3], np.float32), pointwise.shape))
    tfmot_swd.prune_now(model)
    kernel = layer_of(model, "transposed").kernel.numpy()
    assert kernel.shape == (2, 2, 3, 2)
    np.testing.assert_allclose(kernel[0, 0, :, 0] * 8, [6, 5, 4])
    assert layer_of(model, "separable").pointwise_kernel.shape == (1, 1, 3, 2)
    np.testing.assert_array_equal(layer_of(model, "separable").pointwise_kernel[0, 0, 0], [4, 3])


@pytest.mark.parametrize(("groups", "filters"), [(2, 16), (8, 16), (8, 64)])
@pytest.mark.parametrize("rate", [0.5, 0.75])
def test_grouped_convolutions_lose_their_share_and_no_more(groups, filters, rate):
    """What can leave one by one changes when few groups are left; the number of filters counts."""
    inputs = keras.Input((4, 4, 2))
    x = L.Conv2D(filters, 1, name="before")(inputs)
    x = L.Conv2D(filters, 1, groups=groups, name="grouped")(x)
    model = wrapped(headed(inputs, x), rate=rate, epochs=6, criterion="l1", hard_share=1.0, curve="geometric")
    callback = begun(model)
    for epoch in range(6):
        callback.on_epoch_end(epoch)
    left, target = widths(model), filters * (1 - rate)
    grain = max(filters // groups, groups)
    for name in ("before", "grouped"):
        assert target <= left[name] < target + grain, callback.history


def test_units_of_dense_and_recurrent_layers_and_heads():
    inputs = keras.Input((5, 4))
    x = L.LSTM(6, return_sequences=True, name="lstm")(inputs)
    x = L.Dense(8, activation="relu", name="hidden")(x)
    x = L.MultiHeadAttention(4, 2, name="attention")(x, x)
    net = keras.Model(inputs, L.Dense(3, name="head")(x))
    model = cut(net, {"hidden": [8, 1, 7, 2, 6, 3, 5, 4]}, layers="all")
    np.testing.assert_allclose(layer_of(model, "hidden").kernel[0] * 6, [8, 7, 6, 5], rtol=1e-6)
    assert layer_of(model, "lstm").cell.recurrent_kernel.shape == (3, 12)
    config = layer_of(model, "attention").get_config()
    # Each kernel of attention is ranked along one axis: whole heads leave, and their features stay.
    assert (config["num_heads"], config["key_dim"], config["value_dim"]) == (2, 2, 2)
    assert model(np.zeros((2, 5, 4))).shape == (2, 5, 3)


def test_a_unit_of_a_recurrent_layer_is_scored_over_its_gates_and_kernels():
    inputs = keras.Input((5, 2))
    model = wrapped(
        keras.Model(inputs, L.Dense(3)(L.LSTM(2, name="lstm")(inputs))),
        rate=0.5,
        epochs=4,
        criterion="l1",
        curve="geometric",
        layers="all",
    )
    cell = layer_of(model, "lstm").cell
    # The first unit has the larger kernel, the second more than that in its recurrent kernel, in one gate.
    cell.kernel.assign(np.tile([3.0, 1.0], (2, 4)))
    cell.recurrent_kernel.assign(np.array([[1, 1, 1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 1, 18, 1, 1]]))
    tfmot_swd.prune_now(model)
    # 2·4·3 + 2·4 against 2·4·1 + 2·4 + 17
    np.testing.assert_array_equal(layer_of(model, "lstm").cell.kernel[0], [1, 1, 1, 1])


def test_an_embedding_and_a_lookup_may_stand_before():
    inputs = keras.Input((6,), dtype="int64")
    x = L.Embedding(4, 6, name="table")(L.IntegerLookup(vocabulary=[5, 6, 7])(inputs))
    net = headed(inputs, L.Conv1D(4, 2, activation="relu", name="conv")(x))
    data = (np.tile([5, 6, 7], (32, 2)), np.arange(32) % 3)
    for criterion in ("l1", "rpgp"):
        model = wrapped(net, rate=0.5, criterion=criterion, layers="all", curve="geometric")
        model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True), run_eagerly=True)
        callback = fit(model, data=data)
        assert callback.history[0].sizes == {"table": 3, "conv": 2}
        stripped = tfmot_swd.strip_pruning(model)
        assert stripped.get_layer("table").embeddings.shape == (4, 3)
        assert callback.history[0].parameters == 4 * 3 + 2 * 3 * 2 + 2 + 10 * 3 + 3


def test_the_threshold_is_the_largest_score_among_the_weak():
    model = wrapped(network(), rate=0.5, epochs=2, criterion="l1")
    set_kernel(model, "a", [8, 1, 7, 2, 6, 3, 5, 4])
    set_kernel(model, "b", [1, 2, 3, 4, 5, 6])
    callback = begun(model, partial_fit=True)
    callback.on_epoch_end(0)
    # 4 of "a" and 3 of "b"
    assert callback.history[0].threshold == pytest.approx(4.0)
    assert wrapper_of(model, "b").threshold.numpy() == pytest.approx(4.0)


def test_nothing_weak_has_no_threshold():
    model = wrapped(network(), rate=0.01, epochs=2, criterion="l1")
    callback = begun(model, partial_fit=True)
    callback.on_epoch_end(0)
    assert callback.history[0].threshold == 0.0
    assert callback.history[0].removed == callback.history[0].soft_pruned == 0
