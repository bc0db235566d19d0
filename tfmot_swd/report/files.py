"""File rows of a report: export, measurement and score of the same file, joined."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tfmot_swd.report.data import FileRow
from tfmot_swd.report.scoring import Scores
from tfmot_swd.tflite.file_rows import operator_totals
from tfmot_swd.tflite.measure import FileMeasure, describe_file
from tfmot_swd.tflite.result import ExportResult

# What a row takes over from a measure as it is.
_MEASURED = (
    *("latency", "peak_memory_bytes", "arena_bytes", "micro_ms", "weights", "zeros", "operators", "form"),
    *("bytes", "gzip_bytes", "zstd_bytes", "sha256", "inputs", "outputs"),
)


def file_rows(
    exports: Iterable[ExportResult], measures: Iterable[FileMeasure], scores: Scores | None = None
) -> tuple[FileRow, ...]:
    """Returns the files that were measured but not exported, usually the dense one; then the exports in their order.

    Args:
        exports: each is joined by the measure of the same file.
        measures: of files, whether they were exported here or not.
        scores: of the files by their paths.

    Raises:
        ValueError: a file has changed since it was proven or measured.
    """
    left = list(measures)
    rows = []
    for export in exports:
        place = os.path.realpath(export.path)
        measure = next((each for each in left if os.path.realpath(each.path) == place), None)
        left = [each for each in left if each is not measure]
        if measure is None and export.sha256 and os.path.isfile(place):
            # What it holds is told all the same.
            measure = describe_file(Path(export.path).stem, export.path)
        rows.append(_row(export, measure, scores))
    return (*(_row(None, each, scores) for each in left), *rows)


def _row(export: ExportResult | None, measure: FileMeasure | None, scores: Scores | None) -> FileRow:
    found: dict[str, Any] = {"sha256": export.sha256 if export is not None else ""}
    path = measure.path if export is None and measure is not None else "" if export is None else export.path
    if measure is not None:
        found |= {name: getattr(measure, name) for name in _MEASURED}
        found["reasons"] = tuple(text for text in (measure.runtime_reason, measure.micro_reason) if text)
        found |= {"name": measure.name, "file": Path(measure.path).name, "recipe": ""}
    if export is not None:
        _require_same(export, "" if measure is None else measure.sha256)
        plain = export.to_dict()
        names = ("recipe", "bytes", "gzip_bytes", "keras_accuracy", "worst_difference", "agreement", "samples")
        found |= {name: plain[name] for name in names}
        # An accuracy of no sample with labels, and a form of size that this machine cannot make, are None.
        found |= {name: plain[name] for name in ("accuracy", "zstd_bytes") if plain.get(name) is not None}
        if measure is None or measure.zeros is None:
            found |= {name: plain.get(name) for name in ("weights", "zeros")}
        found |= {"file": Path(export.path).name}
        found.setdefault("name", Path(export.path).stem)
    if scores is not None:
        found["score"] = scores.files.get(path)
        found["reasons"] = (*found.get("reasons", ()), *([scores.reasons[path]] if path in scores.reasons else []))
    totals = operator_totals(found.get("operators", ()))
    macs = [each.macs for each in totals if each.macs is not None]
    return FileRow(**found, operator_totals=totals, macs=sum(macs) if macs and len(macs) == len(totals) else None)


def _require_same(export: ExportResult, digest: str) -> None:
    if export.sha256 and digest and export.sha256 != digest:
        raise ValueError(
            "The file is not the one any more that was proven, so that its accuracy and its other figures are not of "
            f"one file: export it again. Received: {os.fspath(export.path)!r} of sha256 {digest[:12]}, proven "
            f"as {export.sha256[:12]}"
        )
