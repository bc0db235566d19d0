"""Filters leave in the middle of a fit, and the training goes on as if they had never mattered."""

import gc
import weakref

import numpy as np
import pytest
import tf_keras as keras

import tfmot_swd
from tests.pgp.nets import BATCH, L, Notes, X, Y, batches, compiled, fit, network, small, wrapped, wrapper_of
from tests.pgp.test_soft_pruning import slots_of, weights_of


def kept_of(seen, names=("a", "b"), share=0.5) -> dict[str, np.ndarray]:
    """Returns the filters that the first ranking has left, by the scores."""
    kept = {}
    for name in names:
        scores = seen[0][name]
        count = len(scores) - int(len(scores) - len(scores) * share)
        kept[name] = np.sort(np.argsort(scores)[-count:])
    return kept


def sliced(value: np.ndarray, layer: str, weight: str, kept) -> np.ndarray:
    """Returns by hand what stays of a weight of `network`, or of its slot."""
    if layer == "a":
        return value[..., kept["a"]]
    if layer == "norm":
        return value[kept["a"]]
    if layer == "b":
        return value[kept["b"]] if weight == "bias" else value[:, :, kept["a"]][..., kept["b"]]
    if weight == "kernel":
        return value.reshape(9, 6, 3)[:, kept["b"]].reshape(-1, 3)
    return value


OPTIMIZERS = {
    "sgd": lambda rate: keras.optimizers.SGD(rate, momentum=0.9, nesterov=True, weight_decay=0.02, clipnorm=3.0),
    "adamw": lambda rate: keras.optimizers.AdamW(rate, weight_decay=0.03, beta_1=0.8),
    "legacy": lambda rate: keras.optimizers.legacy.SGD(rate, momentum=0.9),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_optimizer_goes_on_with_the_slices_that_stay(name, seen):
    def look(model, logs):
        slots = {key: slot.numpy() for key, slot in slots_of(model.optimizer, model).items()}
        return {key: each.numpy() for key, each in weights_of(model).items()}, slots

    before, after = Notes(look), Notes(look)
    # (1 - P)^(2/1) = 1/2 of the filters stay.
    model = compiled(wrapped(rate=1 - 0.5**0.5), run_eagerly=True)
    rate = keras.optimizers.schedules.ExponentialDecay(0.05, 4, 0.5)
    model.optimizer = first = OPTIMIZERS[name](rate)
    callbacks = [before, tfmot_swd.UpdatePruningStep(), after]
    model.fit(X, Y, batch_size=BATCH, epochs=2, shuffle=False, verbose=0, callbacks=callbacks)
    kept = kept_of(seen)
    assert [len(each) for each in kept.values()] == [4, 3]
    for old, new in zip(before.found[3], after.found[3], strict=True):
        assert old.keys() == new.keys()
        for key, value in old.items():
            np.testing.assert_array_equal(new[key], sliced(value, *key[:2], kept), err_msg=str(key))
    last = model.optimizer
    assert last is not first
    assert type(last) is type(first)
    assert last.iterations.numpy() == 8
    # Of the update 7, which was made last.
    np.testing.assert_allclose(last.learning_rate(7) if name == "legacy" else last.learning_rate, 0.05 * 0.5**1.75)
    configs = [each.get_config() for each in (first, last)]
    for config in configs:
        config.pop("learning_rate")
    assert configs[0] == configs[1]
    # It went on training.
    for key, value in after.found[3][0].items():
        assert (after.found[7][0][key] != value).any()


class Mask(L.Layer):
    """Lets channels through or not."""

    def build(self, input_shape):
        self.mask = self.add_weight("mask", input_shape[-1:], initializer="ones", trainable=False)

    def call(self, inputs):
        return inputs * self.mask


def masked() -> keras.Model:
    plain = network()
    x = plain.input
    for layer in plain.layers[1:]:
        x = layer(x)
        if layer.name == "relu":
            x = Mask(name="mask_a")(x)
        if layer.name == "b":
            x = Mask(name="mask_b")(x)
    return keras.Model(plain.input, x)


@pytest.mark.parametrize(
    "optimizer", [lambda: keras.optimizers.SGD(0.05, momentum=0.9), lambda: keras.optimizers.Adam(0.01)]
)
def test_training_on_equals_the_full_model_with_its_channels_masked(optimizer, seen):
    losses = Notes(lambda model, logs: logs["loss"])
    model = compiled(wrapped(rate=1 - 0.5**0.5), optimizer())
    fit(model, 2, callbacks=[losses], batch_size=6)
    kept = kept_of(seen)

    class MaskAfterwards(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 0:
                for name, stays in kept.items():
                    self.model.get_layer(f"mask_{name}").mask.assign(np.isin(np.arange(8 if name == "a" else 6), stays))

    full = compiled(masked(), optimizer(), run_eagerly=True)
    wanted = Notes(lambda model, logs: logs["loss"])
    full.fit(X, Y, batch_size=6, epochs=2, shuffle=False, verbose=0, callbacks=[wanted, MaskAfterwards()])
    assert len(wanted.found) == 12
    np.testing.assert_allclose(losses.found, wanted.found, rtol=1e-5)
    for key, value in weights_of(full).items():
        found = weights_of(model)[key].numpy()
        np.testing.assert_allclose(found, sliced(value.numpy(), *key, kept), rtol=1e-5, atol=1e-5)
    # And the channels mattered.
    whole = compiled(network(), optimizer(), run_eagerly=True)
    other = whole.fit(X, Y, batch_size=6, epochs=2, shuffle=False, verbose=0).history["loss"][1]
    assert abs(other - wanted.found[-1]) > 1e-2


class Functions(keras.callbacks.Callback):
    """Notes in which epochs another training function is used, and how often each was traced."""

    def __init__(self):
        super().__init__()
        self.used, self.epochs, self.epoch = [], [], 0

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_begin(self, batch, logs=None):
        function = self.model.train_function
        if not self.used or function is not self.used[-1]:
            self.used.append(function)
            self.epochs.append(self.epoch)

    @property
    def traces(self) -> list[int]:
        return [each.experimental_get_tracing_count() for each in self.used]


def test_the_step_is_traced_anew_only_where_filters_have_left():
    functions, model = Functions(), compiled(wrapped(small(), rate=0.5, epochs=5, removal_frequency=2))
    callback = fit(model, 7, callbacks=[functions])
    # Of 8 filters 6.1 5.3 4.6 4.0 3.5 are to be left.
    assert [each.removed for each in callback.history] == [0, 1, 0, 1, 2]
    assert [each.soft_pruned for each in callback.history] == [1, 1, 2, 2, 0]
    assert functions.epochs == [0, 2, 4, 5]
    plain = Functions()
    compiled(small()).fit(X, Y, batch_size=BATCH, verbose=0, callbacks=[plain])
    # At first the optimizer makes its slots, which takes a trace more.
    assert functions.traces == [*plain.traces, 1, 1, 1]


def test_silencing_alone_traces_nothing():
    functions, model = Functions(), compiled(wrapped(small(), rate=0.5, epochs=4, hard_share=0.0))
    callback = fit(model, 3, callbacks=[functions], partial_fit=True)
    assert [each.soft_pruned for each in callback.history] == [2, 3, 4]
    assert functions.epochs == [0]
    assert functions.traces == [2]


@pytest.mark.parametrize(
    ("criterion", "options"), [("rpgp", {"steps_per_execution": 2}), ("pgp", {})], ids=["steps_per_execution", "pass"]
)
def test_the_larger_model_is_let_go(criterion, options):
    """TensorFlow keeps graphs for good in which a custom gradient was traced, and the memory of their variables."""
    model = compiled(wrapped(small(), rate=0.5, epochs=2, hard_share=1.0, criterion=criterion), **options)
    gone = []

    class Look(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch == 1:
                wrapper, function = wrapper_of(self.model, "a"), self.model.train_function
                graphs = [each.graph for each in function._list_all_concrete_functions()]
                slots = self.model.optimizer.momentums
                gone.extend(map(weakref.ref, (wrapper, wrapper._pool, wrapper.layer.kernel, slots[0], *graphs)))

    fit(model, 2, callbacks=[Look()], training_data=batches())
    gc.collect()
    assert len(gone) >= 10
    assert [each() for each in gone] == [None] * len(gone)
