"""File section of the page: accuracy against bytes, sizes and times, as charts and tables."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from tfmot_swd.report.charts import Point, accuracy_chart, bar, is_beyond
from tfmot_swd.report.data import FileRow, ReportData
from tfmot_swd.report.file_tables import file_tables, numbers_of_threads
from tfmot_swd.report.markup import Numbers, escape, key
from tfmot_swd.report.scoring import ACCURACY, metric_unit
from tfmot_swd.report.tiles import score_field
from tfmot_swd.tflite.latency import noises

# A bar so many times longer than the median is broken off.
_OUTLIER = 5
# Of TFLite Micro: the field, how its values are written, their unit, title and legend of the picture.
_FIGURES = (
    (
        *("micro_ms", "milliseconds", "milliseconds", "Time in TFLite Micro"),
        "On this machine, by its reference kernels: compare files, not microcontrollers.",
    ),
    ("arena_bytes", "count", "bytes", "Arena in TFLite Micro", "Working memory beside the file itself, in bytes."),
)
# One row of bars: name, parts and whisker as `bar` takes them but in the unit of the list, and what is written.
BarRow = tuple[str, list[tuple[float, str]], tuple[float, float] | None, str]


def file_section(report: ReportData, numbers: Numbers) -> str:
    """Returns the pictures and tables of the files, nothing where there are none."""
    if not report.files:
        return ""
    pictures = (
        _accuracy(report),
        _bytes(report.files, numbers),
        *(_latency(report.files, numbers, count) for count in numbers_of_threads(report.files)),
        *(_figure(report.files, numbers, *figure) for figure in _FIGURES),
    )
    cards = "".join(f'<div class="card">{picture}</div>' for picture in pictures if picture)
    return f'<section><h2>Files</h2><div class="panels">{cards}</div>{file_tables(report, numbers)}</section>'


def _accuracy(report: ReportData) -> str:
    field, unit = score_field(report), metric_unit(report.metric)
    known = [(each, getattr(each, field)) for each in report.files]
    points = [Point(each.name, each.bytes, each.gzip_bytes, value) for each, value in known if value is not None]
    if not points:
        return ""
    title = report.metric[:1].upper() + report.metric[1:] if report.metric == ACCURACY else report.metric
    legend = '<p class="key">A dot is a file as it is, the ring beside it the same file as gzip.</p>'
    return f"<h3>{escape(title)} against bytes</h3>{legend}{accuracy_chart(points, 'accuracy', title, unit)}"


def _bytes(files: Sequence[FileRow], numbers: Numbers) -> str:
    rows: list[BarRow] = [
        (
            each.name,
            [(each.bytes, "before"), (each.gzip_bytes, "after")],
            None,
            f"{numbers.show(f'files/{index}/bytes', 'bytes')} · {numbers.show(f'files/{index}/gzip_bytes', 'bytes')}",
        )
        for index, each in enumerate(files)
    ]
    legend = key(("before", "bytes on the device"), ("after", "of these as gzip, to download"))
    return f"<h3>Bytes, and bytes as gzip</h3>{legend}{_bars(rows, 'bytes')}"


def _latency(files: Sequence[FileRow], numbers: Numbers, threads: int) -> str:
    rows: list[BarRow] = []
    for index, each in enumerate(files):
        for column, latency in enumerate(each.latency):
            if latency.threads == threads:
                entry = f"files/{index}/latency/{column}"
                ratio = "" if latency.ratio is None else f" · {numbers.show(f'{entry}/ratio', 'ratio')}"
                ratio = " · too noisy to compare" if latency.noise else ratio
                shown = f"{numbers.show(f'{entry}/median_ms', 'milliseconds')}{ratio}"
                rows.append((each.name, [(latency.median_ms, "after")], (latency.low_ms, latency.high_ms), shown))
    legend = "Median of the rounds, and their 10th to 90th percentile."
    if any(latency.ratio is not None for each in files for latency in each.latency if latency.threads == threads):
        legend += (
            " 0.5x: half of the dense file's time in the same round, as the median of these ratios; the ratio of the "
            "two medians can be another."
        )
    noise = noises(each for row in files for each in row.latency if each.threads == threads)
    told = "".join(f'<p class="key">{escape(text)}</p>' for text in (legend, *noise))
    title = f"Latency on this machine, {threads} thread{'s' * (threads > 1)}"
    return f"<h3>{title}</h3>{told}{_bars(rows, 'milliseconds')}"


def _figure(
    files: Sequence[FileRow], numbers: Numbers, field: str, style: str, unit: str, title: str, legend: str
) -> str:
    """Returns a bar for each file of which the figure is known."""
    values = [(index, each.name, getattr(each, field)) for index, each in enumerate(files)]
    rows: list[BarRow] = [
        (name, [(value, "second")], None, numbers.show(f"files/{index}/{field}", style))
        for index, name, value in values
        if value is not None
    ]
    return f'<h3>{title}</h3><p class="key">{legend}</p>{_bars(rows, unit)}' if rows else ""


def _bars(rows: Sequence[BarRow], unit: str) -> str:
    lengths = [max(value for value, _ in parts) for _, parts, _, _ in rows]
    # One file that is far slower than all must not squeeze the bars of the others; its own is broken off.
    longest = max(length for length in lengths if length <= _OUTLIER * statistics.median(lengths)) or 1
    # Whiskers may reach further than any median, within reason.
    longest = max(longest, min(max((row[2][1] for row in rows if row[2]), default=0), 1.5 * longest))
    cells = []
    for name, parts, whisker, shown in rows:
        label = f"{name}: {', '.join(f'{value:,.4g}' for value, _ in parts)} {unit}"
        ends = None
        if whisker is not None:
            label += f", 10th to 90th percentile {whisker[0]:,.4g} to {whisker[1]:,.4g}"
            ends = (whisker[0] / longest, whisker[1] / longest)
        drawn = bar([(value / longest, kind) for value, kind in parts], label, ends)
        cells.append(f'<div class="layer">{escape(name)}</div><div class="amount">{shown}</div>{drawn}')
    return f'{_marks(rows, longest)}<div class="bars">{"".join(cells)}</div>'


def _marks(rows: Sequence[BarRow], longest: float) -> str:
    """Returns what the marks at the edge mean, of those that are there."""
    told = []
    if any(is_beyond(value / longest) for _, parts, _, _ in rows for value, _ in parts):
        told.append("A bar with a gap is longer than the place for it.")
    if any(is_beyond(row[2][1] / longest) for row in rows if row[2]):
        told.append("An arrow: the percentile lies beyond the edge.")
    return f'<p class="key">{" ".join(told)}</p>' if told else ""
