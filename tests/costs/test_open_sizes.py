"""Costs of models that leave sizes of their inputs open."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

import tfmot_swd
from tfmot_swd.channels.groups import channel_groups
from tfmot_swd.costs.budget import Budget
from tfmot_swd.costs.cost import Cost
from tfmot_swd.costs.limits import fit_budget
from tfmot_swd.costs.profile import profile

L = keras.layers
SHAPE = (12, 10, 3)


def fcn(shape=(None, None, 3)) -> keras.Model:
    """A small segmentation network, with a resize to the size of another tensor and a model inside."""
    keras.backend.clear_session()
    inner_input = L.Input((*shape[:2], 8))
    inner = keras.Model(inner_input, L.Conv2D(6, 3, padding="same", name="in")(inner_input), name="inner")
    image = L.Input(shape)
    x = L.Conv2D(8, 3, padding="same", activation="relu", name="a")(image)
    y = inner(L.BatchNormalization()(L.MaxPooling2D()(x))) if None in shape else L.Conv2D(6, 3, padding="same")(x)
    y = tf.image.resize(y, tf.shape(x)[1:3])
    return keras.Model(image, L.Conv2D(1, 1, name="out")(tf.concat([x, y], -1)))


def counted_by_hand(a: int = 8, inside: int = 6) -> int:
    places = SHAPE[0] * SHAPE[1]
    return places * 27 * a + places // 4 * 9 * a * inside + places * (a + inside)


def test_profile_of_a_given_size():
    model = fcn()
    weights, nodes = model.get_weights(), [len(layer.inbound_nodes) for layer in model.layers]
    found = profile(model, input_shape=SHAPE)

    assert found.macs == counted_by_hand()
    assert {row.layer: row.output_shapes for row in found.rows}["inner/in"] == ((6, 5, 6),)
    assert found.peak_activation_bytes == profile(model, 1, [SHAPE]).peak_activation_bytes > 0
    assert profile(model, 2, SHAPE).activation_bytes == 2 * found.activation_bytes - (4 + 2) * 4
    # Sizes that are computed with are no part of a batch. The model is as it was.
    assert [len(layer.inbound_nodes) for layer in model.layers] == nodes
    assert all(np.array_equal(one, two) for one, two in zip(model.get_weights(), weights, strict=True))
    assert model.losses == []


@pytest.mark.parametrize(
    "layers",
    [
        lambda: [L.Conv2D(4, 3, strides=2), L.DepthwiseConv2D(3), L.GlobalAveragePooling2D(), L.Dense(2)],
        lambda: [L.Conv2DTranspose(4, 3, strides=2), L.SeparableConv2D(2, 3, padding="same"), L.UpSampling2D()],
        lambda: [L.Conv2D(4, 3, activity_regularizer="l2"), L.Dropout(0.5), L.BatchNormalization(), L.Dense(2)],
    ],
)
def test_as_of_the_model_that_is_built_for_the_size(layers):
    open_sized, fixed = (keras.Sequential([L.InputLayer(shape), *layers()]) for shape in ((None, None, 3), SHAPE))

    one, two = profile(open_sized, 3, SHAPE), profile(fixed, 3)
    for key in ("macs", "activation_bytes", "peak_activation_bytes", "parameters"):
        assert getattr(one, key) == getattr(two, key)
    assert [row.output_shapes for row in one.rows] == [row.output_shapes for row in two.rows]
    assert profile(fixed, 3, SHAPE).macs == two.macs


def test_open_numbers_of_steps():
    x = L.Input((None, 4))
    model = keras.Model(x, L.Dense(2)(L.LSTM(3)(L.Conv1D(5, 3, padding="causal")(x))))

    assert profile(model, input_shape=(7, 4)).macs == 7 * 3 * 4 * 5 + 7 * 4 * 3 * (5 + 3) + 3 * 2


def test_several_inputs():
    one, two = L.Input((None, 4), name="one"), L.Input((6,), name="two")
    model = keras.Model([one, two], L.Concatenate()([L.GlobalMaxPooling1D()(L.Dense(5)(one)), L.Dense(3)(two)]))

    assert profile(model, input_shape=[(9, 4), (6,)]).macs == 9 * 20 + 18
    with pytest.raises(ValueError, match="input_shape must be the shape of a model's input"):
        profile(model, input_shape=(9, 4))


@pytest.mark.parametrize(
    "shape", [(12, 10), (12, 10, 4), (12, None, 3), (12, 0, 3), ((12, 10, 3), (2,)), (12.0, 10, 3)]
)
def test_other_shapes_are_an_error(shape):
    with pytest.raises(ValueError, match=r"input_shape must be .*for inputs of shapes \(None, None, 3\)"):
        profile(fcn(), input_shape=shape)


def test_without_a_shape_the_error_names_the_argument():
    with pytest.raises(ValueError, match=r"or the Budget, the shape to count for, as input_shape=\(224, 224, 3\)"):
        profile(fcn())
    with pytest.raises(ValueError, match="input_shape"):
        fit_budget(fcn(), "l1", Budget(macs=0.5))


class Latency(Cost):
    def terms(self, model):
        return sum(100 + 0.5 * call.macs for call in model.calls)


def test_a_budget_for_a_given_size():
    model = fcn()
    fit = fit_budget(model, "l1", Budget(macs=0.5, input_shape=SHAPE))
    small = tfmot_swd.channels.remove_channels(model, fit.keep)

    assert fit.limits == {"macs": counted_by_hand() // 2}
    assert profile(small, input_shape=SHAPE).macs == fit.costs["macs"] <= counted_by_hand() // 2
    fit = fit_budget(model, "l1", Budget(latency=0.5, custom_costs={"latency": Latency()}, input_shape=SHAPE))
    small = tfmot_swd.channels.remove_channels(model, fit.keep)
    assert Latency().of(small, SHAPE) == pytest.approx(fit.costs["latency"])


def test_the_config_of_a_budget_has_the_shape():
    budget = Budget(macs=0.5, input_shape=[12, 10, 3])
    assert repr(budget) == "Budget(macs=0.5, input_shape=(12, 10, 3), recipe='int8')"
    assert Budget.from_config(budget.get_config()) == budget != Budget(macs=0.5)
    assert "input_shape" not in Budget(macs=0.5).get_config()
    pair = Budget(macs=0.5, input_shape=[[12, 3], [4]])
    assert Budget.from_config(pair.get_config()).input_shape == ((12, 3), (4,))


@pytest.mark.parametrize("method", ["swd", "pgp"])
def test_training_under_a_budget(method, tmp_path):
    budget = Budget(macs=0.5, input_shape=SHAPE)
    model = fcn()
    if method == "swd":
        wrapped = tfmot_swd.prune_selective_decay(model, tfmot_swd.StructuredDecay(budget, end_step=8))
    else:
        wrapped = tfmot_swd.prune_progressive_gradient(model, tfmot_swd.ProgressiveRate(budget, 2))
    wrapped.compile("sgd", "mse")
    x, y = np.random.default_rng(0).random((16, *SHAPE), "float32"), np.zeros((16, *SHAPE[:2], 1), "float32")
    wrapped.fit(x, y, batch_size=4, epochs=1, verbose=0, callbacks=[tfmot_swd.UpdatePruningStep(partial_fit=True)])
    if method == "swd":
        # A file of a model in training keeps the shape.
        wrapped.save(tmp_path / "half.keras")
        wrapped = keras.models.load_model(tmp_path / "half.keras")
    wrapped.fit(x, y, batch_size=4, epochs=2, initial_epoch=1, verbose=0, callbacks=[tfmot_swd.UpdatePruningStep()])

    small = tfmot_swd.strip_pruning(wrapped)
    assert channel_groups(small).channels < channel_groups(model).channels
    assert profile(small, input_shape=SHAPE).macs <= counted_by_hand() / 2


def test_losses_that_layers_have_collected_stay_as_they_are():
    net = keras.Sequential([L.Input((None, None, 3)), L.Conv2D(8, 3, activity_regularizer="l2")])
    net(np.ones((1, 8, 8, 3), "float32"))
    before = [float(each) for each in net.losses]

    profile(net, input_shape=(12, 12, 3))

    assert [float(each) for each in net.losses] == before != [0.0]
