"""How results print: plain text anywhere, HTML in notebooks, compact or in full, and names in one piece."""

import html.parser
import io
import types
from typing import Any, cast

import numpy as np
import pytest
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tfmot_swd.channels import ChannelGroup, ChannelGroups, RemovalPlan
from tfmot_swd.channels.groups import Barrier, Member
from tfmot_swd.channels.plan import ChannelPlan, ChannelRow
from tfmot_swd.channels.removal import RemovalRow
from tfmot_swd.costs.profile import LayerProfile, Profile, ProfileComparison
from tfmot_swd.io.tables import FULL, Printable, ResultTable, View, as_html, as_text, print_tables
from tfmot_swd.pruning.plan import PlanRow, PruningPlan
from tfmot_swd.pruning.sparsity import LayerSparsity, SparsityReport
from tfmot_swd.report import DeviceReport
from tfmot_swd.report.data import BarrierRow, LayerRow, Totals
from tfmot_swd.tflite import ExportResult
from tfmot_swd.tflite.advice import FileAdvice

RESULTS = (
    ChannelGroups,
    ChannelPlan,
    DeviceReport,
    ExportResult,
    FileAdvice,
    Profile,
    ProfileComparison,
    PruningPlan,
    RemovalPlan,
    SparsityReport,
)


def sparsity(count: int) -> SparsityReport:
    """Returns layers of 10, 20, 30 ... weights, half of which are zero."""
    sizes = range(10, 10 * count + 10, 10)
    return SparsityReport(tuple(LayerSparsity(f"d{n}", n, n // 2, n, n // 2, n, n // 2) for n in sizes))


def lines_of(result: object) -> list[str]:
    """Returns the rows of a printed table without frame, the cells of each separated by one space."""
    return [" ".join(line.replace("│", " ").split()) for line in str(result).splitlines() if line.startswith("│")]


@pytest.mark.parametrize("kind", RESULTS)
def test_every_result_prints_by_the_one_way(kind):
    assert issubclass(kind, Printable)
    assert {"__str__", "__rich__", "_repr_html_", "_repr_mimebundle_", "full"}.isdisjoint(vars(kind))


@pytest.mark.parametrize("jupyter", [False, True])
def test_text_is_plain_where_rich_would_colour_it(jupyter, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setattr("rich.console._is_jupyter", lambda: jupyter)
    report = sparsity(2)
    assert "\x1b[" in _coloured(report)
    for text in (str(report), str(report.full()), repr(report.full())):
        assert "\x1b" not in text
        assert "10 of 30" not in text
        assert "15 of 30 prunable weights (50.00%)" in text
        assert text == "\n".join(line.rstrip() for line in text.splitlines())


def _coloured(report: SparsityReport) -> str:
    stream = io.StringIO()
    Console(file=stream, force_terminal=True, force_jupyter=False, color_system="standard", width=150).print(report)
    return stream.getvalue()


def test_a_long_table_has_totals_first_then_what_is_large_then_the_sum_of_the_others():
    lines = lines_of(sparsity(23))
    assert lines[0] == "total 2,760 1,380 2,760 50.00%"
    assert [line.split()[0] for line in lines[1:-1]] == [f"d{size}" for size in range(40, 240, 10)]
    assert lines[-1] == "and 3 more 60 30 60 50.00%"
    assert "20 of 23 layers, those with most parameters; .full() shows all" in " ".join(str(sparsity(23)).split())


def test_the_full_view_has_every_row_and_a_short_table_is_full():
    assert len(lines_of(sparsity(23).full())) == 1 + 23
    assert "more" not in str(sparsity(23).full())
    assert str(sparsity(20)) == str(sparsity(20).full())
    assert str(sparsity(23).full().full()) == str(sparsity(23).full())


def test_of_equal_rows_the_first_are_shown():
    shown, rest = View(most=2).split(["ab", "cd", "efg", "hi"], len)
    assert (shown, rest) == (["ab", "efg"], ["cd", "hi"])
    assert FULL.split([3, 1, 2], int) == ([3, 1, 2], [])


def test_what_somebody_chose_is_shown_however_small():
    reasons = ["left out by name", *["no prunable weights known of this class"] * 3, *[""] * 20]
    rows = [PlanRow(f"d{i}", "Dense", i, i, 0 if why else i, i, i, 0, why, i) for i, why in enumerate(reasons)]
    lines = lines_of(PruningPlan(tuple(rows)))
    assert lines[1] == "d0 Dense 0 left out by name"
    assert lines[-1] == "and 4 more 10 4 no prunable weights known of this class (3)"


def profile_of(*parameters: int) -> Profile:
    rows = (LayerProfile(f"d{i}", "Dense", 1, ((2,),), count, count, 0, True, 0) for i, count in enumerate(parameters))
    return Profile(tuple(rows), 1, 0, "d0")


def test_a_comparison_shows_what_changed():
    before, after = profile_of(*[100] * 22), profile_of(60, *[100] * 20, 40)
    lines = lines_of(before.against(after))
    assert lines[0] == "total 2.2k → 2.1k 0.955"
    assert [line.split()[0] for line in lines[3:-1]] == ["d0", *(f"d{i}" for i in range(1, 19)), "d21"]
    assert lines[-1] == "and 2 more 200 → 200 1"


def groups_of(sizes: list[int], stay: list[int]) -> ChannelGroups:
    """Returns groups g0, g1 ... of these sizes, and layers s0, s1 ... of which so many channels stay."""
    members = tuple(Member(f"m{i}", "kernel", 1, np.zeros(0, np.int64), role, i) for i in range(6) for role in ROLES)
    groups = [ChannelGroup(f"g{i}", size, members, np.arange(size)) for i, size in enumerate(sizes)]
    barriers = [Barrier(f"s{i}", count, 2 * count, ("model output",)) for i, count in enumerate(stay)]
    # Nothing else is looked at to print.
    trace = types.SimpleNamespace(is_all_of_a_tensor=lambda ids: np.zeros(len(ids), bool))
    return ChannelGroups(None, cast(Any, trace), groups, barriers)


ROLES = ("produce", "consume")


def test_channel_groups_sum_up_small_groups_layers_that_stay_and_long_lists_of_names():
    groups = groups_of([*range(1, 23)], [*range(1, 23)])
    lines = lines_of(groups)
    assert lines[0] == "g2 3 m0, m1, m2, m3 and 2 more m0, m1, m2, m3 and 2 more"
    assert lines[20] == "and 2 more 3"
    assert lines[-1] == "and 2 more 3 stay model output (2)"
    whole = lines_of(groups.full())
    assert whole[0] == "g0 1 m0, m1, m2, m3, m4, m5 m0, m1, m2, m3, m4, m5"
    assert len(whole) == 44
    assert "22 groups, the largest; .full() shows all 20 of 22 layers whose channels stay" in " ".join(
        str(groups).split()
    )


def test_a_channel_plan_shows_what_stays_whole_first():
    rows = [ChannelRow(f"g{i}", i, (), "left out by name" if i == 1 else "") for i in range(1, 23)]
    lines = lines_of(ChannelPlan(groups_of([], []), tuple(rows)))
    assert lines[0] == "g1 1 left out by name"
    assert lines[-1] == "and 2 more 5"


def test_a_removal_plan_shows_remarks_first_and_sums_up():
    rows = [RemovalRow(f"g{i}", 10 + i, 10, "rounded" if i < 2 else "") for i in range(23)]
    lines = lines_of(RemovalPlan(groups_of([], [*range(1, 23)]), np.zeros(0, bool), tuple(rows)))
    assert lines[:3] == ["total 483 230", "g0 10 10 rounded", "g1 11 10 rounded"]
    assert lines[21] == "and 3 more 39 30"
    assert lines[-1] == "and 2 more 6 3 model output (2)"


def test_a_device_report_sums_up_layers_that_changed_least():
    layers = tuple(LayerRow(f"d{i}", "Dense", 4, 2, 100, i, 90, i, 90, i, 80, None, 70, i, 70, i) for i in range(22))
    totals = Totals(2200, 231, 1980, 231, 1980, 231, 1760, 0, 8, 4)
    stays = tuple(BarrierRow(f"s{i}", 1, 2, ("model output",)) for i in range(21))
    lines = lines_of(DeviceReport("t", "", "", None, "", {}, totals, layers, barriers=stays))
    assert lines[0] == "total 2,200 → 231 (10%) 1,980 → 231 (12%) - → - 1,760 → 0 (0%)"
    assert lines[21] == "and 2 more 200 → 41 (20%) 180 → 41 (23%) 140 → 41 (29%) 160 → -"
    assert lines[-1] == "and 1 more 1 of 2 model output (1)"


@pytest.mark.parametrize("columns", [30, 80])
def test_no_word_is_folded_however_narrow_the_terminal(columns):
    name, path = "a_layer_name_of_" + "many" * 12, "/tmp/" + "folder" * 20 + "/net.tflite"
    table = ResultTable(f"Measured of {path}")
    for heading in ("layer", "made by"):
        table.add_column(heading, overflow="fold")
    table.add_row(name, f"first_{name}, second_{name}")
    table.add_row("my layer", "reasons in words that may go on below themselves, between two words")
    stream = io.StringIO()
    print_tables(Console(file=stream, width=columns), table)
    text = stream.getvalue()
    assert all(each in text for each in (path, f" {name} ", f"first_{name},", f"second_{name}", " my layer "))
    # All lines of the frame are of one length, which the longest words ask for.
    assert len({len(line) for line in text.splitlines() if line[0] in "│├┏┡└"}) == 1


def test_columns_of_words_share_a_terminal_between_them():
    table = ResultTable()
    for heading in ("layer", "reason", "remedy"):
        table.add_column(heading)
    table.add_row("conv", "word " * 40, "word " * 40)
    assert max(map(len, as_text(table, width=60).splitlines())) == 60


class _Cells(html.parser.HTMLParser):
    """Collects the tags and the text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def test_html_has_the_rows_of_the_compact_table_and_that_of_full_all_of_them():
    page = _Cells(sparsity(23)._repr_html_())
    assert page.tags.count("tr") == 1 + 1 + 20 + 1
    assert page.text[1:11] == [
        "layer",
        "parameters",
        "non-zero",
        "prunable",
        "non-zero share",
        "total",
        "2,760",
        "1,380",
        "2,760",
        "50.00%",
    ]
    assert page.text[-1].endswith(".full() shows all")
    assert _Cells(sparsity(23).full()._repr_html_()).tags.count("tr") == 1 + 1 + 23


def test_names_are_shown_as_they_are_and_never_interpreted():
    name = "<script>alert(1)</script>[red]&\x1b[31m\x07"
    report = SparsityReport((LayerSparsity(name, 1, 1, 1, 1, 1, 1),))
    page = _Cells(report._repr_html_())
    assert "script" not in page.tags
    shown = r"<script>alert(1)</script>[red]&\x1b[31m\x07"
    assert shown in page.text
    assert f"│ {shown} │" in str(report)
    assert f"│ {shown} │" in _coloured(report)


def test_a_heading_is_shown_as_it_is():
    table = ResultTable()
    table.add_column("my [int8] <recipe>")
    assert "my [int8] <recipe>" in as_text(table)
    assert ">my [int8] &lt;recipe&gt;</th>" in as_html(table)


def test_ipython_shows_the_printed_text_where_it_shows_no_html():
    report = sparsity(2)
    assert report._repr_mimebundle_() == {"text/plain": str(report), "text/html": report._repr_html_()}


def test_html_of_any_table_of_rich():
    table = Table(title="a [b]bold[/b] title", caption="below")
    table.add_column("left")
    table.add_column("right", justify="right")
    table.add_row("[red]marked[/red]", Text("two\nlines"), style="dim")
    assert as_html(table, table) == "\n".join(
        [
            "<table><caption>a bold title</caption>"
            '<thead><tr><th style="white-space: nowrap; text-align: left">left</th>'
            '<th style="text-align: right">right</th></tr></thead>'
            '<tbody><tr style="opacity: 0.6"><td style="white-space: nowrap; text-align: left">marked</td>'
            '<td style="text-align: right">two<br>lines</td></tr></tbody></table><p>below</p>'
        ]
        * 2
    )
