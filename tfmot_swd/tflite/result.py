"""Results of an export: the numbers of its proof, or the error."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from rich.table import Table

from tfmot_swd.io.json_files import JsonResult
from tfmot_swd.io.tables import COMPACT, Printable, ResultTable, View


@dataclass(frozen=True)
class ExportResult(Printable, JsonResult):
    """An exported file and the numbers of its proof. Prints as a table.

    Attributes:
        recipe: name of the recipe.
        path: the file, as it was asked for.
        bytes: its size.
        gzip_bytes: its size after gzip at level 9, the size of a download: this is where zeros
            that are still in the weights pay.
        zstd_bytes: the same with zstd at level 19; None where the package zstandard is not
            installed.
        weights: number of elements of all Keras kernels (weights with two or more dimensions)
            that were found in the file.
        keras_zeros: how many of them are zero in the model.
        zeros: how many are zero in the file: no fewer, as the proof sees to tensor by tensor, and
            more where small ones were rounded.
        accuracy: share of check samples the file names right, None without integer labels.
        keras_accuracy: the same of the Keras model.
        worst_difference: largest absolute difference between an output of the file, dequantized,
            and of the Keras model.
        mean_difference: mean absolute difference over all elements of all outputs.
        agreement: share of check samples where file and model name the same class, None unless
            the model has a single output of shape (N, 2 or more).
        samples: number of check samples.
        interpreter: `"ai_edge_litert"`, `"tensorflow"` or `"tflite_micro"`.
        sha256: of the file's bytes, in hexadecimal; empty in results of older versions.
    """

    recipe: str
    path: str
    bytes: int
    gzip_bytes: int
    zstd_bytes: int | None
    weights: int
    keras_zeros: int
    zeros: int
    accuracy: float | None
    keras_accuracy: float | None
    worst_difference: float
    mean_difference: float
    agreement: float | None
    samples: int
    interpreter: str
    sha256: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Returns the fields as plain types, ready for JSON."""
        return dataclasses.asdict(self)

    def tables(self, view: View = COMPACT) -> tuple[Table, ...]:
        table = ResultTable(f"{self.path}, proven on {self.samples:,} samples")
        table.add_column("")
        for heading in (self.recipe, "Keras"):
            table.add_column(heading, justify="right")
        table.add_row("bytes", f"{self.bytes:,}", "")
        table.add_row("gzip bytes", f"{self.gzip_bytes:,}", "")
        if self.zstd_bytes is not None:
            table.add_row("zstd bytes", f"{self.zstd_bytes:,}", "")
        if self.weights:
            shares = (f"{count / self.weights:.2%}" for count in (self.zeros, self.keras_zeros))
            table.add_row(f"zeros of {self.weights:,} weights", *shares)
        if self.accuracy is not None and self.keras_accuracy is not None:
            table.add_row("accuracy", f"{self.accuracy:.2%}", f"{self.keras_accuracy:.2%}")
        if self.agreement is not None:
            table.add_row("same class as Keras", f"{self.agreement:.2%}", "")
        table.add_row("worst difference", f"{self.worst_difference:.3g}", "")
        table.add_row("mean difference", f"{self.mean_difference:.3g}", "")
        return (table,)


"""The one error of an export that was asked for correctly and still cannot be delivered."""


class ExportError(RuntimeError):
    """A model that did not convert, or a file that does not run or failed its proof.

    Wrong arguments raise `TypeError`, `ValueError` or `OSError` instead. When this is raised, nothing was written: an
    older file at the path is still there.
    """
