"""Layers inside custom layers are found, decayed, cut and counted; what is not counted is told."""

import logging
import warnings

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_model_optimization as tfmot
import tf_keras as keras

import tfmot_swd
from tfmot_swd.keras2.layer_weights import kernels_of
from tfmot_swd.layers.prunable import counted_weights
from tfmot_swd.pruning.plan import plan_pruning
from tfmot_swd.swd.strength import DecayStrength

L = keras.layers
STEPS, BATCH = 4, 4
X = np.random.default_rng(0).normal(size=(STEPS * BATCH, 4, 4, 2)).astype("float32")
Y = np.random.default_rng(1).integers(0, 3, STEPS * BATCH)


@keras.utils.register_keras_serializable("custom_layers_test")
class Block(L.Layer):
    """A residual block with its layers in attributes, a list and a dictionary, one of them in another custom layer."""

    def __init__(self, filters, deep=True, **kwargs):
        super().__init__(**kwargs)
        self.filters, self.deep = filters, deep
        self.first = L.Conv2D(filters, 1)
        self.rest = [L.Conv2D(filters, 1), L.BatchNormalization()]
        self.by_name = {"depthwise": L.DepthwiseConv2D(3, padding="same"), "dense": L.Dense(filters)}
        self.inner = Block(filters, deep=False) if deep else None

    def call(self, x):
        found = self.rest[1](self.rest[0](tf.nn.relu(self.first(x))))
        found = self.by_name["dense"](self.by_name["depthwise"](found))
        return found if self.inner is None else found + self.inner(found)

    def get_config(self):
        return {**super().get_config(), "filters": self.filters, "deep": self.deep}


@keras.utils.register_keras_serializable("custom_layers_test")
class Late(L.Layer):
    """Makes its layers when it is built, takes two tensors, and holds a Sequential model."""

    def build(self, shape):
        self.parts = keras.Sequential([L.Dense(5, activation="relu"), L.Dense(3)])
        self.attention = L.MultiHeadAttention(2, 3)
        super().build(shape)

    def call(self, x, other):
        return self.attention(self.parts(x), self.parts(other))


@keras.utils.register_keras_serializable("custom_layers_test")
class Matrix(L.Layer):
    """Owns a matrix itself."""

    def __init__(self, units=3, **kwargs):
        super().__init__(**kwargs)
        self.units = units

    def build(self, shape):
        self.matrix = self.add_weight("matrix", (shape[-1], self.units))

    def call(self, x):
        return x @ self.matrix

    def get_config(self):
        return {**super().get_config(), "units": self.units}


@keras.utils.register_keras_serializable("custom_layers_test")
class Known(Matrix, tfmot.sparsity.keras.PrunableLayer):
    """Says itself that its dense layer is pruned and its matrix is not."""

    def build(self, shape):
        super().build(shape)
        self.dense = L.Dense(3)

    def call(self, x):
        return self.dense(super().call(x))

    def get_prunable_weights(self):
        return [self.dense.kernel]


def with_blocks() -> keras.Model:
    return keras.Sequential(
        [
            L.Conv2D(6, 1, input_shape=(4, 4, 2), name="stem"),
            Block(6, name="block"),
            L.GlobalAveragePooling2D(),
            L.Dense(3, name="head"),
        ]
    )


def with_late() -> keras.Model:
    inputs = keras.Input((4, 4, 2))
    x = L.Reshape((16, 2))(inputs)
    x = Late(name="late")(x, L.ReLU()(x))
    return keras.Model(inputs, L.Dense(3, name="head")(L.GlobalAveragePooling1D()(x)))


def with_layer(layer) -> keras.Model:
    return keras.Sequential([L.Flatten(input_shape=(4, 4, 2)), layer, L.Dense(3, name="head")])


def compiled(model: keras.Model, optimizer=None) -> keras.Model:
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer or keras.optimizers.SGD(0.05, momentum=0.9), loss)
    return model


def fit(model: keras.Model, epochs: int = 1, **options):
    callback = tfmot_swd.UpdatePruningStep(**options)
    model.fit(X, Y, batch_size=BATCH, epochs=epochs, shuffle=False, verbose=0, callbacks=[callback])
    return callback


def wrapped(net: keras.Model, epochs: int = 1, **options) -> keras.Model:
    schedule = tfmot_swd.SelectiveDecay(0.8, end_step=epochs * STEPS, **options)
    return tfmot_swd.prune_selective_decay(net, schedule)


@pytest.mark.parametrize(
    ("make", "counted"),
    [
        # stem, head; of each block two convolutions and the dense layer with its bias; depthwise kernels stay whole.
        (with_blocks, 12 + 21 + 2 * (36 + 36 + 42)),
        # Two dense layers, and the four kernels of attention.
        (with_late, 12 + (15 + 18) + 4 * 18),
    ],
)
def test_layers_inside_are_counted_decayed_and_cut(make, counted):
    net = make()
    assert plan_pruning(net).prunable_weights == counted
    model = compiled(wrapped(net))
    callback = fit(model)
    assert callback.history[-1].prunable_weights == counted
    report = tfmot_swd.sparsity_report(tfmot_swd.strip_pruning(model))
    assert (report.prunable_weights, report.nonzero_prunable_weights) == (counted, counted - int(0.8 * counted))
    np.testing.assert_allclose(
        tfmot_swd.strip_pruning(model).predict(X, verbose=0), model.predict(X, verbose=0), atol=1e-5
    )


def test_each_weight_is_named_once():
    block = Block(4)
    block.build((None, 4, 4, 4))
    block(np.zeros((1, 4, 4, 4), "float32"))
    block.again = [block.first, block.inner.first]
    names = [(part.name, weight.shape.rank) for part in (block, block.inner) for weight in counted_weights(part)]
    assert len(names) == 8 + 4
    assert len({id(each) for each in counted_weights(block)}) == 8
    # Kernels: three convolutions and a dense layer a block.
    assert len(kernels_of(block)) == 8


@pytest.mark.parametrize(
    ("make", "ending", "targets"),
    [
        (with_blocks, "", "all"),
        (with_late, ".keras", "kernels"),
        (with_late, ".h5", "kernels"),
        (with_blocks, "weights", "kernels"),
    ],
)
def test_saved_and_loaded_in_the_middle_goes_on_exactly(make, ending, targets, tmp_path):
    net = make()
    # Keras reads no state of the optimizer from a SavedModel.
    optimizer = None if ending else keras.optimizers.SGD(0.05)
    model = compiled(wrapped(net, epochs=2, targets=targets), optimizer)
    fit(model, partial_fit=True)
    if ending == "weights":
        other = compiled(wrapped(net, epochs=2, targets=targets))
        checkpoint = tf.train.Checkpoint(model=model, optimizer=model.optimizer)
        path = checkpoint.write(str(tmp_path / "state"))
        other.optimizer.build(other.trainable_variables)
        tf.train.Checkpoint(model=other, optimizer=other.optimizer).read(path).assert_existing_objects_matched()
    else:
        model.save(tmp_path / f"model{ending}")
        other = keras.models.load_model(tmp_path / f"model{ending}")
    for one, two in zip(model.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)
    for each in (model, other):
        fit(each)
    one, two = (tfmot_swd.strip_pruning(each) for each in (model, other))
    for value, again in zip(one.get_weights(), two.get_weights(), strict=True):
        np.testing.assert_allclose(value, again, atol=1e-6)
    report = tfmot_swd.sparsity_report(two)
    assert report.nonzero_prunable_weights == report.prunable_weights - int(0.8 * report.prunable_weights)


def test_loaded_after_the_cut_its_zeros_stay(tmp_path):
    model = compiled(wrapped(with_late()))
    fit(model)
    model.save(tmp_path / "model")
    loaded = keras.models.load_model(tmp_path / "model")
    fit(loaded)
    report = tfmot_swd.sparsity_report(tfmot_swd.strip_pruning(loaded))
    assert report.nonzero_prunable_weights == report.prunable_weights - int(0.8 * report.prunable_weights)


def test_mixed_precision():
    keras.mixed_precision.set_global_policy("mixed_float16")
    net = with_blocks()
    keras.mixed_precision.set_global_policy("float32")
    model = compiled(
        wrapped(net), keras.mixed_precision.LossScaleOptimizer(keras.optimizers.SGD(0.01), initial_scale=2)
    )
    fit(model)
    report = tfmot_swd.sparsity_report(tfmot_swd.strip_pruning(model))
    assert report.nonzero_prunable_weights == report.prunable_weights - int(0.8 * report.prunable_weights)


def test_a_frozen_layer_inside_waits():
    net = with_blocks()
    net.get_layer("block").first.trainable = False
    plan = plan_pruning(net)
    assert (plan.frozen_weights, plan.prunable_weights) == (36, 12 + 21 + 36 + 42 + 114)
    model = wrapped(net)
    block = model.layers[1].layer
    assert [block.first.trainable, block.inner.first.trainable] == [False, True]
    kernel = block.first.kernel.numpy()
    with pytest.warns(tfmot_swd.PruningWarning, match="stay dense.*Received: block, 36 of"):
        callback = fit(compiled(model))
    np.testing.assert_array_equal(block.first.kernel.numpy(), kernel)
    assert callback.history[-1].prunable_weights == plan.prunable_weights
    zeros = sum(int((each.numpy() == 0).sum()) for each in counted_weights(block))
    zeros += sum(int((each.numpy() == 0).sum()) for name in (0, -1) for each in counted_weights(model.layers[name]))
    assert zeros == int(0.8 * plan.prunable_weights)


def test_the_weight_decay_of_a_layer_inside_is_found():
    layer = Block(6)
    for part in (layer.first, layer.inner.first):
        part.kernel_regularizer = keras.regularizers.L2(2.5e-4)
    schedule = tfmot_swd.SelectiveDecay.paper(0.8, end_step=4)
    holder = type("Holder", (), {"layer": layer})()
    assert DecayStrength.of(schedule, keras.optimizers.SGD(0.1), [holder]).mu == pytest.approx(5e-4)


def test_a_prunable_layer_has_the_last_word():
    net = with_layer(Known(4))
    with warnings.catch_warnings():
        warnings.simplefilter("error", tfmot_swd.PruningWarning)
        model = wrapped(net)
    assert plan_pruning(net).prunable_weights == 4 * 3 + 12
    fit(compiled(model))
    known = tfmot_swd.strip_pruning(model).layers[1]
    assert known.matrix.numpy().all()
    assert not known.dense.kernel.numpy().all()


def test_what_is_not_counted_is_told_with_its_share():
    net = keras.Sequential(
        [L.Flatten(input_shape=(4, 4, 2)), Matrix(8, name="matrix"), L.Dense(6, name="hidden"), L.Dense(3, name="head")]
    )
    whole = 32 * 8 + 8 * 6 + 6 * 3
    message = rf"matrix \(Matrix: 256\)\..*PrunableLayer.*skip.*Received: 256 of {whole} kernel weights \(79\.50%\)"
    with pytest.warns(tfmot_swd.PruningWarning, match=message):
        model = wrapped(net)
    with warnings.catch_warnings():
        warnings.simplefilter("error", tfmot_swd.PruningWarning)
        tfmot_swd.prune_selective_decay(net, tfmot_swd.SelectiveDecay(0.8, end_step=STEPS), skip=["matrix"])
    plan = plan_pruning(net)
    assert (plan.kernels, plan.prunable_kernels, plan.prunable_weights) == (whole, 66, 75)
    assert [(row.layer, row.unknown_kernels) for row in plan.unknown] == [("matrix", 256)]
    text = " ".join(str(plan).split())
    assert f"75 prunable weights: 66 of {whole} kernel weights (20.50%)" in text
    status = fit(compiled(model)).history[-1]
    assert status.kernels == whole
    # All numbers agree: those in training, of the report, and on the way to a device.
    report = tfmot_swd.sparsity_report(tfmot_swd.strip_pruning(model, remove_channels=False))
    assert report.kernels - report.nonzero_kernels == status.targeted_kernels
    assert status.logs()["targeted_kernel_share"] == status.targeted_kernels / whole
    assert f"{report.nonzero_kernels} of {whole} kernel weights" in " ".join(str(report).split())
    totals = tfmot_swd.device_report(net, tfmot_swd.strip_pruning(model, remove_channels=False)).totals
    assert (totals.kernels_before, totals.nonzero_kernels_after) == (whole, report.nonzero_kernels)


def test_a_small_part_is_told_in_the_log_alone(caplog):
    net = keras.Sequential([L.Dense(40, input_shape=(40,)), L.Dense(3, name="three"), Matrix(3), L.Dense(3)])
    with warnings.catch_warnings(), caplog.at_level(logging.INFO, logger="absl"):
        warnings.simplefilter("error", tfmot_swd.PruningWarning)
        wrapped(net)
    assert "kernel weights that the rate does not count" in caplog.text


@pytest.mark.parametrize("make", [with_blocks, lambda: keras.applications.MobileNet((32, 32, 3), 0.25, weights=None)])
def test_depthwise_kernels_are_no_news(make):
    with warnings.catch_warnings():
        warnings.simplefilter("error", tfmot_swd.PruningWarning)
        wrapped(make())


@pytest.mark.parametrize("method", ["channels", "filters"])
def test_channels_of_a_custom_layer_stay_and_are_told(method):
    net = keras.Sequential(
        [
            L.Conv2D(8, 1, input_shape=(4, 4, 2), name="free"),
            L.Conv2D(6, 1, name="stem"),
            Block(6, name="block"),
            L.GlobalAveragePooling2D(),
            L.Dense(3, name="head"),
        ]
    )

    def wrap(**options):
        if method == "channels":
            return tfmot_swd.prune_selective_decay(net, tfmot_swd.StructuredDecay(0.03, end_step=STEPS), **options)
        return tfmot_swd.prune_progressive_gradient(net, tfmot_swd.ProgressiveRate(0.5, epochs=1), "l1", **options)

    inside = 2 * (36 + 36 + 36 + 54)
    message = rf"The channels of these layers.*block \(Block: {inside}\)\. .*register_layer.*Received: {inside} of "
    with pytest.warns(tfmot_swd.PruningWarning, match=message):
        model = wrap()
    with warnings.catch_warnings():
        warnings.simplefilter("error", tfmot_swd.PruningWarning)
        wrap(skip=["block"])
    fit(compiled(model))
    small = tfmot_swd.strip_pruning(model)
    assert small.get_layer("stem").filters == 6
    assert small.get_layer("free").filters < 8


def test_a_layer_inside_of_two_is_refused():
    shared = L.Dense(3)

    class Shares(L.Layer):
        def __init__(self, dense=None, **kwargs):
            super().__init__(**kwargs)
            self.dense = L.Dense(3) if dense is None else dense

        def call(self, x):
            return self.dense(x)

        def get_config(self):
            return {**super().get_config(), "dense": None}

    net = keras.Sequential([L.Dense(3, input_shape=(3,)), Shares(shared, name="one"), Shares(shared, name="two")])
    assert plan_pruning(net).prunable_weights == 12 + 12
    assert tfmot_swd.sparsity_report(net).parameters == 24
    with pytest.raises(ValueError, match="share a weight cannot be copied.*Received: '.*kernel:0' in 'one' and 'two'"):
        wrapped(net)


def test_a_layer_that_its_copy_shares_is_refused():
    outside = L.Dense(3)

    class Borrows(L.Layer):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.dense = outside

        def call(self, x):
            return self.dense(x)

    net = keras.Sequential([L.Dense(3, input_shape=(3,)), Borrows(name="borrows")])
    with pytest.raises(ValueError, match="shares weights with the layer itself.*in 'borrows' and its copy"):
        wrapped(net)


def test_a_copy_with_fewer_layers_inside_is_refused_with_a_way_out():
    class Varies(L.Layer):
        """Its config does not tell how many layers it has."""

        def __init__(self, count=1, **kwargs):
            super().__init__(**kwargs)
            self.parts = [L.Dense(3) for _ in range(count)]

        def get_config(self):
            return L.Layer.get_config(L.Layer(name=self.name))

        def call(self, x):
            return sum(part(x) for part in self.parts)

    net = with_layer(Varies(2, name="varies"))
    with pytest.raises(ValueError, match="fewer layers inside.*skip.*Received: 'varies' with 2 .* its copy with 1"):
        wrapped(net)


def test_a_custom_cell_is_pruned_by_the_layers_in_it():
    class Cell(L.Layer):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.state_size, self.dense = 3, L.Dense(3)

        def call(self, x, states):
            found = tf.tanh(self.dense(tf.concat([x, states[0]], -1)))
            return found, [found]

    with keras.utils.custom_object_scope({"Cell": Cell}):
        net = keras.Sequential([L.Reshape((16, 2), input_shape=(4, 4, 2)), L.RNN(Cell()), L.Dense(3)])
        assert plan_pruning(net).prunable_weights == 5 * 3 + 3 + 12
        model = compiled(wrapped(net))
        fit(model)
        report = tfmot_swd.sparsity_report(tfmot_swd.strip_pruning(model))
    assert report.nonzero_prunable_weights == 30 - 24
