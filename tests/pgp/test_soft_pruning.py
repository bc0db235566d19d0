"""What becomes zero of a silenced filter, what is left alone, and whether it can come back."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

import tfmot_swd
from tests.pgp.nets import (
    BATCH,
    L,
    X,
    Y,
    batches,
    begun,
    compiled,
    fit,
    layer_of,
    loss_of,
    residual,
    set_kernel,
    small,
    step_of,
    wrapped,
    wrapper_of,
)

# The smallest filters: after the first of two epochs, with P = .5, 4 of 8 and 3 of 6 are weak.
NORMS = {"a": [8, 1, 7, 2, 6, 3, 5, 4], "b": [1, 6, 2, 5, 3, 4]}
SOFT = {"a": [1, 3, 5, 7], "b": [0, 2, 4]}
OPTIMIZERS = {
    "sgd": lambda: keras.optimizers.SGD(1e-6, momentum=0.9),
    "adam": lambda: keras.optimizers.Adam(1e-6),
    "legacy_sgd": lambda: keras.optimizers.legacy.SGD(1e-6, momentum=0.9),
    "legacy_adam": lambda: keras.optimizers.legacy.Adam(1e-6),
    "scaled": lambda: keras.mixed_precision.LossScaleOptimizer(keras.optimizers.SGD(1e-6, momentum=0.9)),
}


WEIGHTS = {
    "a": ("kernel",),
    "norm": ("gamma", "beta", "moving_mean", "moving_variance"),
    "b": ("kernel", "bias"),
    "head": ("kernel", "bias"),
}


def weights_of(model) -> dict[tuple[str, str], tf.Variable]:
    return {(name, each): getattr(layer_of(model, name), each) for name, own in WEIGHTS.items() for each in own}


def slots_of(optimizer, model) -> dict[tuple[str, str, str], tf.Variable]:
    """Returns slots by (layer, weight, kind), as each class of optimizers gives them out."""
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)
    place_of = {id(variable): place for place, variable in enumerate(model.trainable_variables)}
    found = {}
    for key, variable in weights_of(model).items():
        if id(variable) not in place_of:
            continue
        place = place_of[id(variable)]
        if isinstance(optimizer, keras.optimizers.legacy.Optimizer):
            slots = {kind: optimizer.get_slot(variable, kind) for kind in optimizer.get_slot_names()}
        elif hasattr(optimizer, "_velocities"):
            slots = {"m": optimizer._momentums[place], "v": optimizer._velocities[place]}
        else:
            slots = {"momentum": optimizer.momentums[place]}
        found |= {(*key, kind): slot for kind, slot in slots.items()}
    return found


class Snapshot(keras.callbacks.Callback):
    """Copies weights and slots after the last batch, before anything is pruned; it must stand first in the list."""

    def __init__(self):
        super().__init__()
        self.weights, self.slots = {}, {}

    def on_train_batch_end(self, batch, logs=None):
        self.weights = {key: (each, each.numpy()) for key, each in weights_of(self.model).items()}
        slots = slots_of(self.model.optimizer, self.model)
        self.slots = {key: (slot, slot.numpy()) for key, slot in slots.items()}


def silenced(optimizer="sgd", **settings) -> Snapshot:
    model = wrapped(rate=0.5, epochs=2, criterion="l1", hard_share=0.0, **settings)
    for name, norms in NORMS.items():
        set_kernel(model, name, norms)
    compiled(model, OPTIMIZERS[optimizer](), run_eagerly=True)
    snapshot = Snapshot()
    callbacks = [snapshot, tfmot_swd.UpdatePruningStep(partial_fit=True)]
    model.fit(X, Y, batch_size=BATCH, verbose=0, callbacks=callbacks)
    for name, soft in SOFT.items():
        assert np.flatnonzero(wrapper_of(model, name).scored[0].mask.numpy() == 0).tolist() == soft
    return snapshot


def zeroed(value: np.ndarray, layer: str, weight: str, reset: str) -> np.ndarray:
    """Returns by hand what is left of a weight or its slot."""
    wanted = value.copy()
    if layer == "a" or (layer == "b" and weight == "kernel"):
        wanted[..., SOFT[layer]] = 0
    elif layer == "b" and reset == "all":
        wanted[SOFT["b"]] = 0
    elif layer == "norm" and reset == "all":
        wanted[SOFT["a"]] = 0
    return wanted


@pytest.mark.parametrize("reset", ["all", "kernel"])
def test_weights_that_become_zero(reset):
    snapshot = silenced(soft_reset=reset)
    for key, (variable, before) in snapshot.weights.items():
        assert before.any()
        np.testing.assert_array_equal(variable.numpy(), zeroed(before, *key, reset), err_msg=str(key))
    kernel, before = snapshot.weights["b", "kernel"]
    # What reads the silenced filters of "a" is as it was.
    kept = [1, 3, 5]
    np.testing.assert_array_equal(kernel.numpy()[..., kept], before[..., kept])
    assert before[:, :, SOFT["a"]][..., kept].all()


@pytest.mark.parametrize("reset", ["all", "kernel"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_slots_that_become_zero(optimizer, reset):
    slots = silenced(optimizer, soft_reset=reset).slots
    assert len(slots) == 7 * (2 if "adam" in optimizer else 1)
    for (layer, weight, kind), (slot, before) in slots.items():
        wanted = zeroed(before, layer, weight, reset)
        assert (wanted != before).any() == (layer != "head" and (reset == "all" or weight == "kernel"))
        np.testing.assert_array_equal(slot.numpy(), wanted, err_msg=f"{layer} {weight} {kind}")


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_slots_stay_on_request(optimizer):
    for slot, before in silenced(optimizer, reset_slots=False).slots.values():
        np.testing.assert_array_equal(slot.numpy(), before)


def test_all_that_makes_a_channel_of_a_sum_is_silenced():
    model = wrapped(residual(), rate=0.5, epochs=2, criterion="l1", hard_share=0.0)
    set_kernel(model, "stem", [4, 1, 3, 2])
    callback = begun(model, partial_fit=True)
    callback.on_epoch_end(0)
    for name in ("stem", "a2"):
        layer = layer_of(model, name)
        for weight in layer.weights:
            by_channel = np.abs(weight.numpy()).reshape(-1, 4)
            np.testing.assert_array_equal(by_channel[:, [1, 3]], 0)
        assert np.abs(layer.kernel.numpy())[..., [0, 2]].min() > 0
    norms = [each for each in model.layers if isinstance(each, L.BatchNormalization)]
    np.testing.assert_array_equal(norms[0].gamma, [1, 0, 1, 0])
    np.testing.assert_array_equal(norms[2].moving_variance, [1, 0, 1, 0])
    # What is inside the block has its own ranking.
    assert np.abs(layer_of(model, "a1").kernel.numpy()).sum(axis=(0, 1, 2)).astype(bool).sum() == 2


def test_depthwise_filters_go_silent_with_the_channel_that_they_act_on():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((6, 6, 2))
    x = L.DepthwiseConv2D(2, depth_multiplier=2, name="depth")(L.Conv2D(4, 1, name="a")(inputs))
    net = keras.Model(inputs, L.Dense(3)(L.Flatten()(L.Conv2D(2, 1, name="b")(x))))
    for reset in ("all", "kernel"):
        model = wrapped(net, rate=0.5, epochs=2, criterion="l1", hard_share=0.0, soft_reset=reset, skip=["b"])
        set_kernel(model, "a", [4, 1, 3, 2])
        layer_of(model, "depth").bias.assign(np.ones(8))
        begun(model, partial_fit=True).on_epoch_end(0)
        depth = layer_of(model, "depth")
        wanted = [1, 0, 1, 0] if reset == "all" else [1, 1, 1, 1]
        np.testing.assert_array_equal(depth.depthwise_kernel.numpy().any(axis=(0, 1, 3)), wanted)
        np.testing.assert_array_equal(depth.bias, np.repeat(wanted, 2))


def gradients(model) -> dict[str, np.ndarray]:
    """Returns the L1 norm of each filter's gradient on a training batch."""
    with tf.GradientTape() as tape:
        loss = loss_of(Y[:BATCH], model(X[:BATCH], training=True))
    kernels = {name: layer_of(model, name).kernel for name in NORMS}
    return {name: np.abs(each).sum(axis=(0, 1, 2)) for name, each in tape.gradient(loss, kernels).items()}


def epoch(model, callback, number: int) -> None:
    step = step_of(model)
    for x, y in batches(2):
        step(x, y)
    callback.on_epoch_end(number)


def masks(model) -> dict[str, np.ndarray]:
    return {name: wrapper_of(model, name).scored[0].mask.numpy().astype(bool) for name in NORMS}


def silenced_in_a_loop(reset: str):
    model = wrapped(rate=0.5, epochs=3, hard_share=0.0, soft_reset=reset)
    callback = begun(model, keras.optimizers.SGD(0.05, momentum=0.9, clipnorm=1.0))
    epoch(model, callback, 0)
    found = masks(model)
    assert [(~each).sum() for each in found.values()] == [2, 2]
    return model, callback, found


def test_after_the_reset_of_all_a_filter_is_dead_and_ranks_last(seen):
    model, callback, first = silenced_in_a_loop("all")
    for name, norms in gradients(model).items():
        np.testing.assert_array_equal(norms[~first[name]], 0.0)
        assert norms[first[name]].min() > 0
    epoch(model, callback, 1)
    for name, now in masks(model).items():
        np.testing.assert_array_equal(seen[1][name][~first[name]], 0.0)
        assert seen[1][name][first[name]].min() > 0
        assert not now[~first[name]].any()
        assert not layer_of(model, name).kernel.numpy()[..., ~first[name]].any()


def test_after_the_reset_of_the_kernel_a_filter_recovers(seen):
    model, callback, first = silenced_in_a_loop("kernel")
    # All that is left of it is a constant, which a ReLU lets through where it is positive.
    layer_of(model, "b").bias.assign([0.1, -0.1] * 3)
    for name, constant in (("a", layer_of(model, "norm").beta), ("b", layer_of(model, "b").bias)):
        passes = constant.numpy()[~first[name]] > 0
        np.testing.assert_array_equal(gradients(model)[name][~first[name]] > 0, passes)
    layer_of(model, "norm").beta.assign(np.full(8, 0.1))
    epoch(model, callback, 1)
    assert seen[1]["a"][~first["a"]].min() > 0
    # The gradient behind batch norm is so large that it ranks among the strong now.
    assert masks(model)["a"][~first["a"]].all()
    assert layer_of(model, "a").kernel.numpy()[..., ~first["a"]].all()


def test_batch_norm_set_back_does_not_bring_a_filter_back():
    model, _, first = silenced_in_a_loop("all")
    norm = layer_of(model, "norm")
    norm.set_weights([np.ones(8), np.zeros(8), np.zeros(8), np.ones(8)])
    norms = gradients(model)["a"]
    np.testing.assert_array_equal(norms[~first["a"]], 0.0)
    assert norms[first["a"]].min() > 0


@pytest.mark.parametrize("kind", [keras.optimizers.Adagrad, keras.optimizers.Ftrl])
def test_accumulators_begin_again_where_they_began(kind):
    model = compiled(wrapped(small(), rate=0.5, epochs=3, hard_share=0.0), kind(0.05, initial_accumulator_value=0.2))
    fit(model, 3)
    assert np.isfinite(model(X)).all()


def test_a_slot_of_a_silenced_filter_holds_what_it_held_at_first():
    optimizer = keras.optimizers.Adagrad(0.05, initial_accumulator_value=0.2)
    model = compiled(wrapped(small(), rate=0.5, epochs=4, hard_share=0.0), optimizer)
    fit(model, 1, partial_fit=True)
    kernel = layer_of(model, "a").kernel.numpy()
    silent = ~kernel.any(axis=(0, 1, 2))
    assert silent.any()
    (slot,) = (each for each in model.optimizer.variables if each.shape == kernel.shape)
    np.testing.assert_array_equal(slot.numpy()[..., silent], np.float32(0.2))
    assert (slot.numpy()[..., ~silent] > 0.2).all()
