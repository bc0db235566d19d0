"""From the outputs of the detector to boxes, and from boxes to their average precision."""

from __future__ import annotations

import contextlib
import dataclasses
import io
from collections.abc import Sequence

import numpy as np
import tensorflow as tf
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from examples.detection_data import Scenes
from examples.detection_network import STRIDES, box_output, class_output
from examples.detection_targets import LARGEST, middles

# Boxes of one class that overlap by more than this are one object.
OVERLAP = 0.5
# As many boxes a scene as COCO counts.
MOST = 100
LEAST_SCORE = 0.02


@dataclasses.dataclass(frozen=True)
class Detections:
    """What was found on N scenes, by falling score; zeros beyond the last.

    Args:
      boxes: float32 (N, 100, 4), top, left, bottom and right side in pixels.
      scores: float32 (N, 100), in [0, 1].
      labels: int64 (N, 100).
      counts: int64 (N,).
    """

    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    counts: np.ndarray

    @classmethod
    def joined(cls, parts: Sequence[Detections]) -> Detections:
        """Returns what was found on several sets of scenes as on one."""
        names = [field.name for field in dataclasses.fields(cls)]
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


@dataclasses.dataclass(frozen=True)
class Precision:
    """Mean average precision as COCO counts it: over overlaps of .5 to .95, and at .5."""

    mean: float
    at_half: float


def boxes_of(outputs: dict[str, np.ndarray], size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Returns the box and the scores of each place.

    Args:
      outputs: of the detector, float (N, ...) by name.
      size: height and width of the images.

    Returns:
      Boxes, float32 (N, places, 4), top, left, bottom and right side in pixels; scores, float32 (N, places, classes).
    """
    boxes, scores = [], []
    for stride in STRIDES:
        logits, logarithms = outputs[class_output(stride)], outputs[box_output(stride)]
        # As the loss has them: a network that has diverged gives no finite boxes otherwise.
        distances = np.exp(np.clip(logarithms, -LARGEST, LARGEST)) * stride
        places = middles(size, stride)
        sides = [places - distances[..., 1::-1], places + distances[..., :1:-1]]
        boxes.append(np.concatenate(sides, axis=-1).reshape(len(logits), -1, 4))
        scores.append((0.5 + 0.5 * np.tanh(0.5 * logits)).reshape(len(logits), -1, logits.shape[-1]))
    return tuple(np.concatenate(each, axis=1, dtype=np.float32) for each in (boxes, scores))  # type: ignore[return-value]


def decode(outputs: dict[str, np.ndarray], size: tuple[int, int]) -> Detections:
    """Returns the boxes that are left of the detector's outputs once each object has one; arguments as `boxes_of`."""
    height, width = size
    boxes, scores = boxes_of(outputs, size)
    boxes = np.clip(boxes, 0, np.array([height, width, height, width], np.float32))
    found = tf.image.combined_non_max_suppression(
        boxes[:, :, None], scores, MOST, MOST, OVERLAP, LEAST_SCORE, clip_boxes=False
    )
    boxes, scores, labels, counts = (each.numpy() for each in found)
    return Detections(boxes, scores, labels.astype(np.int64), counts.astype(np.int64))


def precision(detections: Detections, scenes: Scenes) -> Precision:
    """Returns the mean average precision of detections against what is on the scenes, by pycocotools."""
    # It says what it does on stdout, step by step.
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = _ground_truth(scenes)
        truth.createIndex()
        rows = _rows(detections)
        if not len(rows):
            return Precision(0.0, 0.0)
        evaluation = COCOeval(truth, truth.loadRes(rows), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return Precision(float(evaluation.stats[0]), float(evaluation.stats[1]))


def _ground_truth(scenes: Scenes) -> dict[str, list[dict[str, object]]]:
    annotations: list[dict[str, object]] = []
    for scene, object_ in zip(*np.nonzero(scenes.labels >= 0), strict=True):
        top, left, bottom, right = map(float, scenes.boxes[scene, object_])
        annotations.append(
            {
                # COCO takes a match with number 0 for none.
                "id": len(annotations) + 1,
                "image_id": int(scene),
                "category_id": int(scenes.labels[scene, object_]),
                "bbox": [left, top, right - left, bottom - top],
                "area": (right - left) * (bottom - top),
                "iscrowd": 0,
            }
        )
    classes = np.unique(scenes.labels[scenes.labels >= 0])
    return {
        "images": [{"id": index} for index in range(len(scenes))],
        "annotations": annotations,
        "categories": [{"id": int(each)} for each in classes],
    }


def _rows(detections: Detections) -> np.ndarray:
    """Returns (image, left, top, width, height, score, class) of each detection, float64."""
    scene, place = np.nonzero(np.arange(detections.scores.shape[1]) < detections.counts[:, None])
    top, left, bottom, right = detections.boxes[scene, place].astype(np.float64).T
    sides = left, top, right - left, bottom - top
    return np.stack([scene, *sides, detections.scores[scene, place], detections.labels[scene, place]], axis=1)
