"""Data of a device report: layers, files, training and advice as plain rows."""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from dataclasses import dataclass, field
from typing import Any, Self

from tfmot_swd.tflite.file_rows import OperatorRow, OperatorTotal, PortRow
from tfmot_swd.tflite.latency import Latency, without_noise

# Of the JSON; goes up when a field changes its meaning.
FORMAT = 1


@dataclass(frozen=True)
class LayerRow:
    """One layer, before and after; None on the side where the model has no such layer.

    Attributes:
        layer: its name; layers of nested models are written model/layer.
        kind: its class name.
        channels_before, channels_after: of its output.
        parameters_before, parameters_after: all of them.
        weights_before, weights_after: those that pruning counts, zero or not.
        nonzero_before, nonzero_after: of these, those that are not zero.
        macs_before, macs_after: multiply-accumulates for one sample.
        kernels_before, kernels_after: its kernel weights, whether pruning counts them or not.
        nonzero_kernels_before, nonzero_kernels_after: of these, those that are not zero.
    """

    layer: str
    kind: str
    channels_before: int | None
    channels_after: int | None
    parameters_before: int | None
    parameters_after: int | None
    weights_before: int | None
    weights_after: int | None
    nonzero_before: int | None
    nonzero_after: int | None
    macs_before: int | None
    macs_after: int | None
    kernels_before: int | None = None
    kernels_after: int | None = None
    nonzero_kernels_before: int | None = None
    nonzero_kernels_after: int | None = None


def has_weights(row: LayerRow) -> bool:
    """Returns whether a layer has, or had, weights that pruning counts or kernel weights that it does not."""
    return any((row.weights_before, row.weights_after, row.kernels_before, row.kernels_after))


@dataclass(frozen=True)
class Totals:
    """The sums of the layers, and the most activation bytes that are alive at once (float32, one sample).

    Of kernel weights None, where the report is of a version that did not count them.
    """

    parameters_before: int
    parameters_after: int
    weights_before: int
    weights_after: int
    nonzero_before: int
    nonzero_after: int
    macs_before: int
    macs_after: int
    activation_bytes_before: int
    activation_bytes_after: int
    kernels_before: int | None = None
    kernels_after: int | None = None
    nonzero_kernels_before: int | None = None
    nonzero_kernels_after: int | None = None


@dataclass(frozen=True)
class FileRow:
    """One file: its proof from `ExportResult`, its figures from `FileMeasure`; None where either is missing.

    Attributes:
        name: as it was measured, or the file's name without its ending.
        file: its name without directories.
        recipe: of the export; empty where that is not known.
        accuracy, keras_accuracy: shares of check samples that the file and its model name right.
        worst_difference: largest absolute difference from Keras.
        agreement: share of check samples where file and model name the same class.
        weights, zeros: elements of its weights, and how many are zero.
        reasons: why figures are missing.
        form: the numbers that it computes with and keeps; empty where it was not measured.
        operator_totals: its operators by type, with their MACs.
        macs: of one run, the sum of these; None where those of some operators are not known.
        score: by `DeviceReport.metric`, on the same data as both models; None where those were not given.

    The others are those of `FileMeasure`.
    """

    name: str
    file: str
    recipe: str
    bytes: int
    gzip_bytes: int
    zstd_bytes: int | None = None
    accuracy: float | None = None
    keras_accuracy: float | None = None
    worst_difference: float | None = None
    agreement: float | None = None
    samples: int | None = None
    latency: tuple[Latency, ...] = ()
    peak_memory_bytes: int | None = None
    arena_bytes: int | None = None
    micro_ms: float | None = None
    weights: int | None = None
    zeros: int | None = None
    operators: tuple[OperatorRow, ...] = ()
    reasons: tuple[str, ...] = ()
    form: str = ""
    sha256: str = ""
    inputs: tuple[PortRow, ...] = ()
    outputs: tuple[PortRow, ...] = ()
    operator_totals: tuple[OperatorTotal, ...] = ()
    macs: int | None = None
    score: float | None = None

    @property
    def kind(self) -> str:
        """The recipe, or the form where that is all that is known."""
        return self.recipe or self.form


@dataclass(frozen=True)
class Series:
    """One line of a panel; None where there is no finite value."""

    name: str
    x: tuple[float, ...]
    y: tuple[float | None, ...]
    is_target: bool = False


@dataclass(frozen=True)
class Panel:
    """One picture of the training.

    Attributes:
        title: what is drawn.
        x_label: "updates" or "epochs".
        unit: "share", "count" or "number": how the values are written.
        is_log: whether the values span orders of magnitude.
        series: the lines; those of a schedule or limit are targets.
    """

    title: str
    x_label: str
    unit: str
    is_log: bool
    series: tuple[Series, ...]


@dataclass(frozen=True)
class BarrierRow:
    """Channels that stayed: `channels` of `of` of a layer or group, for these reasons."""

    layer: str
    channels: int
    of: int
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class ReportData:
    """The numbers of a device report, without the ways to show them: `DeviceReport` adds those.

    Attributes:
        title: of the page.
        created: date and time, ISO 8601, UTC.
        command: that made it.
        seed: of the training, None where unknown.
        machine: that the files were measured on.
        versions: of Python and the packages that decide a result.
        totals, layers: the model before and after.
        files: what was exported and measured.
        panels: the training.
        barriers: what stayed whole, and why.
        advice: plain dictionaries of what will and will not help, one a file.
        metric: what scores are, by the user's name for it; the accuracies of proofs where no data were given.
        samples: how many the scores are measured on; None where they are not known.
        dense_score, small_score: of the two models; None where they are not known.
        format: of the JSON.
    """

    title: str
    created: str
    command: str
    seed: int | None
    machine: str
    versions: dict[str, str]
    totals: Totals
    layers: tuple[LayerRow, ...]
    files: tuple[FileRow, ...] = ()
    panels: tuple[Panel, ...] = ()
    barriers: tuple[BarrierRow, ...] = ()
    advice: tuple[dict[str, Any], ...] = ()
    metric: str = "accuracy"
    samples: int | None = None
    dense_score: float | None = None
    small_score: float | None = None
    format: int = field(default=FORMAT)

    def __post_init__(self) -> None:
        # Also of what an older version measured, or somebody made by hand.
        times = [latency for row in self.files for latency in row.latency]
        files = tuple(
            dataclasses.replace(row, latency=tuple(without_noise(each, times) for each in row.latency))
            for row in self.files
        )
        object.__setattr__(self, "files", files)

    def to_dict(self) -> dict[str, Any]:
        """Returns plain types, as JSON has them."""
        plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self), allow_nan=False))
        return plain

    @classmethod
    def from_dict(cls, content: Any) -> Self:
        """Returns the report that `to_dict` gave.

        Raises:
            ValueError: something else, or of another format.
        """
        number = content.get("format") if isinstance(content, dict) else None
        if number != FORMAT:
            raise ValueError(
                f"This is no report of format {FORMAT}: make it again with this version. Received: format {number!r}"
            )
        try:
            report: Self = _load(cls, content)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(
                f"The report lacks a part or has another shape: pass what write_json wrote. Received: {error!r}"
            ) from error
        return report


def _load(kind: Any, value: Any) -> Any:
    """Returns plain data as the dataclasses, tuples and scalars that the type hints name."""
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        hints = typing.get_type_hints(kind)
        return kind(**{name: _load(hints[name], each) for name, each in value.items()})
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is tuple:
        return tuple(_load(arguments[0], each) for each in value)
    if origin in (types.UnionType, typing.Union):
        return None if value is None else _load(next(each for each in arguments if each is not type(None)), value)
    return value
