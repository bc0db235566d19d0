"""Small networks, data and runs that the tests of Progressive Gradient Pruning share."""

from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as keras

import tfmot_swd
from tfmot_swd.pruning.wrapper import PruningWrapper

L = keras.layers
BATCH = 8
_RNG = np.random.default_rng(0)
X = _RNG.normal(size=(4 * BATCH, 6, 6, 2)).astype(np.float32)
Y = _RNG.integers(0, 3, 4 * BATCH)

# So little that int(N - N0·share) stays 0 in small layers: filters are ranked, none is weak.
IDLE = 0.01


def network(regularizer: Any = None, dropout: float = 0.0, name: str = "net") -> keras.Model:
    """conv a (8 filters, no bias) → batch norm → relu → conv b (6) → relu → flatten → head (3)."""
    keras.utils.set_random_seed(3)
    inputs = keras.Input((6, 6, 2))
    x = L.Conv2D(8, 3, use_bias=False, kernel_regularizer=regularizer, name="a")(inputs)
    x = L.ReLU(name="relu")(L.BatchNormalization(name="norm")(x))
    x = L.Dropout(dropout, name="dropout")(x) if dropout else x
    x = L.Conv2D(6, 2, activation="relu", kernel_regularizer=regularizer, name="b")(x)
    return keras.Model(inputs, L.Dense(3, name="head")(L.Flatten(name="flatten")(x)), name=name)


def small(name: str = "net") -> keras.Model:
    """conv a (8) → relu → flatten → head (3): little to trace."""
    keras.utils.set_random_seed(3)
    conv = L.Conv2D(8, 3, activation="relu", name="a")
    return keras.Sequential([keras.Input((6, 6, 2)), conv, L.Flatten(), L.Dense(3, name="head")], name=name)


def residual() -> keras.Model:
    """stem (4) → block of a1, a2 (4) → block of b1, b2 (6) with a shortcut convolution → pooling → head."""
    keras.utils.set_random_seed(5)
    inputs = keras.Input((6, 6, 2))
    x = L.ReLU()(L.BatchNormalization()(L.Conv2D(4, 3, padding="same", name="stem")(inputs)))
    y = L.ReLU()(L.BatchNormalization()(L.Conv2D(4, 3, padding="same", name="a1")(x)))
    x = L.ReLU()(L.Add()([x, L.BatchNormalization()(L.Conv2D(4, 3, padding="same", name="a2")(y))]))
    y = L.ReLU()(L.BatchNormalization()(L.Conv2D(6, 3, padding="same", strides=2, name="b1")(x)))
    y = L.BatchNormalization()(L.Conv2D(6, 3, padding="same", name="b2")(y))
    x = L.ReLU()(L.Add()([y, L.Conv2D(6, 1, strides=2, name="shortcut")(x)]))
    return keras.Model(inputs, L.Dense(3, name="head")(L.GlobalAveragePooling2D()(x)))


def loss_of(labels: Any, logits: Any) -> tf.Tensor:
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)(labels, logits)


def sgd() -> keras.optimizers.Optimizer:
    return keras.optimizers.SGD(0.05, momentum=0.9)


def wrapped(
    net: keras.Model | None = None, rate: float = IDLE, epochs: int = 1, criterion: Any = "rpgp", **settings: Any
) -> keras.Model:
    """Returns the wrapped model; settings of the schedule go to the schedule."""
    of_rate = {
        name: settings.pop(name) for name in ("curve", "removal_frequency", "updates_per_epoch") if name in settings
    }
    schedule = tfmot_swd.ProgressiveRate(rate, epochs, **of_rate)
    return tfmot_swd.prune_progressive_gradient(network() if net is None else net, schedule, criterion, **settings)


def compiled(model: keras.Model, optimizer: Any = None, **options: Any) -> keras.Model:
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer or sgd(), loss, metrics=["accuracy"], **options)
    return model


def batches(count: int = 4) -> tf.data.Dataset:
    return tf.data.Dataset.from_tensor_slices((X, Y)).batch(BATCH).take(count)


def fit(
    model: keras.Model,
    epochs: int = 1,
    callbacks: Any = (),
    training_data: Any = None,
    partial_fit: bool = False,
    data: Any = (X, Y),
    **options: Any,
) -> tfmot_swd.UpdatePruningStep:
    """Fits without shuffling and returns the callback."""
    callback = tfmot_swd.UpdatePruningStep(training_data=training_data, partial_fit=partial_fit)
    options = {"shuffle": False, "verbose": 0, "epochs": epochs, "callbacks": [callback, *callbacks], **options}
    if isinstance(data, tuple):
        options = {"batch_size": BATCH, **options}
    model.fit(*(data if isinstance(data, tuple) else (data,)), **options)
    return callback


def begun(model: keras.Model, optimizer: Any = None, **options: Any) -> tfmot_swd.UpdatePruningStep:
    """Returns the callback of a custom loop that is about to start."""
    model.optimizer = optimizer or sgd()
    callback = tfmot_swd.UpdatePruningStep(**options)
    callback.set_model(model)
    callback.on_train_begin()
    return callback


def step_of(model: keras.Model) -> Any:
    """Returns a training step for a custom loop; to be made anew when filters have left."""

    def step(x: Any, y: Any) -> tf.Tensor:
        with tf.GradientTape() as tape:
            loss = tf.add_n([loss_of(y, model(x, training=True)), *model.losses])
        model.optimizer.minimize(loss, model.trainable_variables, tape=tape)
        return loss

    return step


def layer_of(model: keras.Model, name: str) -> Any:
    """Returns a layer by the name that it had before it was wrapped, without its wrapper."""
    # The wrapper of an output has the name of its layer, and stands before it.
    found = [each for each in model.submodules if isinstance(each, L.Layer) and each.name == name]
    if not found:
        raise KeyError(name)
    return next((each for each in found if not isinstance(each, PruningWrapper)), found[0])


def wrapper_of(model: keras.Model, name: str) -> tfmot_swd.pgp.PruneProgressiveGradient:
    return layer_of(model, f"prune_progressive_gradient_{name}")


def set_kernel(model: keras.Model, name: str, norms: Any) -> None:
    """Gives each filter of a layer equal weights of this L1 norm."""
    kernel = layer_of(model, name).kernel
    axis = -2 if "transpose" in type(layer_of(model, name)).__name__.lower() else -1
    shape = [1] * kernel.shape.rank
    shape[axis] = -1
    size = np.prod(kernel.shape) / kernel.shape[axis]
    kernel.assign(np.broadcast_to(np.reshape(np.asarray(norms, np.float32) / size, shape), kernel.shape))


def widths(model: keras.Model) -> dict[str, int]:
    """Returns how many filters or units each layer has that has some, wrapped or not."""
    found = {}
    for each in model.submodules:
        if isinstance(each, L.Layer) and not isinstance(each, L.Wrapper | L.StackedRNNCells):
            size = getattr(each, "filters", None) or getattr(each, "units", None)
            if size and not type(each).__name__.endswith("Cell"):
                found[each.name] = size
    return found


class Notes(keras.callbacks.Callback):
    """Notes things of the model at each batch, before or after `UpdatePruningStep` has seen it end."""

    def __init__(self, look):
        super().__init__()
        self.look, self.found = look, []

    def on_train_batch_end(self, batch, logs=None):
        self.found.append(self.look(self.model, logs))
