"""Tables of the file section: sizes, proofs, times, inputs and outputs, operators, digests."""

from __future__ import annotations

from collections.abc import Sequence

from tfmot_swd.report.data import FileRow, ReportData
from tfmot_swd.report.markup import NOTHING, Numbers, escape, table
from tfmot_swd.report.scoring import metric_unit

# An operator that is run alone takes another time than within the file, where it is fused with others.
_NO_TIMES = (
    "Multiply-accumulates of one run, from the shapes in the file. How long each operator takes is not measured: the "
    "Python interpreters of LiteRT and TFLite Micro do not tell it. TensorFlow Lite's benchmark_model does, with "
    "--enable_op_profiling=true, on the device itself."
)


def file_tables(report: ReportData, numbers: Numbers) -> str:
    """Returns the tables, each in a card, nothing of those that have no rows."""
    files = report.files
    parts = (
        _sizes(report, numbers),
        _proofs(files, numbers),
        _times(files, numbers) + _reasons(files),
        _ports(files, numbers),
        _totals(files, numbers) + _operators(files, numbers),
        _digests(files),
    )
    return "".join(f'<div class="card below">{part}</div>' for part in parts if part)


def numbers_of_threads(files: Sequence[FileRow]) -> list[int]:
    """Returns the numbers of threads that any file was timed with."""
    return sorted({latency.threads for each in files for latency in each.latency})


def _of_files(
    caption: str,
    files: Sequence[FileRow],
    numbers: Numbers,
    columns: Sequence[tuple[str, str, str]],
    more: dict[str, Sequence[str]],
) -> str:
    """Returns a row for each file: heading, field and style of the columns, and further columns of HTML."""
    rows = [
        [
            f'{escape(each.name)} <span class="soft">{escape(each.kind)}</span>',
            *(numbers.show(f"files/{index}/{field}", style) for _, field, style in columns),
            *(cells[index] for cells in more.values()),
        ]
        for index, each in enumerate(files)
    ]
    # A file of which nothing is known here, such as one without a proof, has no row.
    rows = [row for row in rows if any(cell != NOTHING for cell in row[1:])]
    return table(caption, ["file", *(title for title, _, _ in columns), *more], rows) if rows else ""


def _sizes(report: ReportData, numbers: Numbers) -> str:
    files = report.files
    zeros = []
    for index, each in enumerate(files):
        entry = f"files/{index}"
        has_zeros = each.zeros is not None and each.weights
        zeros.append(numbers.show(f"{entry}/zeros:{entry}/weights", "share") if has_zeros else NOTHING)
    columns = [
        ("bytes", "bytes", "count"),
        ("gzip", "gzip_bytes", "count"),
        ("zstd", "zstd_bytes", "count"),
        (report.metric, "score", metric_unit(report.metric)),
    ]
    return _of_files("Sizes in bytes", files, numbers, columns, {"weights zero": zeros})


def _proofs(files: Sequence[FileRow], numbers: Numbers) -> str:
    columns = [
        ("samples", "samples", "count"),
        ("accuracy", "accuracy", "share"),
        ("in Keras", "keras_accuracy", "share"),
        ("same class", "agreement", "share"),
        ("worst difference", "worst_difference", "number"),
    ]
    return _of_files("Proofs: each file against the Keras model that it was made of", files, numbers, columns, {})


def _times(files: Sequence[FileRow], numbers: Numbers) -> str:
    columns = [
        ("in TFLite Micro", "micro_ms", "milliseconds"),
        ("arena there", "arena_bytes", "count"),
        ("peak memory", "peak_memory_bytes", "count"),
    ]
    more: dict[str, Sequence[str]] = {}
    for count in numbers_of_threads(files):
        times, ratios = [], []
        for index, each in enumerate(files):
            column = next((place for place, latency in enumerate(each.latency) if latency.threads == count), None)
            if column is None:
                times.append(NOTHING)
                ratios.append(NOTHING)
                continue
            entry, latency = f"files/{index}/latency/{column}", each.latency[column]
            between = f"{latency.low_ms:.3g} to {latency.high_ms:.3g}"
            times.append(f'{numbers.show(f"{entry}/median_ms", "milliseconds")} <span class="soft">{between}</span>')
            ratios.append("too noisy" if latency.noise else numbers.show(f"{entry}/ratio", "ratio"))
        threads = f"{count} thread{'s' * (count > 1)}"
        more |= {threads: times, f"ratio, {threads}": ratios}
    caption = "Times on this machine, medians with 10th and 90th percentile, and memory in bytes"
    return _of_files(caption, files, numbers, columns, more)


def _reasons(files: Sequence[FileRow]) -> str:
    """Returns the reasons for missing figures, without the messages of the interpreter."""
    told = [(each.name, text.partition(" Received:")[0]) for each in files for text in each.reasons]
    if not told:
        return ""
    items = "".join(f"<li>{escape(name)}: {escape(text)}</li>" for name, text in told)
    return f"<details><summary>Why figures are missing</summary><ul>{items}</ul></details>"


def _ports(files: Sequence[FileRow], numbers: Numbers) -> str:
    rows = []
    for index, each in enumerate(files):
        for kind in ("input", "output"):
            for place, port in enumerate(getattr(each, f"{kind}s")):
                entry = f"files/{index}/{kind}s/{place}"
                shape = "x".join("?" if side is None else str(side) for side in port.shape) or "scalar"
                rows.append(
                    [
                        escape(each.name),
                        f"{kind} {place}",
                        escape(port.name),
                        escape(shape),
                        escape(port.dtype),
                        numbers.show(f"{entry}/scale", "exact"),
                        numbers.show(f"{entry}/zero_point"),
                    ]
                )
    if not rows:
        return ""
    caption = "Inputs and outputs, by position: real value = (stored value - zero point) · scale"
    return table(caption, ["file", "position", "name", "shape", "dtype", "scale", "zero point"], rows, left=5)


def _totals(files: Sequence[FileRow], numbers: Numbers) -> str:
    shown = [(index, each) for index, each in enumerate(files) if each.operator_totals]
    if not shown:
        return ""
    names = dict.fromkeys(total.name for _, each in shown for total in each.operator_totals)
    rows = []
    for name in names:
        cells = [escape(name)]
        for index, each in shown:
            place = next((place for place, total in enumerate(each.operator_totals) if total.name == name), None)
            if place is None:
                cells.append(NOTHING)
                continue
            entry = f"files/{index}/operator_totals/{place}"
            is_known = each.operator_totals[place].macs is not None
            macs = numbers.show(f"{entry}/macs", "short") if is_known else "unknown"
            cells.append(f'{macs} <span class="soft">in {numbers.show(f"{entry}/count")}</span>')
        rows.append(cells)
    known = [each.macs is not None for _, each in shown]
    foot = ["total", *(numbers.show(f"files/{index}/macs", "short") for index, _ in shown)]
    foot = [cell if is_known else "unknown" for cell, is_known in zip(foot, [True, *known], strict=True)]
    content = table(
        "MACs by type of operator, and in how many operators",
        ["operator", *(each.name for _, each in shown)],
        rows,
        foot=foot,
    )
    return f'{content}<p class="key note">{escape(_NO_TIMES)}</p>'


def _operators(files: Sequence[FileRow], numbers: Numbers) -> str:
    parts = []
    for index, each in enumerate(files):
        if not each.operators:
            continue
        rows = [
            [
                escape(row.name),
                escape("x".join(map(str, row.output_shape))),
                numbers.show(f"files/{index}/operators/{place}/constant_bytes"),
                numbers.show(f"files/{index}/operators/{place}/macs"),
            ]
            for place, row in enumerate(each.operators)
        ]
        headings = ["operator", "output", "bytes of constants", "MACs"]
        content = table(f"Operators of {each.name}, in order", headings, rows)
        parts.append(f"<details><summary>{escape(each.name)}: {len(rows)} operators</summary>{content}</details>")
    if not parts:
        return ""
    return f"<details><summary>Operators of each file</summary>{''.join(parts)}</details>"


def _digests(files: Sequence[FileRow]) -> str:
    rows = [
        [escape(each.name), escape(each.file), f"<code>{escape(each.sha256)}</code>"] for each in files if each.sha256
    ]
    return table("SHA-256 of each file", ["file", "file name", "sha256"], rows, left=3) if rows else ""
