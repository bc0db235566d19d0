"""Custom layers without a channel rule: followed through the operations in their call, or barriers."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

import tfmot_swd
from tests.channels.exactness import assert_removal_is_exact, reasons, sizes
from tfmot_swd import remove_channels
from tfmot_swd.channels.groups import channel_groups

L = keras.layers


class Own(L.Layer):
    """A layer whose weights have names and shapes that a function of its input shape gives."""

    def add_weights(self, **shapes):
        for name, shape in shapes.items():
            setattr(self, name, self.add_weight(name, shape, initializer="ones"))


class Affine(Own):
    def build(self, shape):
        self.add_weights(weight=(shape[-1],), offset=(shape[-1],))

    def call(self, x):
        return x * self.weight + self.offset


class Gain(Own):
    def build(self, shape):
        self.add_weights(gain=())

    def call(self, x):
        return x * self.gain


class Positions(Own):
    def build(self, shape):
        self.add_weights(table=(1, *shape[1:]))

    def call(self, x):
        return x + self.table


class Gelu(L.Layer):
    def call(self, x):
        return 0.5 * x * (1.0 + tf.tanh(0.8 * (x + 0.04 * tf.pow(x, 3))))


class SharedNoise(L.Dropout):
    def __init__(self, **options):
        super().__init__(0.2, noise_shape=(None, 1, 1, 1), **options)

    def _get_noise_shape(self, inputs):
        shape = keras.backend.shape(inputs)
        return tuple(shape[axis] if size is None else size for axis, size in enumerate(self.noise_shape))

    def get_config(self):
        return {"name": self.name}


class DropPath(L.Layer):
    def call(self, x, training=None):
        if not training:
            return x
        return x * tf.floor(0.8 + tf.random.uniform((tf.shape(x)[0], 1, 1, 1))) / 0.8


class Excite(Own):
    def build(self, shape):
        self.add_weights(slope=(shape[-1],))

    def call(self, x):
        return x * tf.sigmoid(tf.reduce_mean(x, [1, 2], keepdims=True) * self.slope)


class WithActivation(Own):
    def build(self, shape):
        self.add_weights(weight=(shape[-1],))
        self.activation = L.Activation("swish")

    def call(self, x):
        return self.activation(x * self.weight)


class Frozen(Own):
    """Normalizes by numbers that stay as they are, which must be positive."""

    def build(self, shape):
        self.add_weights(gamma=(shape[-1],), variance=(shape[-1],))

    def call(self, x):
        return x * self.gamma * tf.math.rsqrt(self.variance + 1e-3)


FOLLOWED = [Affine, Gain, Positions, Gelu, SharedNoise, DropPath, Excite, WithActivation, Frozen]


class Gate(Own):
    """Reads all channels."""

    def build(self, shape):
        self.add_weights(kernel=(shape[-1], shape[-1]))

    def call(self, x):
        return x * tf.sigmoid(tf.matmul(tf.reduce_mean(x, [1, 2], keepdims=True), self.kernel))


class Reads(Own):
    """Reads all channels, and makes as many as it is told to."""

    def build(self, shape):
        self.add_weights(kernel=(shape[-1], 3))

    def call(self, x):
        return tf.matmul(x, self.kernel)


class RootMeanSquare(Own):
    def build(self, shape):
        self.add_weights(weight=(shape[-1],))

    def call(self, x):
        return x * tf.math.rsqrt(tf.reduce_mean(x * x, -1, keepdims=True)) * self.weight


class ByWidth(Own):
    """Divides by the number of channels that it was built for."""

    def build(self, shape):
        self.add_weights(weight=(shape[-1],))
        self.width = float(shape[-1])

    def call(self, x):
        return x * self.weight / self.width


class Waves(Own):
    """Adds numbers that depend on how many channels there are."""

    def build(self, shape):
        self.waves = tf.sin(tf.range(shape[-1], dtype=tf.float32) / shape[-1])

    def call(self, x):
        return x + self.waves


class InTraining(L.Layer):
    """Looks across channels in training alone."""

    def call(self, x, training=False):
        return x - tf.reduce_mean(x, -1, keepdims=True) if training else x


class Counts(Own):
    """Has state that its call changes."""

    def build(self, shape):
        self.count = self.add_weight("count", (shape[-1],), trainable=False)

    def call(self, x):
        self.count.assign_add(tf.ones_like(self.count))
        return x


class FixedWidth(L.Layer):
    """Has a size that its config gives."""

    def __init__(self, width=6, **options):
        super().__init__(**options)
        self.width = width
        self.weight = self.add_weight("weight", (width,))

    def get_config(self):
        return {**super().get_config(), "width": self.width}

    def call(self, x):
        return x * self.weight


class Inside(L.Layer):
    """Has a layer with weights inside."""

    def build(self, shape):
        self.convolution = L.Conv2D(shape[-1], 1)

    def call(self, x):
        return self.convolution(x)


class Masks(L.Layer):
    def compute_mask(self, x, mask=None):
        return tf.reduce_any(x > 0, -1)

    def call(self, x):
        return 2.0 * x


class TakesMask(Own):
    """Looks across channels where it gets a mask."""

    supports_masking = True

    def build(self, shape):
        self.add_weights(weight=(shape[-1],))

    def call(self, x, mask=None):
        return x * self.weight - (0.0 if mask is None else tf.reduce_mean(x, -1, keepdims=True))


class ByValue(Own):
    """Does what the value of a weight says."""

    def build(self, shape):
        self.add_weights(weight=(shape[-1],))
        self.on = self.add_weight("on", (), initializer="zeros", trainable=False)

    def call(self, x):
        return x * self.weight if self.on > 0.5 else x - tf.reduce_mean(x, -1, keepdims=True)


class ByValueInGraph(ByValue):
    def call(self, x):
        return tf.cond(self.on > 0.5, lambda: x * self.weight, lambda: x - tf.reduce_mean(x, -1, keepdims=True))


class FromTheList(Own):
    """Finds its weight in the list of all."""

    def build(self, shape):
        self.add_weights(weight=(shape[-1],))

    def call(self, x):
        return x * tf.reverse(self.weights[0], [0])


class InKeywords(Own):
    """Looks across channels in training alone, which it asks for in a roundabout way."""

    def build(self, shape):
        self.add_weights(weight=(shape[-1],))

    def call(self, x, **options):
        return x * self.weight - (tf.reduce_mean(x, -1, keepdims=True) if options.get("training") else 0.0)


class InPhase(Own):
    def build(self, shape):
        self.add_weights(weight=(shape[-1],))

    def call(self, x):
        return keras.backend.in_train_phase(x - tf.reduce_mean(x, -1, keepdims=True), x * self.weight)


class AloneOtherwise(L.Layer):
    """Does something else where there is one channel."""

    def call(self, x):
        return tf.sigmoid(x) if x.shape[-1] == 1 else x


class EvenWidth(Own):
    def build(self, shape):
        if shape[-1] % 2:
            raise ValueError("an even number of channels")
        self.add_weights(weight=(shape[-1],))

    def call(self, x):
        return x * self.weight


BARRIERS = [
    *(Gate, Reads, RootMeanSquare, ByWidth, Waves, InTraining, Counts, FixedWidth, Inside, Masks, ByValue, FromTheList),
    *(ByValueInGraph, InKeywords, InPhase, AloneOtherwise, EvenWidth),
]


def between(layer) -> keras.Model:
    image = L.Input((4, 4, 3))
    x = layer(L.Conv2D(6, 1, name="a")(image))
    return keras.Model(image, L.Dense(2, name="d")(L.Flatten()(x)))


@pytest.mark.parametrize("kind", FOLLOWED, ids=lambda kind: kind.__name__)
def test_a_layer_is_followed_whose_weights_act_on_each_channel(kind):
    net = between(kind(name="own"))

    small = assert_removal_is_exact(net, train=kind not in (SharedNoise, DropPath))

    assert sizes(net) == {"a": 6}
    assert small.get_layer("a").filters < 6
    assert type(small.get_layer("own")) is kind


@pytest.mark.parametrize("kind", BARRIERS, ids=lambda kind: kind.__name__)
def test_another_layer_is_a_barrier(kind):
    net = between(kind(name="own"))
    groups = channel_groups(net)

    assert len(groups) == 0
    assert reasons(net)["a"] == (f"own: no channel rule for {kind.__name__}",)
    assert groups.trace.failures == []


def test_a_mask_that_keras_passes_on_is_a_mask():
    def masked(layer):
        steps = L.Input((5, 3))
        x = TakesMask(name="own")(L.Dense(6, name="a")(layer(steps)))
        return keras.Model(steps, L.Dense(2)(L.Flatten()(x)))

    assert sizes(masked(L.Masking())) == {}
    assert sizes(masked(L.ReLU())) == {"a": 6}


@pytest.mark.parametrize(
    ("method", "kind"),
    [("unstructured", Affine), ("structured", Affine), ("structured", Positions), ("progressive", DropPath)],
)
def test_it_is_followed_inside_the_wrappers_of_every_method(kind, method):
    image = L.Input((4, 4, 3))
    x = kind(name="own")(L.Conv2D(6, 1, name="a")(image))
    net = keras.Model(image, L.Dense(2, name="d")(L.GlobalAveragePooling2D()(x)))
    if method == "unstructured":
        pruned = tfmot_swd.prune_selective_decay(net, tfmot_swd.SelectiveDecay(0.5, end_step=4))
        assert list(sizes(pruned).values()) == [6]
        assert_removal_is_exact(pruned)
        return
    if method == "structured":
        schedule = tfmot_swd.StructuredDecay(tfmot_swd.Budget(parameters=0.6), end_step=4)
        pruned = tfmot_swd.prune_selective_decay(net, schedule)
    else:
        pruned = tfmot_swd.prune_progressive_gradient(net, tfmot_swd.ProgressiveRate(0.5, epochs=1))
    pruned.compile("sgd", "mse")
    x = np.random.default_rng(0).normal(size=(8, 4, 4, 3)).astype("float32")
    callbacks = [tfmot_swd.UpdatePruningStep()]
    pruned.fit(x, np.ones((8, 2)), batch_size=2, epochs=1, verbose=0, callbacks=callbacks)

    small = tfmot_swd.strip_pruning(pruned)

    assert small.get_layer("a").filters < 6
    assert type(small.get_layer("own")) is kind
    np.testing.assert_allclose(small.predict(x, verbose=0), pruned.predict(x, verbose=0), atol=1e-5)


def test_a_mask_counts_inside_a_wrapper_too():
    class Table(TakesMask):
        def build(self, shape):
            self.add_weights(weight=(1, *shape[1:]))

    steps = L.Input((5, 3))

    def wrapped(layer):
        x = Table(name="own")(L.Dense(6, name="a")(layer(steps)))
        net = keras.Model(steps, L.Dense(2)(L.Flatten()(x)))
        return tfmot_swd.prune_selective_decay(net, tfmot_swd.SelectiveDecay(0.5, end_step=4))

    assert list(sizes(wrapped(L.ReLU())).values()) == [6]
    assert sizes(wrapped(L.Masking())) == {}


def test_functions_of_one_name_are_two_functions():
    def make(mixes):
        def act(x):
            return x - tf.reduce_mean(x, -1, keepdims=True) if mixes else tf.nn.tanh(x)

        return act

    class Act(Own):
        def __init__(self, activation=None, **options):
            super().__init__(**options)
            self.activation = keras.activations.get(activation)

        def build(self, shape):
            self.add_weights(weight=(shape[-1],))

        def call(self, x):
            return self.activation(x * self.weight)

        def get_config(self):
            return {**super().get_config(), "activation": keras.activations.serialize(self.activation)}

    image = L.Input((4, 4, 3))
    x = Act(make(False), name="one")(L.Conv2D(6, 1, name="a")(image))
    x = Act(make(True), name="two")(L.Conv2D(6, 1, name="b")(x))
    net = keras.Model(image, L.Dense(2)(L.Flatten()(x)))

    assert sizes(net) == {"a": 6}
    assert_removal_is_exact(net)


def test_random_numbers_drawn_later_stay_as_they_are():
    def drawn(plan):
        keras.backend.clear_session()
        keras.utils.set_random_seed(3)
        net = between(DropPath(name="own"))
        if plan:
            channel_groups(net)
        return tf.random.uniform((2,)).numpy(), keras.initializers.get("uniform")((2,)).numpy()

    for one, other in zip(drawn(True), drawn(False), strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_slices_of_a_weight_are_those_of_its_channels():
    net = keras.Sequential([L.Input((2,)), L.Dense(3, name="a"), Affine(name="own"), L.Dense(1)])
    net.get_layer("own").set_weights([np.array([1.0, 2.0, 3.0]), np.array([4.0, 5.0, 6.0])])

    weight, offset = remove_channels(net, {"a": [True, False, True]}).get_layer("own").get_weights()

    assert weight.tolist() == [1.0, 3.0]
    assert offset.tolist() == [4.0, 6.0]


def test_two_inputs_and_two_calls_are_tied():
    class Sum(Own):
        def build(self, shapes):
            self.add_weights(weight=(shapes[0][-1],))

        def call(self, both):
            return both[0] + self.weight * both[1]

    image = L.Input((4, 4, 3))
    a, b, c = (L.Conv2D(6, 1, name=name)(image) for name in "abc")
    shared = Sum(name="own")
    net = keras.Model(image, L.Dense(2)(L.Flatten()(L.Concatenate()([shared([a, b]), shared([b, c])]))))

    assert sizes(net) == {"a": 6}
    assert_removal_is_exact(net, train=True)


def test_the_layer_itself_is_not_called():
    calls = []

    class Noted(Affine):
        def call(self, x):
            calls.append(self)
            return super().call(x)

    net = between(Noted(name="own"))
    own, before = net.get_layer("own"), vars(net.get_layer("own")).copy()
    calls.clear()

    channel_groups(net)

    assert calls
    assert all(each is not own for each in calls)
    assert vars(own) == before


def test_an_attribute_set_from_outside_is_no_part_of_the_config():
    class Scaled(Own):
        factor = 1.0

        def build(self, shape):
            self.add_weights(weight=(shape[-1],))
            self.factor = self.factor * 1.0

        def call(self, x):
            return x * self.weight * self.factor

    layer, like = Scaled(name="own"), Scaled(name="other")
    image = L.Input((4, 4, 3))
    x = like(L.Conv2D(6, 1, name="b")(layer(L.Conv2D(6, 1, name="a")(image))))
    net = keras.Model(image, L.Dense(2)(L.Flatten()(x)))
    assert sizes(net) == {"a": 6, "b": 6}

    for other in (3.0, (3.0,), tf.constant(3.0), np.float32(3.0)):
        layer.factor = like.factor = other
        assert sizes(net) == {}
        assert reasons(net)["a"] == ("own: no channel rule for Scaled",)


def test_layers_of_one_config_are_tried_once(monkeypatch):
    tried = []
    from tfmot_swd.channels import walk

    follows = walk.follows_sizes
    monkeypatch.setattr(walk, "follows_sizes", lambda *args: tried.append(args) or follows(*args))
    net = keras.Sequential([L.Input((3,)), *(each for _ in range(4) for each in (L.Dense(6), Affine())), L.Dense(1)])

    assert len(sizes(net)) == 4
    assert len(tried) == 1
