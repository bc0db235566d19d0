import pytest

from research import report
from research.case import CASES
from research.journal import Journal
from research.runs import key_of
from research.settings import Candidate


@pytest.fixture
def add(tmp_path, monkeypatch):
    def journal_of(stage, case):
        return Journal(tmp_path / f"{stage}_{case}.jsonl")

    monkeypatch.setattr(report, "journal_of", journal_of)

    def write(stage, method, rate, seed, accuracy):
        key = key_of(CASES["A"], Candidate(method, method, 0.1, {}), rate, seed)
        score = "test_accuracy" if stage == "final" else "validation_accuracy"
        journal_of(stage, "A").append(key, {score: accuracy})

    return write


def test_only_seeds_that_all_methods_have_are_compared(add):
    for seed in range(5):
        add("final", "swd", 0.99, seed, 0.72 + 0.001 * seed)
        add("final", "st3", 0.99, seed, 0.70)
        add("final", "tfmot", 0.99, seed, 0.60)
    add("final", "swd", 0.99, 5, 0.99)

    table = report.final_table("A")

    (row,) = table.rows
    cells = dict(zip(table.heading, row, strict=True))
    assert cells["seeds"] == "5"
    assert cells["swd"] == "72.20"
    assert cells["best reference"] == "st3"
    assert cells["ours minus it"].startswith("+2.20 [")
    assert cells[""] == "better"


def test_a_run_that_diverged_counts_as_chance(add):
    add("final", "swd", 0.99, 0, None)

    assert report.final_scores("A") == {0.99: {"swd": {0: 10.0}}}


def test_settings_tried_stand_with_their_number_the_best_first(add):
    add("tuning", "swd", 0.99, 100, 0.7)
    add("tuning", "st3", 0.99, 100, 0.8)
    add("tuning", "st3", 0.99, 101, 0.9)

    table = report.validation_table("tuning", "A")

    assert table.rows == (("st3", "80.00", "90.00", "85.00"), ("swd", "70.00", "", "70.00"))
    assert table.notes == ("2 settings.",)
    assert report.validation_table("search", "A") is None


def test_the_plot_shows_every_seed(add, tmp_path):
    add("final", "swd", 0.99, 0, 0.7)
    add("final", "st3", 0.99, 1, 0.6)

    path = report.draw(["A"], tmp_path / "plot.png")

    assert path.stat().st_size > 10_000
    assert report.draw(["B"], tmp_path / "none.png") is None
