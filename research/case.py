"""Cases of the protocol: a network on a dataset with the recipe that all methods share, and one training of it.

```python
case = CASES["A"]
training = Training(case, case.load(), seed=0, learning_rate=0.2)
model = training.build()
training.fit(model)
print(training.validation_accuracy(model))
```
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as keras

from examples.datasets import ImageData, batches
from examples.networks import NETWORKS
from examples.training import accuracy
from research.data import load
from research.pretrained import PRETRAINED, CenteredData
from tfmot_swd.io.atomic import atomic_write

# Weights of dense trainings that others begin with.
TRAINED = Path(tempfile.gettempdir()) / "tfmot_swd_trained"
# Share of the updates over which the learning rate climbs to its peak.
WARM_UP = 0.15


@dataclasses.dataclass(frozen=True)
class Case:
    """What all methods of a comparison share.

    Args:
      name: in the protocol.
      title: in tables.
      dataset: of `research.data.load`.
      network: a key of `examples.networks.NETWORKS`, or of `research.pretrained.PRETRAINED`.
      start: "glorot", Keras's own initializer of kernels; "pytorch", uniform over +-1/sqrt(fan_in); "own", the
        weights that the network comes with.
      epochs: of training in all.
      train_limit: how many training images.
      batch_size: images an update.
      augment: random crops and mirrors.
      label_smoothing: of the cross-entropy.
      weight_decay: factor of w in the gradient of each kernel.
      policy: Keras's dtype policy.
      trained: name of the case whose dense training, of the same seed, gives the weights to begin with; empty for an
        untrained network.
      optimizer: "sgd" with Nesterov momentum 0.9, or "adam".
      pruned: "weights", or "channels", whose rates are of all parameters.
    """

    name: str
    title: str
    dataset: str
    network: str
    start: str
    epochs: int
    train_limit: int
    batch_size: int = 128
    augment: bool = False
    label_smoothing: float = 0.1
    weight_decay: float = 5e-4
    policy: str = "mixed_bfloat16"
    trained: str = ""
    optimizer: str = "sgd"
    pruned: str = "weights"

    @property
    def fine_tunes(self) -> bool:
        """Whether the trainings begin with trained weights."""
        return bool(self.trained) or self.network in PRETRAINED

    @property
    def steps_per_epoch(self) -> int:
        """Updates of an epoch of whole batches."""
        return self.train_limit // self.batch_size

    @property
    def steps(self) -> int:
        """Updates of the whole run."""
        return self.epochs * self.steps_per_epoch

    def load(self) -> ImageData:
        """Returns the data; the same split for every method and seed."""
        data = load(self.dataset, self.train_limit)
        return CenteredData.of(data) if self.network in PRETRAINED else data

    def recipe(self) -> dict[str, Any]:
        """Returns what a journal keeps of the case; a change to any of it makes other runs.

        Fields that came after the first runs are left out where they have the value of those.
        """
        found = {name: value for name, value in dataclasses.asdict(self).items() if name not in ("name", "title")}
        later = {"trained": "", "optimizer": "sgd", "pruned": "weights"}
        return {name: value for name, value in found.items() if later.get(name) != value}


_CIFAR = "CIFAR-10 (JPEG copy)"
_FASHION = ("fashion_mnist", "fashion_net", "glorot", 3, 55_000)
_RESNET = ("cifar10_jpeg", "mlperf_resnet8", "own", 5, 15_000)
CASES = {
    case.name: case
    for case in (
        Case("A", f"{_CIFAR}, ResNet-9/16", "cifar10_jpeg", "resnet9", "glorot", 10, 45_000, augment=True),
        Case("A6", f"{_CIFAR}, ResNet-9/16, 6 epochs", "cifar10_jpeg", "resnet9", "glorot", 6, 45_000, augment=True),
        Case("B", f"{_CIFAR}, ResNet-9/16, 30 epochs", "cifar10_jpeg", "resnet9", "glorot", 30, 45_000, augment=True),
        Case("Cg", "Fashion-MNIST, Glorot start", "fashion_mnist", "fashion_net", "glorot", 10, 55_000),
        Case("Cp", "Fashion-MNIST, PyTorch's start", "fashion_mnist", "fashion_net", "pytorch", 10, 55_000),
        Case("Fs", "Fashion-MNIST, from trained weights, SGD", *_FASHION, trained="Cg"),
        Case("Fa", "Fashion-MNIST, from trained weights, Adam", *_FASHION, trained="Cg", optimizer="adam"),
        Case("Fc", "Fashion-MNIST, channels, from trained weights, SGD", *_FASHION, trained="Cg", pruned="channels"),
        Case("Rs", f"{_CIFAR}, MLPerf Tiny's ResNet-8, SGD", *_RESNET, augment=True),
        Case("Ra", f"{_CIFAR}, MLPerf Tiny's ResNet-8, Adam", *_RESNET, augment=True, optimizer="adam"),
    )
}
# Peak of the learning rate of the dense training whose weights a case begins with; fixed before any run of it.
TRAINED_RATE = 0.2


@keras.utils.register_keras_serializable("tfmot_swd_research")
class WarmUpAndFall(keras.optimizers.schedules.LearningRateSchedule):
    """Linear climb to `peak` over the first `warm_up` of `steps` updates, then a linear fall to 0.

    With `restart` (update, peak) the fall ends at 0 at that update and a second linear fall, from that
    peak to 0, takes the rest: the retraining of BIMP (arXiv 2111.00843).
    """

    def __init__(
        self, peak: float, steps: int, warm_up: float = WARM_UP, restart: tuple[int, float] | None = None
    ) -> None:
        self.peak, self.steps, self.warm_up, self.restart = peak, steps, warm_up, restart

    def __call__(self, step: tf.Tensor | int) -> tf.Tensor:
        step = tf.cast(step, tf.float32)
        end = self.steps if self.restart is None else self.restart[0]
        climb = max(self.warm_up * end, 1.0)
        first = self.peak * tf.minimum((step + 1.0) / climb, (end - step) / max(end - climb, 1.0))
        if self.restart is None:
            return tf.maximum(first, 0.0)
        second = self.restart[1] * (self.steps - step) / (self.steps - end)
        return tf.maximum(tf.where(step < end, first, second), 0.0)

    def get_config(self) -> dict[str, Any]:
        return {"peak": self.peak, "steps": self.steps, "warm_up": self.warm_up, "restart": self.restart}


@dataclasses.dataclass(frozen=True)
class Training:
    """One training of a case, as every method does it.

    Args:
      case: see there.
      data: of the case.
      seed: of the initial weights, the order of images and the augmentation.
      learning_rate: peak of the schedule.
    """

    case: Case
    data: ImageData
    seed: int
    learning_rate: float

    @property
    def steps(self) -> int:
        """Updates of the whole run."""
        return self.case.steps

    def build(self) -> keras.Model:
        """Returns the network with the weights of this seed; its output is logits in float32."""
        keras.backend.clear_session()
        keras.mixed_precision.set_global_policy(self.case.policy)
        keras.utils.set_random_seed(self.seed)
        if self.case.network in PRETRAINED:
            network = PRETRAINED[self.case.network](self.case.weight_decay)
        else:
            build = NETWORKS[self.case.network]
            network = build(self.data.input_shape, self.data.num_classes, weight_decay=self.case.weight_decay)
        if self.case.start == "glorot":
            network = keras.models.clone_model(network, clone_function=_with_glorot)
        logits = keras.layers.Activation("linear", dtype="float32", name="float32_logits")(network.output)
        model = keras.Model(network.input, logits, name=network.name)
        if self.case.trained:
            model.set_weights(self._trained_weights())
            keras.utils.set_random_seed(self.seed)
        return model

    def _trained_weights(self) -> list[np.ndarray]:
        """Returns the weights of the dense training that the case begins with; made once a seed and machine."""
        case = CASES[self.case.trained]
        source = Training(case, self.data, self.seed, TRAINED_RATE)
        told = json.dumps({**case.recipe(), "seed": self.seed, "learning_rate": TRAINED_RATE}, sort_keys=True)
        path = TRAINED / f"{case.name}_{self.seed}_{hashlib.sha256(told.encode()).hexdigest()[:12]}.npz"
        if not path.exists():
            model = source.build()
            source.fit(model)
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_write(path, _as_npz(model.get_weights())):
                pass
            keras.backend.clear_session()
        with np.load(path) as found:
            return [found[name] for name in found.files]

    @property
    def stream(self) -> tf.data.Dataset:
        """The training data, an epoch of whole batches with one-hot labels; the same sequence for each method."""
        case, data = self.case, self.data
        stream = batches(
            data.train_x, data.train_y, case.batch_size, self.seed, augment=case.augment, pixels=data.pixels
        )
        return stream.map(lambda x, y: (x, tf.one_hot(y, data.num_classes)))

    def compile(self, model: keras.Model, schedule: WarmUpAndFall | None = None) -> None:
        """Compiles a model with the optimizer and the loss of the case."""
        schedule = schedule or WarmUpAndFall(self.learning_rate, self.steps)
        sgd = self.case.optimizer == "sgd"
        model.compile(
            keras.optimizers.SGD(schedule, momentum=0.9, nesterov=True) if sgd else keras.optimizers.Adam(schedule),
            keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=self.case.label_smoothing),
            metrics=["accuracy"],
        )

    def fit(
        self,
        model: keras.Model,
        callbacks: list[keras.callbacks.Callback] | None = None,
        schedule: WarmUpAndFall | None = None,
    ) -> None:
        """Trains a model, compiled here."""
        self.compile(model, schedule)
        model.fit(self.stream, epochs=self.case.epochs, callbacks=callbacks, verbose=0)

    @property
    def validation(self) -> tuple[np.ndarray, np.ndarray]:
        """The validation split, float32 images and one-hot labels."""
        x = self.data.to_float(self.data.validation_x)
        return x, np.eye(self.data.num_classes, dtype=np.float32)[self.data.validation_y]

    def validation_accuracy(self, model: keras.Model) -> float:
        """Returns the share of validation images that the model names right."""
        return accuracy(model, self.data.to_float(self.data.validation_x), self.data.validation_y)

    def test_accuracy(self, model: keras.Model) -> float:
        """Returns the share of test images that the model names right; for the last stage of the protocol alone."""
        return accuracy(model, self.data.to_float(self.data.test_x), self.data.test_y)


def _as_npz(arrays: list[np.ndarray]) -> bytes:
    content = io.BytesIO()
    np.savez(content, *arrays)
    return content.getvalue()


def _with_glorot(layer: keras.layers.Layer) -> keras.layers.Layer:
    config = layer.get_config()
    if "kernel_initializer" in config:
        config["kernel_initializer"] = keras.initializers.GlorotUniform()
    return type(layer).from_config(config)
