"""Terminal tables of a report."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import SimpleNamespace

from rich.table import Table
from rich.text import Text

from tfmot_swd.io.tables import ResultTable, View, counted, visible
from tfmot_swd.report.advice_section import advice_title, verdicts
from tfmot_swd.report.data import LayerRow, ReportData, has_weights
from tfmot_swd.report.markup import STYLES
from tfmot_swd.report.scoring import metric_unit
from tfmot_swd.report.tiles import UNKNOWN_SCORE, has_scores, score_field, score_title
from tfmot_swd.tflite.latency import noises


def report_tables(report: ReportData, view: View) -> tuple[Table, ...]:
    """Returns the layers, the files, what stayed and the advice, each as a table where there is any."""
    tables = [_layers(report, view)]
    if report.files:
        tables.append(_files(report))
    if has_scores(report):
        tables.append(_scores(report))
    if report.barriers:
        tables.append(_barriers(report, view))
    return (*tables, *_advice(report))


def _layers(report: ReportData, view: View) -> Table:
    table = ResultTable(f"{report.title}: before → after")
    table.add_column("layer", overflow="fold")
    for heading in ("channels", "parameters", "weights not zero", "kernels not zero", "MACs"):
        table.add_column(heading, justify="right")
    names = ("channels", "parameters", "nonzero", "nonzero_kernels", "macs")
    table.add_row("total", "", *(_pair(report.totals, each) for each in names[1:]), end_section=True)
    shown, rest = view.split([row for row in report.layers if has_weights(row)], _weight)
    for row in shown:
        table.add_row(row.layer, *(_pair(row, each) for each in names))
    if rest:
        table.add_row(f"and {len(rest)} more", "", *(_pair_of_sums(rest, each) for each in names[1:]))
    table.explain(
        f"at most {_pair(report.totals, 'activation_bytes')} activation bytes at once",
        view.note(shown, rest, "layers with weights, those that changed most"),
    )
    return table


def _weight(row: LayerRow) -> tuple[int, int]:
    """Returns by how many parameters a layer changed, and how many it had."""
    before, after = row.parameters_before or 0, row.parameters_after or 0
    return abs(after - before), before


def _pair_of_sums(rows: Sequence[LayerRow], name: str) -> str:
    """Returns what `_pair` does, of several layers together."""
    keys = [f"{name}_{side}" for side in ("before", "after")]
    columns = ([value for row in rows if (value := getattr(row, key)) is not None] for key in keys)
    return _pair(SimpleNamespace(**{k: sum(v) if v else None for k, v in zip(keys, columns, strict=True)}), name)


def _pair(row: object, name: str) -> str:
    before, after = (getattr(row, f"{name}_{side}") for side in ("before", "after"))
    shown = " → ".join("-" if each is None else f"{each:,}" for each in (before, after))
    return f"{shown} ({after / before:.0%})" if before and after is not None and name != "channels" else shown


def _scores(report: ReportData) -> Table:
    """Returns the scores of both models and all files."""
    table = ResultTable(score_title(report))
    table.add_column("")
    table.add_column(Text(visible(report.metric)), justify="right")
    unit, field = metric_unit(report.metric), score_field(report)
    for name, value in (("dense model", report.dense_score), ("pruned model", report.small_score)):
        table.add_row(name, UNKNOWN_SCORE if value is None else _shown(value, unit))
    for each in report.files:
        value = getattr(each, field)
        table.add_row(each.name, "unknown" if value is None else _shown(value, unit))
    return table


def _files(report: ReportData) -> Table:
    threads = sorted({latency.threads for each in report.files for latency in each.latency})
    table = ResultTable("Files (0.5x: half of the dense file's time, in the median of the rounds)")
    table.add_column("file", overflow="fold")
    times = [f"ms, {count} thread{'s' * (count > 1)}" for count in threads]
    for heading in ("bytes", "gzip", "same class", "worst diff.", *times, "arena", "Micro ms"):
        table.add_column(heading, justify="right", overflow="fold")
    for each in report.files:
        by_threads = {latency.threads: latency for latency in each.latency}
        cells = []
        for count in threads:
            latency = by_threads.get(count)
            ratio = "" if latency is None or latency.ratio is None else f" {latency.ratio:.2f}x"
            ratio = " too noisy" if latency is not None and latency.noise else ratio
            cells.append("-" if latency is None else f"{latency.median_ms:.3g}{ratio}")
        table.add_row(
            each.name,
            _shown(each.bytes, "count"),
            _shown(each.gzip_bytes, "count"),
            _shown(each.agreement, "share"),
            _shown(each.worst_difference, "number"),
            *cells,
            _shown(each.arena_bytes, "count"),
            _shown(each.micro_ms, "number"),
        )
    told = [(each.name, text.partition(" Received:")[0]) for each in report.files for text in each.reasons]
    noise = noises(latency for each in report.files for latency in each.latency)
    table.explain(*(f"{name}: {text}" for name, text in told), *noise)
    return table


def _advice(report: ReportData) -> Iterator[Table]:
    rows = verdicts(report.advice)
    if rows:
        table = ResultTable("Verdicts on each file")
        for heading in ("topic", *(advice_title(entry) for entry in report.advice)):
            table.add_column(Text(visible(heading)), overflow="fold")
        for row in rows:
            table.add_row(*row)
        table.explain("why, and what to do instead: on the page")
        yield table


def _shown(value: float | None, style: str) -> str:
    return "-" if value is None else STYLES[style](value)


def _barriers(report: ReportData, view: View) -> Table:
    table = ResultTable("What stayed, and why")
    table.add_column("layer", overflow="fold")
    table.add_column("channels", justify="right")
    table.add_column("because", overflow="fold")
    shown, rest = view.split(report.barriers, lambda row: row.channels)
    for row in shown:
        table.add_row(row.layer, f"{row.channels:,} of {row.of:,}", "; ".join(row.reasons))
    if rest:
        channels, of = sum(row.channels for row in rest), sum(row.of for row in rest)
        reasons = counted("; ".join(row.reasons) for row in rest)
        table.add_row(f"and {len(rest)} more", f"{channels:,} of {of:,}", reasons)
    table.explain(view.note(shown, rest, "layers, those of which most stay"))
    return table
