"""Whether a smaller model computes what the larger one does without the channels that left.

```python
groups = channel_groups(model)
plan = random_plan(model, rng, groups)
randomize(model, rng)
x = random_images(model.input_shape[1:], rng)
with masked(model, plan):
    reestimate_batch_norm(model, [x])
compare(model, plan, plan.apply(), x).exact
```
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import tensorflow as tf
import tf_keras as keras

from tfmot_swd.channels.groups import ChannelGroups
from tfmot_swd.channels.removal import RemovalPlan, plan_removal
from tfmot_swd.keras2.compat import master_variable
from tfmot_swd.layers.record import CONSUME

# Of the channels of each group that stay.
SHARE = 0.5
# Of the output's scale. In float32 the order of a sum alone makes some 1e-7 in each layer.
TOLERANCE = 1e-5
# Less change than this, of the output's scale, and equality would prove nothing.
LEAST_EFFECT = 1e-2


@dataclasses.dataclass(frozen=True)
class Exactness:
    """Outputs of the smaller model beside those of the masked one, largest differences as shares of their scale.

    Args:
      difference: between the two.
      mask_effect: between the masked and the whole model, as a share of the larger one's scale.
      input_effect: between two samples.
    """

    difference: float
    mask_effect: float
    input_effect: float

    @property
    def exact(self) -> bool:
        """Whether the two agree, and could have disagreed."""
        # A comparison with NaN is false.
        return self.difference <= TOLERANCE and min(self.mask_effect, self.input_effect) >= LEAST_EFFECT


def randomize(model: keras.Model, rng: np.random.Generator) -> None:
    """Gives every weight a random value, at a scale that keeps the signal alive where half of the inputs are gone."""
    for variable in model.weights:
        shape, kind = tuple(variable.shape), variable.name.rpartition("/")[2]
        if not variable.dtype.is_floating:
            # Indices, which say where something stands.
            continue
        if len(shape) > 1:
            depthwise = "depthwise" in kind
            fan_in = np.prod(shape[:2]) if depthwise else SHARE * np.prod(shape[:-1])
            variable.assign(rng.normal(0, np.sqrt(2 / fan_in), shape))
        elif any(name in kind for name in ("gamma", "variance", "gain")):
            variable.assign(rng.uniform(0.5, 1.5, shape))
        elif len(shape) == 1:
            variable.assign(rng.normal(0, 0.2, shape))
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.Normalization):
            # It computes with copies of its variables.
            layer.finalize_state()


def random_images(shape: tuple[int, ...], rng: np.random.Generator, count: int = 2) -> np.ndarray:
    """Returns images of coarse and fine patterns, in the range of pixels that many networks rescale themselves.

    Pure noise would look the same to a network wherever it looks.
    """
    height, width, channels = shape
    coarse = tf.image.resize(rng.normal(size=(count, 5, 5, channels)), (height, width), "bicubic")
    return (128 + 64 * (coarse + 0.5 * rng.normal(size=(count, *shape)))).numpy().astype(np.float32)


def random_plan(model: keras.Model, rng: np.random.Generator, groups: ChannelGroups) -> RemovalPlan:
    """Returns the plan by which half of the channels of each group leave, but none that is all that a tensor has."""
    keep = {name: rng.permutation(group.size) < max(1, round(SHARE * group.size)) for name, group in groups.items()}
    classes, stays = groups.trace.classes, np.ones(len(groups.trace.classes.root), bool)
    for name, group in groups.items():
        stays[group.ids] = keep[name]
    for ids in groups.trace.parts():
        roots = classes.of(ids)
        if not stays[roots].any():
            stays[rng.choice(roots)] = True
    return plan_removal(model, {name: stays[group.ids] for name, group in groups.items()}, groups=groups)


@contextmanager
def masked(model: keras.Model, plan: RemovalPlan) -> Iterator[None]:
    """Holds at zero every slice of weights that reads a channel that leaves.

    What a product of two tensors sums over, such as queries and keys, is read by no weight: there all slices of such a
    channel are held at zero, so that it is zero itself. An activation that makes another number of zero shows as a
    difference.
    """
    variables = {id(master_variable(each)): master_variable(each) for each in model.weights}
    summed = np.zeros(len(plan.stays), bool)
    for product in (each for products in plan.groups.trace.products.values() for each in products):
        summed[plan.groups.trace.classes.of(product.sums)] = True
    originals: dict[int, tuple[np.ndarray, np.ndarray]] = {}
    for cut in plan.groups.trace.cuts:
        gone = ~plan.stays[cut.ids]
        if cut.role != CONSUME:
            gone &= summed[plan.groups.trace.classes.of(cut.ids)]
        if gone.any():
            variable = variables[cut.variable_id]
            value = variable.numpy()
            _, zero = originals.setdefault(cut.variable_id, (value.copy(), np.zeros(value.shape, bool)))
            np.moveaxis(zero, cut.axis, 0)[gone] = True
            value[zero] = 0
            variable.assign(value)
    try:
        yield
    finally:
        for identity, (value, zero) in originals.items():
            # What has been estimated again meanwhile, such as statistics of other channels, stays.
            variables[identity].assign(np.where(zero, value, variables[identity].numpy()))


def outputs_of(model: keras.Model, x: np.ndarray) -> list[np.ndarray]:
    """Returns the outputs for a batch, one or more arrays."""
    return [each.numpy() for each in tf.nest.flatten(model(x, training=False))]


def largest_difference(expected: list[np.ndarray], found: list[np.ndarray]) -> float:
    """Returns the largest difference of an output as a share of its scale; NaN where something is not finite."""
    with np.errstate(invalid="ignore"):
        pairs = zip(expected, found, strict=True)
        return float(np.max([np.abs(b - a).max() / np.abs(a).max() for a, b in pairs]))


def compare(model: keras.Model, plan: RemovalPlan, smaller: keras.Model, x: np.ndarray) -> Exactness:
    """Compares the smaller model with the masked one on a batch of two or more samples, each output by itself.

    What makes the channels keeps its weights: nothing of what leaves may be read, whatever its value.
    """
    with masked(model, plan):
        expected = outputs_of(model, x)
    whole, found = outputs_of(model, x), outputs_of(smaller, x)
    scales = [max(np.abs(a).max(), np.abs(b).max()) for a, b in zip(expected, whole, strict=True)]
    # What is not finite makes NaN, which is not exact.
    with np.errstate(invalid="ignore"):
        return Exactness(
            difference=largest_difference(expected, found),
            mask_effect=float(
                np.min([np.abs(b - a).max() / s for a, b, s in zip(expected, whole, scales, strict=True)])
            ),
            input_effect=float(np.min([np.abs(a[1:] - a[:1]).max() / np.abs(a).max() for a in expected])),
        )
