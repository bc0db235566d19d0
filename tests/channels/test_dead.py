"""Channels that contribute nothing go, and predictions stay."""

import numpy as np
import pytest
import tf_keras as keras

import tfmot_swd
from examples.networks import fashion_net, mobilenet_v1, resnet8, resnet20
from tfmot_swd.channels import plan_dead_removal, remove_dead_channels

L = keras.layers
RNG = np.random.default_rng(0)


def randomize(model: keras.Model) -> keras.Model:
    """Weights and statistics as after training, not fresh."""
    for weight in model.weights:
        shape = weight.shape
        if "variance" in weight.name or "gamma" in weight.name:
            weight.assign(RNG.uniform(0.5, 1.5, shape))
        else:
            weight.assign(RNG.normal(0, 1 / np.sqrt(max(np.prod(shape[:-1]), 9)), shape))
    return model


def assert_same_predictions(model: keras.Model, small: keras.Model) -> None:
    x = RNG.normal(size=(3, *model.input_shape[1:])).astype(np.float32)
    expected = model(x).numpy()
    np.testing.assert_allclose(small(x).numpy(), expected, atol=2e-6 * np.abs(expected).max(), rtol=0)


def silence(layer: L.Layer, units: list[int]) -> None:
    """Zeroes what makes some channels of a layer: kernel and bias."""
    weights = layer.get_weights()
    for weight in weights:
        weight[..., units] = 0.0
    layer.set_weights(weights)


def deafen(layer: L.Layer, units: list[int]) -> None:
    """Zeroes what reads some channels."""
    kernel, *rest = layer.get_weights()
    kernel[..., units, :] = 0.0
    layer.set_weights([kernel, *rest])


def chain(*sizes: int) -> keras.Model:
    layers = [L.Dense(size, name=f"d{index}") for index, size in enumerate(sizes)]
    return randomize(keras.Sequential([keras.Input((4,)), *layers]))


def units(model: keras.Model) -> list[int]:
    return [layer.units for layer in model.layers if isinstance(layer, L.Dense)]


def test_a_unit_that_nobody_makes_goes():
    model = chain(5, 3, 2)
    silence(model.get_layer("d0"), [1, 4])

    small = remove_dead_channels(model)

    assert units(small) == [3, 3, 2]
    assert_same_predictions(model, small)


def test_a_unit_that_nobody_reads_goes_and_takes_what_only_it_reads_along():
    model = chain(5, 3, 2)
    deafen(model.get_layer("d2"), [0, 1])
    kernel, bias = model.get_layer("d1").get_weights()
    # Units 3 and 4 of the first layer feed only units 0 and 1 of the second.
    kernel[3:, 2] = 0.0
    model.get_layer("d1").set_weights([kernel, bias])

    small = remove_dead_channels(model)

    assert units(small) == [3, 1, 2]
    assert_same_predictions(model, small)


def test_the_input_model_is_untouched():
    model = chain(5, 3, 2)
    silence(model.get_layer("d0"), [1])
    before = model.get_weights()

    remove_dead_channels(model)

    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))
    assert units(model) == [5, 3, 2]


def test_a_constant_goes_into_the_bias_of_a_dense_layer():
    model = chain(5, 3, 2)
    kernel, bias = model.get_layer("d0").get_weights()
    kernel[:, 2] = 0.0
    model.get_layer("d0").set_weights([kernel, bias])
    assert bias[2] != 0

    small = remove_dead_channels(model)

    assert units(small) == [4, 3, 2]
    np.testing.assert_allclose(
        small.get_layer("d1").bias, model.get_layer("d1").bias + bias[2] * model.get_layer("d1").kernel[2], rtol=1e-5
    )
    assert_same_predictions(model, small)


@pytest.mark.parametrize(("padding", "filters"), [("valid", 2), ("same", 3)])
def test_a_constant_before_a_convolution_goes_only_where_no_zeros_are_padded(padding, filters):
    layers = [L.Conv2D(3, 3, name="a"), L.Conv2D(4, 3, padding=padding, use_bias=False), L.Flatten(), L.Dense(2)]
    model = randomize(keras.Sequential([keras.Input((8, 8, 1)), *layers]))
    kernel, bias = model.get_layer("a").get_weights()
    kernel[..., 0] = 0.0
    model.get_layer("a").set_weights([kernel, bias])

    small = remove_dead_channels(model)

    assert small.get_layer("a").filters == filters
    # The layer that takes the constant over has had no bias.
    assert small.layers[1].use_bias == (padding == "valid")
    assert_same_predictions(model, small)


def test_a_gate_of_one_half_keeps_its_channel():
    inputs = keras.Input((6,))
    x, gate = L.Dense(3, name="x")(inputs), L.Dense(3, "sigmoid", name="gate")(inputs)
    model = randomize(keras.Model(inputs, L.Dense(2)(L.Multiply()([x, gate]))))
    silence(model.get_layer("gate"), [0])
    silence(model.get_layer("x"), [2])

    small = remove_dead_channels(model)

    assert small.get_layer("gate").units == small.get_layer("x").units == 2
    assert_same_predictions(model, small)


def test_a_channel_of_a_sum_stays_as_long_as_one_part_is_alive():
    inputs = keras.Input((6,))
    a, b = L.Dense(4, name="a")(inputs), L.Dense(4, name="b")(inputs)
    model = randomize(keras.Model(inputs, L.Dense(2)(a + b)))
    silence(model.get_layer("a"), [0, 1])
    silence(model.get_layer("b"), [1, 2])

    small = remove_dead_channels(model)

    assert units(small) == [3, 3, 2]
    assert_same_predictions(model, small)


def test_a_layer_whose_channels_are_all_dead_keeps_one():
    model = chain(5, 3, 2)
    silence(model.get_layer("d1"), [0, 1, 2])

    small = remove_dead_channels(model)

    assert units(small) == [1, 1, 2]
    assert_same_predictions(model, small)


@pytest.mark.parametrize("round_to", [1, 4, 8])
def test_rounding_brings_channels_back_with_all_that_they_read(round_to):
    model = chain(16, 16, 2)
    silence(model.get_layer("d0"), [0, 1, 2])
    deafen(model.get_layer("d2"), list(range(5, 16)))

    small = remove_dead_channels(model, round_to=round_to)

    assert all(size % round_to == 0 for size in units(small)[:2])
    assert_same_predictions(model, small)


def test_skipped_layers_keep_their_channels():
    model = chain(5, 3, 2)
    silence(model.get_layer("d0"), [1])

    assert units(remove_dead_channels(model, skip=["d0"])) == [5, 3, 2]


@pytest.mark.parametrize(
    ("what", "build"),
    [("filters", resnet8), ("filters", mobilenet_v1), ("weights", fashion_net), ("weights", resnet20)],
)
def test_real_nets_with_dead_filters_and_with_scattered_zeros(build, what):
    model = randomize(build((32, 32, 3), 10))
    for layer in model.layers[:-1]:
        if hasattr(layer, "kernel") and layer.kernel.shape.rank >= 2:
            kernel, *rest = layer.get_weights()
            if what == "filters":
                kernel[..., RNG.random(kernel.shape[-1]) < 0.5] = 0.0
            else:
                kernel[RNG.random(kernel.shape) < 0.99] = 0.0
            layer.set_weights([kernel, *rest])

    plan = plan_dead_removal(model)
    small = plan.apply()

    assert plan.removed_channels > 0
    assert small.count_params() < model.count_params()
    assert_same_predictions(model, small)


def test_stripping_takes_dead_channels_along_unless_told_not_to():
    model = randomize(fashion_net((28, 28, 1), 10))
    schedule = tfmot_swd.SelectiveDecay(final_sparsity=0.999, end_step=4)
    pruned = tfmot_swd.prune_selective_decay(model, schedule)
    tfmot_swd.prune_now(pruned)

    whole, small = tfmot_swd.strip_pruning(pruned, remove_channels=False), tfmot_swd.strip_pruning(pruned)

    assert whole.count_params() == model.count_params() > small.count_params()
    assert_same_predictions(whole, small)


def test_protect_is_the_deprecated_name_of_skip():
    model = keras.Sequential([L.Dense(4, input_shape=(3,), name="d0"), L.Dense(2)])
    model.get_layer("d0").set_weights([np.zeros((3, 4)), np.zeros(4)])

    with pytest.warns(DeprecationWarning, match=r"remove_dead_channels\(protect=...\) is deprecated"):
        assert remove_dead_channels(model, protect=["d0"]).get_layer("d0").units == 4
    with pytest.warns(DeprecationWarning, match=r"plan_dead_removal\(protect=...\) is deprecated"):
        assert plan_dead_removal(model, protect=["d0"]).removed_channels == 0
