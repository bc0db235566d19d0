"""Tiles at the top of the page: the outcome at a glance."""

from __future__ import annotations

from collections.abc import Iterator

from tfmot_swd.report.data import ReportData
from tfmot_swd.report.markup import Numbers, escape
from tfmot_swd.report.scoring import metric_unit

UNKNOWN_SCORE = "unknown: give --data, data= in Python"


def tiles(report: ReportData, numbers: Numbers) -> str:
    """Returns the accuracies, what is left of the model, the smallest file and its latency."""
    found = []
    for name, what in (
        ("parameters", "of the parameters"),
        ("nonzero", "of the non-zero weights that pruning counts"),
        ("nonzero_kernels", "of all non-zero kernel weights"),
        ("macs", "of the MACs"),
        ("activation_bytes", "of the activation bytes at once"),
    ):
        before, after = f"totals/{name}_before", f"totals/{name}_after"
        if numbers.get(before):
            shown = f"{numbers.show(before, 'short')} → {numbers.show(after, 'short')}"
            found.append((numbers.show(f"{after}:{before}", "round"), f"{what}<br>{shown}"))
    if report.files:
        index = min(range(len(report.files)), key=lambda each: report.files[each].bytes)
        size = numbers.show(f"files/{index}/bytes", "bytes")
        found.append((size, f"the smallest file<br>{escape(report.files[index].name)}"))
    found += _latency(report, numbers)
    cards = "".join(
        f'<div class="card tile"><div class="big">{big}</div><div class="what">{what}</div></div>'
        for big, what in found
    )
    return f'<section class="tiles" aria-label="Outcome">{_scores(report, numbers)}{cards}</section>'


def has_scores(report: ReportData) -> bool:
    """Returns whether there are scores to show: of files, or of models that were measured."""
    return bool(report.files) or report.dense_score is not None or report.small_score is not None


def score_field(report: ReportData) -> str:
    """Returns the field of the files' accuracies: "score", or "accuracy" where only exports measured them."""
    return "score" if any(each.score is not None for each in report.files) else "accuracy"


def score_title(report: ReportData) -> str:
    """Returns what the scores are and of how many samples, such as "accuracy on 500 samples, of the proofs"."""
    title = report.metric if report.samples is None else f"{report.metric} on {report.samples:,} samples"
    of_proofs = score_field(report) == "accuracy" and any(each.accuracy is not None for each in report.files)
    return f"{title}, of the proofs" if of_proofs else title


def _scores(report: ReportData, numbers: Numbers) -> str:
    """Returns what the dense model, the pruned one and each file get right."""
    if not has_scores(report):
        return ""
    unit, field = metric_unit(report.metric), score_field(report)
    rows = [
        (name, numbers.show(entry, unit) if value is not None else UNKNOWN_SCORE)
        for name, entry, value in (
            ("dense model", "dense_score", report.dense_score),
            ("pruned model", "small_score", report.small_score),
        )
    ]
    for index, each in enumerate(report.files):
        shown = "unknown" if getattr(each, field) is None else numbers.show(f"files/{index}/{field}", unit)
        is_other = field == "accuracy" and each.accuracy is not None and each.samples not in (None, report.samples)
        rows.append((each.name, shown + (f" on {each.samples:,}" if is_other else "")))
    listed = "".join(f"<dt>{escape(name)}</dt><dd>{told}</dd>" for name, told in rows)
    return f'<div class="card tile scores"><div class="what">{escape(score_title(report))}</div><dl>{listed}</dl></div>'


def _latency(report: ReportData, numbers: Numbers) -> Iterator[tuple[str, str]]:
    """Yields the least ratio to the dense file, of the files that are made as that one is; of all where none is.

    Yields the reason where all of these are too noisy.
    """
    by_name = {each.name: each for each in report.files}
    compared, noisy = [], []
    for row, each in enumerate(report.files):
        for column, latency in enumerate(each.latency):
            dense = by_name.get(latency.reference or "")
            if dense is None or dense is each:
                continue
            unlike = 0 if each.kind == dense.kind else 1 if each.form == dense.form else 2
            threads = f"{latency.threads} thread{'s' * (latency.threads > 1)}"
            kinds = f"both {each.kind}" if not unlike else f"{each.kind} against {dense.kind}"
            told = f"{each.name}, {kinds}, {threads}"
            if latency.ratio is not None:
                compared.append((unlike, latency.ratio, f"files/{row}/latency/{column}/ratio", told))
            elif latency.noise:
                noisy.append((unlike, f"{told}: {latency.noise}"))
    if noisy and (not compared or min(noisy)[0] < min(compared)[0]):
        yield "?", f"of the dense file's latency<br>{escape(min(noisy)[1])}"
    elif compared:
        _, _, where, told = min(compared)
        yield numbers.show(where, "ratio"), f"of the dense file's latency<br>{escape(told)}"
