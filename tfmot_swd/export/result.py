"""What came of an export."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class ExportResult:
    """A file that is in place, and the numbers of its proof.

    Attributes:
        recipe: name of the recipe.
        path: the file, as it was asked for.
        bytes: its size.
        gzip_bytes: its size after gzip at level 9, the size of a download: this is where zeros
            that are still in the weights pay.
        accuracy: share of check samples the file names right, None without integer labels.
        keras_accuracy: the same of the Keras model.
        worst_difference: largest absolute difference between an output of the file, dequantized,
            and of the Keras model.
        mean_difference: mean absolute difference over all elements of all outputs.
        agreement: share of check samples where file and model name the same class, None unless
            the model has a single output of shape (N, 2 or more).
        samples: number of check samples.
        interpreter: `"ai_edge_litert"` or `"tensorflow"`.
    """

    recipe: str
    path: str
    bytes: int
    gzip_bytes: int
    accuracy: float | None
    keras_accuracy: float | None
    worst_difference: float
    mean_difference: float
    agreement: float | None
    samples: int
    interpreter: str

    def to_dict(self) -> dict[str, Any]:
        """Returns the fields as plain types, ready for JSON."""
        return dataclasses.asdict(self)
