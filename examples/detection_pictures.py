"""Scenes with the boxes that are there, and those that detectors found."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np

from examples.detection_data import Scenes
from examples.detection_decoding import Detections

# Boxes that are less sure than this would hide the others.
SURE = 0.3
_COLOURS = plt.get_cmap("tab20")


def draw_scenes(
    scenes: Scenes, found: Mapping[str, Detections], classes: tuple[str, ...], path: Path, count: int = 6
) -> None:
    """Draws the first scenes to a PNG: what is there in the first row, what each detector found in one of its own."""
    count = min(count, len(scenes))
    figure, panels = plt.subplots(
        1 + len(found), count, figsize=(2.6 * count, 2.75 * (1 + len(found))), squeeze=False, layout="constrained"
    )
    for row, title in zip(panels, ["what is there", *found], strict=True):
        for index, panel in enumerate(row):
            image = scenes.images[index]
            panel.imshow(image if image.shape[-1] == 3 else image[..., 0], cmap="gray", vmin=0, vmax=255)
            panel.set(xticks=[], yticks=[])
            boxes, labels, scores = _shown(scenes, found.get(title), index)
            for box, label, score in zip(boxes, labels, scores, strict=True):
                _draw_box(panel, box, f"{classes[label]}{score}", _COLOURS(label % _COLOURS.N))
        row[0].set_ylabel(title)
    figure.savefig(path, dpi=90)
    plt.close(figure)


def _shown(scenes: Scenes, found: Detections | None, index: int) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Returns boxes, classes and what to write behind the name of the class."""
    if found is None:
        chosen = scenes.labels[index] >= 0
        return scenes.boxes[index][chosen], scenes.labels[index][chosen], [""] * int(chosen.sum())
    chosen = (found.scores[index] >= SURE) & (np.arange(found.scores.shape[1]) < found.counts[index])
    return found.boxes[index][chosen], found.labels[index][chosen], [f" {x:.2f}" for x in found.scores[index][chosen]]


def _draw_box(panel: Any, box: np.ndarray, text: str, colour: Any) -> None:
    # Pixel 0 reaches from -.5 to .5 on a panel.
    top, left, bottom, right = box - 0.5
    panel.add_patch(plt.Rectangle((left, top), right - left, bottom - top, fill=False, color=colour, linewidth=1.3))
    shade = {"facecolor": colour, "edgecolor": "none", "pad": 0.6, "alpha": 0.75}
    panel.text(left, max(top, 3.0), text, fontsize=6, color="white", verticalalignment="bottom", bbox=shade)
