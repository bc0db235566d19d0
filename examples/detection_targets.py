"""What the detector learns: the class and the box of each place, and the losses of both."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as keras

from examples.detection_data import Scenes
from examples.detection_network import STRIDES, box_output, class_output

# The longer side of a box, in strides, up to which a scale is in charge of it; the coarsest takes what is larger.
LONGEST = 4.0
# How far from the middle of a box places still learn of it, in strides (Tian 2020).
RADIUS = 1.5
# Logarithms of distances beyond this are as good as it: what is infinite has no gradient.
LARGEST = 10.0


def middles(size: tuple[int, int], stride: int) -> np.ndarray:
    """Returns the middles of the places at a stride, float32 (height / stride, width / stride, 2): y, x in pixels."""
    y, x = ((np.arange(pixels // stride, dtype=np.float32) + 0.5) * stride for pixels in size)
    return np.stack(np.meshgrid(y, x, indexing="ij"), axis=-1)


def assign(boxes: np.ndarray, labels: np.ndarray, size: tuple[int, int]) -> dict[str, np.ndarray]:
    """Returns what each place of an image is to say.

    A place learns of a box when it lies in it, at most 1.5 strides from its middle along both axes, and the box is of
    its scale: at stride 8 up to 32 pixels long, at 16 longer. Of several boxes it takes the smallest.

    Args:
      boxes: float (M, 4), top, left, bottom and right side in pixels.
      labels: int (M,); negative ones are passed over.
      size: height and width of the image.

    Returns:
      By output: `classes_*` int32 (height / stride, width / stride), -1 where there is nothing; `boxes_*` float32
      (..., 4), the distances to the left, top, right and bottom side in strides, zeros where there is nothing.
    """
    extent = boxes[:, 2:] - boxes[:, :2]
    longest = extent.max(axis=1, initial=0)
    targets = {}
    for stride in STRIDES:
        places = middles(size, stride)
        classes = np.full(places.shape[:2], -1, np.int32)
        distances = np.zeros((*places.shape[:2], 4), np.float32)
        not_for_finer = (longest > LONGEST * stride / 2) | (stride == STRIDES[0])
        not_for_coarser = (longest <= LONGEST * stride) | (stride == STRIDES[-1])
        in_charge = np.flatnonzero(not_for_finer & not_for_coarser & (labels >= 0))
        # The smallest last, so that it stays.
        for index in sorted(in_charge, key=lambda each: -extent[each].prod()):
            before, behind = places - boxes[index, :2], boxes[index, 2:] - places
            is_near = (np.abs(before - behind) <= 2 * RADIUS * stride).all(axis=-1)
            chosen = is_near & (before > 0).all(axis=-1) & (behind > 0).all(axis=-1)
            classes[chosen] = labels[index]
            sides = np.concatenate([before[..., ::-1], behind[..., ::-1]], axis=-1)
            distances[chosen] = sides[chosen] / stride
        targets[class_output(stride)], targets[box_output(stride)] = classes, distances
    return targets


def targets_of(scenes: Scenes) -> dict[str, np.ndarray]:
    """Returns what `assign` gives for each scene, stacked: one array (N, ...) for each output of the detector."""
    size = scenes.images.shape[1:3]
    found = [assign(boxes, labels, size) for boxes, labels in zip(scenes.boxes, scenes.labels, strict=True)]
    return {name: np.stack([each[name] for each in found]) for name in found[0]}


@keras.utils.register_keras_serializable("tfmot_swd_examples")
class FocalLoss(keras.losses.Loss):
    """Focal loss (Lin 2017), summed over places and classes, by the number of places of the batch with an object.

    y_true: int (N, height, width), -1 where there is nothing; y_pred: logits (N, height, width, classes).
    """

    def __init__(self, alpha: float = 0.25, gamma: float = 2.0, **options: Any) -> None:
        super().__init__(**options)
        self.alpha, self.gamma = alpha, gamma

    def call(self, y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
        is_object = tf.one_hot(tf.cast(y_true, tf.int32), y_pred.shape[-1], dtype=y_pred.dtype)
        # The logit of what is right.
        right = (2 * is_object - 1) * y_pred
        weights = 1 - self.alpha + (2 * self.alpha - 1) * is_object
        losses = weights * tf.sigmoid(-right) ** self.gamma * tf.nn.softplus(-right)
        return by_objects(tf.reduce_sum(losses, axis=(1, 2, 3)), y_true >= 0)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "alpha": self.alpha, "gamma": self.gamma}


@keras.utils.register_keras_serializable("tfmot_swd_examples")
class BoxLoss(keras.losses.Loss):
    """One minus the generalized overlap of boxes (Rezatofighi 2019), mean over the places of the batch with an object.

    y_true: distances to the four sides (N, height, width, 4), zeros where there is nothing; y_pred: logarithms of them.
    """

    def call(self, y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
        distances = tf.exp(tf.clip_by_value(y_pred, -LARGEST, LARGEST))
        areas = [_area(each) for each in (y_true, distances)]
        # Both boxes hold the place, so that the smaller distances are of what they share, the larger of what is around.
        shared, around = _area(tf.minimum(y_true, distances)), _area(tf.maximum(y_true, distances))
        union = areas[0] + areas[1] - shared
        losses = 1 - shared / union + (around - union) / around
        has_object = y_true[..., 0] > 0
        return by_objects(tf.reduce_sum(tf.where(has_object, losses, 0.0), axis=(1, 2)), has_object)


def by_objects(losses: tf.Tensor, has_object: tf.Tensor) -> tf.Tensor:
    """Returns losses (N,), whose mean Keras takes, such that their sum is by the places with an object instead."""
    places = tf.maximum(tf.reduce_sum(tf.cast(has_object, losses.dtype)), 1)
    return losses * tf.cast(tf.size(losses), losses.dtype) / places


def _area(distances: tf.Tensor) -> tf.Tensor:
    left, top, right, bottom = tf.unstack(distances, axis=-1)
    return (left + right) * (top + bottom)


def losses() -> dict[str, keras.losses.Loss]:
    """Returns the loss of each output of the detector."""
    kinds = ((class_output, FocalLoss), (box_output, BoxLoss))
    return {name(stride): kind() for stride in STRIDES for name, kind in kinds}
