"""The report as one self-contained HTML page: text, tables, charts and the data itself."""

from __future__ import annotations

import datetime
from collections.abc import Iterator

from tfmot_swd.report.advice_section import advice_section
from tfmot_swd.report.charts import bar, line_chart, scale_of
from tfmot_swd.report.data import LayerRow, ReportData, has_weights
from tfmot_swd.report.file_section import file_section
from tfmot_swd.report.markup import NOTHING, Numbers, described, embed, escape, key, table
from tfmot_swd.report.style import STYLE
from tfmot_swd.report.tiles import tiles

# Nothing is fetched, nothing is run: what is in the data cannot do either.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def page(report: ReportData) -> str:
    """Returns the page; every number in it names the entry of the embedded JSON that it shows."""
    data = report.to_dict()
    numbers = Numbers(data)
    sections = (
        _head(report),
        tiles(report, numbers),
        _layers(report, numbers),
        file_section(report, numbers),
        _training(report, numbers),
        _barriers(report, numbers),
        advice_section(report),
        _origin(report),
    )
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{escape(report.title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(section for section in sections if section)
        + f'\n</main>\n<script type="application/json" id="report-data">{embed(data)}</script>\n</body>\n</html>\n'
    )


def _head(report: ReportData) -> str:
    created = datetime.datetime.fromisoformat(report.created)
    facts = [f"{created:%Y-%m-%d %H:%M} UTC"]
    facts += [] if report.seed is None else [f"seed {report.seed}"]
    facts += [f"tfmot_swd {report.versions['tfmot_swd']}"] if "tfmot_swd" in report.versions else []
    return f'<header><h1>{escape(report.title)}</h1><p class="soft">{escape(" · ".join(facts))}</p></header>'


def _layers(report: ReportData, numbers: Numbers) -> str:
    """Returns channels and weights of the layers that have weights to prune, as bars; all layers as a table."""
    widest = max((row.channels_before or 0 for row in report.layers), default=0)
    cells = [
        cell
        for index, row in enumerate(report.layers)
        if has_weights(row)
        for cell in _layer_cells(row, f"layers/{index}", numbers, max(widest, 1))
    ]
    if not cells:
        return ""
    legend = key(
        ("before", "before, and gone now"), ("zero", "weights that stay and are zero"), ("after", "left, and not zero")
    )
    head = "".join(
        f'<div class="head{kind}">{text}</div>'
        for text, kind in (
            ("layer", ""),
            ("channels", ""),
            ("before → after", " amount"),
            ("weights, each layer's own 100 %", ""),
            ("not zero", " amount"),
        )
    )
    return (
        f'<section><h2>Layer by layer</h2><div class="card">{legend}<div class="layers">{head}{"".join(cells)}</div>'
        f"<details><summary>All numbers</summary>{_layer_table(report, numbers)}</details></div></section>"
    )


def _layer_cells(row: LayerRow, entry: str, numbers: Numbers, widest: int) -> Iterator[str]:
    """Yields name, bar of channels, their numbers, bar of weights, their numbers."""
    yield f'<div class="layer">{escape(row.layer)} <span class="soft">{escape(row.kind)}</span></div>'
    before, after = (each or 0 for each in (row.channels_before, row.channels_after))
    yield bar([(before / widest, "before"), (after / widest, "after")], f"{after} of {before} channels")
    is_gone = row.weights_after is None
    left = "gone" if is_gone else numbers.show(f"{entry}/channels_after")
    # Without a head above the columns, on a telephone, each number says what it is of.
    yield (
        f'<div class="amount"><span class="narrow">channels </span>'
        f"{numbers.show(f'{entry}/channels_before')} → {left}</div>"
    )
    # Of layers whose kernels pruning does not count, such as depthwise convolutions, the kernels stand for themselves.
    is_counted = bool(row.weights_before or row.weights_after)
    all_of, left_of = ("weights", "nonzero") if is_counted else ("kernels", "nonzero_kernels")
    first, last, nonzero = (
        getattr(row, name) or 0 for name in (f"{all_of}_before", f"{all_of}_after", f"{left_of}_after")
    )
    whole = first or last or 1
    yield bar(
        [(1.0, "before"), (last / whole, "zero"), (nonzero / whole, "after")],
        f"{nonzero} of {first} weights are left and not zero",
    )
    shown = "gone" if is_gone else numbers.show(f"{entry}/{left_of}_after", "short")
    if first and not is_gone:
        shown += f" · {numbers.show(f'{entry}/{left_of}_after:{entry}/{all_of}_before', 'round')}"
    yield f'<div class="amount"><span class="narrow">not zero </span>{shown}</div>'


def _layer_table(report: ReportData, numbers: Numbers) -> str:
    columns = {
        "channels": "channels",
        "parameters": "parameters",
        "weights": "weights",
        "nonzero": "non-zero",
        "kernels": "kernels",
        "nonzero_kernels": "non-zero kernels",
        "macs": "MACs",
    }

    def pair(entry: str, name: str) -> str:
        before, after = (numbers.show(f"{entry}/{name}_{side}") for side in ("before", "after"))
        return NOTHING if before == after == NOTHING else f"{before} → {after}"

    rows = [
        [escape(row.layer), escape(row.kind), *(pair(f"layers/{index}", name) for name in columns)]
        for index, row in enumerate(report.layers)
    ]
    total = ["total", "", "", *(pair("totals", name) for name in columns if name != "channels")]
    caption = "Layers with parameters or MACs, before → after"
    return table(caption, ["layer", "class", *columns.values()], rows, left=2, foot=total)


def _training(report: ReportData, numbers: Numbers) -> str:
    """Returns small charts over the same axis."""
    last: dict[str, list[float]] = {}
    for panel in report.panels:
        last.setdefault(panel.x_label, [0.0]).extend(x for line in panel.series for x in line.x)
    pictures = []
    for index, panel in enumerate(report.panels):
        named = []
        for number, line in enumerate(panel.series):
            style = {"share": "share", "count": "short"}.get(panel.unit, "number")
            end = numbers.show(f"panels/{index}/series/{number}/y/{len(line.y) - 1}", style)
            kind = f"swatch line c{number % 4}" + (" target" if line.is_target else "")
            named.append(f'<span><span class="{kind}"></span>{escape(line.name)} {end}</span>')
        x_scale = scale_of(last[panel.x_label], from_zero=True)
        pictures.append(
            f'<div class="card"><h3>{escape(panel.title)}</h3><div class="key">{"".join(named)}</div>'
            f"{line_chart(panel, x_scale, f'panel-{index}')}</div>"
        )
    if not pictures:
        return ""
    has_targets = any(line.is_target for panel in report.panels for line in panel.series)
    bands = "; the pale bands are what the schedule wants" * has_targets
    note = f'<p class="soft">The numbers are those at the end{bands}.</p>'
    return f'<section><h2>Training</h2>{note}<div class="panels">{"".join(pictures)}</div></section>'


def _barriers(report: ReportData, numbers: Numbers) -> str:
    if not report.barriers:
        return ""
    rows = [
        [
            escape(row.layer),
            f"{numbers.show(f'barriers/{index}/channels')} of {numbers.show(f'barriers/{index}/of')}",
            escape("; ".join(row.reasons)),
        ]
        for index, row in enumerate(report.barriers)
    ]
    content = table(
        "Channels that could not leave", ["layer", "channels that stay", "because"], rows, left=1, wide=(2,)
    )
    return f'<section><h2>What stayed, and why</h2><div class="card">{content}</div></section>'


def _origin(report: ReportData) -> str:
    versions = ", ".join(f"{escape(name)} {escape(number)}" for name, number in report.versions.items())
    facts = [("command", f"<code>{escape(report.command)}</code>")]
    facts += [] if report.seed is None else [("seed", escape(report.seed))]
    facts += [("made", escape(report.created)), ("machine", escape(report.machine)), ("versions", versions)]
    facts += [("data", "all of it is in this page, as JSON in the element <code>report-data</code>")]
    return f'<section><h2>Where this comes from</h2><div class="card">{described(facts)}</div></section>'
