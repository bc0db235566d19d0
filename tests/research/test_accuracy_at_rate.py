"""The table of the accuracy benchmark, from records made up here."""

import pytest

from research import accuracy_at_rate as benchmark
from research.journal import Journal
from research.tables import draw_panels, write_markdown


@pytest.fixture
def results(tmp_path, monkeypatch):
    monkeypatch.setattr(benchmark, "RESULTS", tmp_path)
    shared = benchmark._shared("fashion_mnist")

    def add(part, method, rate, accuracy, seed=0, **changes):
        result = {"test_accuracy": accuracy, "before_cut": 0.5, "after_cut": accuracy}
        key = {**shared, "method": method, "rate": rate, "seed": seed, **changes}
        Journal(tmp_path / f"accuracy_at_rate_fashion_mnist{part}.jsonl").append(key, result)

    return add


def test_parts_and_seeds_join_and_other_settings_stay_out(results):
    results("_a", "dense", 0.0, 0.9)
    results("_a", "swd", 0.98, 0.6)
    results("_b", "swd", 0.98, 0.6)
    results("_b", "swd", 0.98, 0.8, seed=1)
    results("_b", "swd", 0.98, 0.1, epochs=1)
    results("_b", "tfmot", 0.98, None)
    results("_b", "tfmot", 0.98, None, seed=1)

    table = benchmark.table_of("fashion_mnist")
    (row,) = table.rows
    cells = dict(zip(table.heading, row, strict=True))
    assert cells["rate removed"] == "98.0%"
    assert cells["dense"] == "90.00"
    assert cells["SWD (default)"] == "70.00 (2)"
    # A run that diverged has no accuracy, and counts as none right.
    assert cells["TFMOT gradual"] == "0.00 (2)"
    assert cells["SWD jump at the cut"] == "30.00"


def test_a_seed_that_some_methods_lack_enters_no_mean(results):
    results("", "swd", 0.95, 0.6)
    results("", "swd", 0.95, 0.8, seed=1)
    results("", "tfmot", 0.95, 0.5)

    (row,) = benchmark.table_of("fashion_mnist").rows

    assert "60.00" in row
    assert not any("(2)" in cell for cell in row)


def test_jobs_name_every_method_at_the_wanted_rates():
    keys = list(benchmark.jobs("fashion_mnist", ["dense", "swd"], 1, ["0.99"]))
    assert [(key["method"], key["rate"]) for key in keys] == [("dense", 0.0), ("swd", 0.99)]


def test_report_writes_a_table_and_a_plot(results, tmp_path):
    results("", "dense", 0.0, 0.9)
    results("", "swd", 0.98, 0.88)
    path = write_markdown(tmp_path / "table.md", [benchmark.table_of("fashion_mnist")])
    assert "| 98.0% | 90.00 | 88.00 |" in path.read_text()
    panel = benchmark.panel_of("fashion_mnist")
    assert panel.level == ("dense", 90.0)
    assert panel.lines == {"SWD (default)": [(pytest.approx(2.0), 88.0)]}
    assert draw_panels(tmp_path / "plot.png", [panel]).stat().st_size > 10_000
