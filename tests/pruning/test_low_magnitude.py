"""The drop-in: TFMOT's signature, the method that the schedule asks for."""

import inspect

import numpy as np
import pytest
import tensorflow_model_optimization as tfmot
import tf_keras as keras

import tfmot_swd
from tfmot_swd import prune_low_magnitude
from tfmot_swd.magnitude import PruneMagnitude

sparsity = tfmot.sparsity.keras
SWD = tfmot_swd.SelectiveDecay(0.5, end_step=8)


def net():
    keras.utils.set_random_seed(0)
    return keras.Sequential([keras.layers.Conv2D(4, 3, input_shape=(6, 6, 1)), keras.layers.Flatten()])


def test_the_signature_is_tfmots():
    theirs = inspect.signature(inspect.unwrap(sparsity.prune_low_magnitude)).parameters
    ours = inspect.signature(prune_low_magnitude).parameters
    assert [(each.name, each.kind) for each in ours.values()] == [(each.name, each.kind) for each in theirs.values()]
    # A default that is an object is made when it is asked for.
    same = [name for name in theirs if name not in ("to_prune", "pruning_schedule", "kwargs")]
    assert [ours[name].default for name in same] == [theirs[name].default for name in same]


@pytest.mark.parametrize(
    ("schedule", "wrapper"),
    [
        (SWD, tfmot_swd.swd.PruneSelectiveDecay),
        (tfmot_swd.StructuredDecay(tfmot_swd.Budget(parameters=0.5), 8), tfmot_swd.swd.PruneStructuredDecay),
        (tfmot_swd.ProgressiveRate(0.5, 2), tfmot_swd.pgp.PruneProgressiveGradient),
        (sparsity.PolynomialDecay(0.1, 0.5, 0, 8), PruneMagnitude),
        (None, PruneMagnitude),
    ],
)
def test_the_schedule_chooses_the_method(schedule, wrapper):
    model = net()
    model.add(keras.layers.Dense(2))
    assert type(prune_low_magnitude(model, schedule).layers[0]) is wrapper


def test_without_a_schedule_half_of_each_layer_is_pruned():
    wrapper = prune_low_magnitude(net()).layers[0]
    assert wrapper.pruning_schedule.get_config() == sparsity.ConstantSparsity(0.5, 0).get_config()


@pytest.mark.parametrize(
    ("schedule", "counted"),
    # Selective Weight Decay counts the biases of dense layers too.
    [(SWD, 4 * 8 + 8 + 8 * 2 + 2), (sparsity.ConstantSparsity(0.5, 0, frequency=1), 4 * 8 + 8 * 2)],
    ids=["swd", "magnitude"],
)
def test_single_layers_make_a_model_that_trains_and_is_stripped(schedule, counted):
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            prune_low_magnitude(keras.layers.Dense(8), schedule, input_shape=(4,)),
            *prune_low_magnitude([keras.layers.ReLU(), keras.layers.Dense(2)], schedule),
        ]
    )
    model.compile("sgd", "mse")
    x = np.random.default_rng(0).normal(size=(16, 4)).astype(np.float32)
    model.fit(x, x[:, :2], batch_size=2, verbose=0, callbacks=[tfmot_swd.UpdatePruningStep()])
    small = tfmot_swd.strip_pruning(model, remove_channels=False)
    assert [type(layer).__name__ for layer in small.layers] == ["Dense", "ReLU", "Dense"]
    weights = [each for each in small.get_weights() if each.ndim == 2 or schedule is SWD]
    assert (sum(each.size for each in weights), sum(int((each == 0).sum()) for each in weights)) == (
        counted,
        counted // 2,
    )


def test_a_clone_function_wraps_some_layers():
    model = keras.Sequential([keras.layers.Dense(4, input_shape=(4,), name="a"), keras.layers.Dense(2, name="b")])

    def only_a(layer):
        return prune_low_magnitude(layer, SWD) if layer.name == "a" else layer

    wrapped = keras.models.clone_model(model, clone_function=only_a)
    assert [type(layer).__name__ for layer in wrapped.layers] == ["PruneSelectiveDecay", "Dense"]


def test_layers_that_are_wrapped_stay_as_they_are():
    wrapped = prune_low_magnitude(keras.layers.Dense(4), SWD)
    assert prune_low_magnitude([wrapped], SWD) == [wrapped]


@pytest.mark.parametrize("to_prune", [keras.layers.Dense(2), [keras.layers.Dense(2)]], ids=["layer", "list"])
def test_channels_need_the_whole_model(to_prune):
    with pytest.raises(TypeError, match="wrap the model, not its layers"):
        prune_low_magnitude(to_prune, tfmot_swd.ProgressiveRate(0.5, 2))


@pytest.mark.parametrize(
    ("schedule", "arguments", "message"),
    [
        (
            tfmot_swd.ProgressiveRate(0.5, 2),
            {"block_size": (2, 1)},
            "Progressive Gradient Pruning does not take block",
        ),
        (SWD, {"sparsity_m_by_n": (2, 4)}, r"does not take sparsity_m_by_n: .* Received: sparsity_m_by_n=\(2, 4\)"),
    ],
)
def test_arguments_that_a_method_has_no_use_for_are_told(schedule, arguments, message):
    with pytest.raises(ValueError, match=message):
        prune_low_magnitude(net(), schedule, **arguments)


def test_arguments_of_the_method_are_handed_on():
    model = net()
    model.add(keras.layers.Dense(2, name="head"))
    pruned = prune_low_magnitude(model, SWD, skip=["head"])
    assert [type(each).__name__ for each in pruned.layers] == ["PruneSelectiveDecay", "Flatten", "Dense"]
    pruned = prune_low_magnitude(model, sparsity.ConstantSparsity(0.5, 0), scope="global")
    assert pruned.layers[0].scope == "global"
    with pytest.raises(ValueError, match="does not take magic.*Received: magic=1"):
        prune_low_magnitude(model, SWD, magic=1)


def test_a_tuple_of_layers_is_a_list_of_them():
    wrapped = prune_low_magnitude((keras.layers.Dense(2), keras.layers.Dense(3)), SWD)
    assert [type(each).__name__ for each in wrapped] == ["PruneSelectiveDecay"] * 2


@pytest.mark.parametrize("given", ["model", 3, [3]])
def test_what_is_neither_model_nor_layer_is_told(given):
    with pytest.raises(TypeError, match="Received: "):
        prune_low_magnitude(given, SWD)


def test_a_policy_leaves_layers_whole():
    class Convolutions(sparsity.PruningPolicy):
        def allow_pruning(self, layer):
            return isinstance(layer, keras.layers.Conv2D)

        def ensure_model_supports_pruning(self, model):
            pass

    model = net()
    model.add(keras.layers.Dense(2))
    pruned = prune_low_magnitude(model, SWD, pruning_policy=Convolutions())
    assert [type(each).__name__ for each in pruned.layers] == ["PruneSelectiveDecay", "Flatten", "Dense"]
