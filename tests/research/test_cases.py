"""Runs of a case are known by what all methods share, the method, the rate and the seed."""

import pytest
from rich.console import Console

from research.cases import Case, mean, panel_of, run_missing
from research.journal import Journal

CASE = Case("small", "A title", "fashion_mnist", "lenet5", 640, 2, 64, False)


def test_results_are_those_of_the_same_settings_over_seeds(tmp_path):
    journal = Journal(tmp_path / "runs.jsonl")
    journal.append(CASE.key("rpgp", 0.5, 0), {"accuracy": 0.6})
    journal.append(CASE.key("rpgp", 0.5, 1), {"accuracy": None})
    journal.append({**CASE.key("rpgp", 0.5, 0), "epochs": 9}, {"accuracy": 0.9})
    found = CASE.results(journal)
    assert list(found) == [("rpgp", 0.5)]
    assert mean(found["rpgp", 0.5], "accuracy") == pytest.approx(0.3)
    assert CASE.heading == "A title: 640 images, 2 epochs of 10"
    assert CASE.key("dense", 0.0, 0)["case"] == "small"


def test_a_run_is_trained_as_its_case_says():
    data = CASE.load()
    assert len(data.train_x) == 640
    trained = CASE.train(CASE.key("dense", 0.0, 3), data)
    assert trained.method == "dense"
    assert len(trained.history["loss"]) == 2


def test_what_a_journal_lacks_is_run_and_drawn(tmp_path, capsys):
    journal = Journal(tmp_path / "runs.jsonl")
    found = {"test_accuracy": 0.9, "parameters": 10, "macs": 4_000_000, "seconds": 1.0}
    journal.append(CASE.key("dense", 0.0, 0), found)
    keys = [CASE.key(method, rate, 0) for method, rate in (("dense", 0.0), ("rpgp", 0.9), ("rpgp", 0.5))]
    made = []

    def run(key):
        made.append((key["method"], key["rate"]))
        return {**found, "test_accuracy": 0.8, "macs": 1_000_000 * (2 - key["rate"])}

    run_missing(journal, keys, run, Console(width=120))
    assert made == [("rpgp", 0.9), ("rpgp", 0.5)]
    assert "rpgp 90.0% seed 0: test 0.8000, 10 parameters, 1.10 M MACs, 1 s" in capsys.readouterr().out
    labels = {"dense": "dense", "rpgp": "RPGP"}
    panel = panel_of("A title", CASE.results(journal), labels, "macs", (1e6, "million MACs"), "rpgp")
    assert panel.level == ("dense", 90.0)
    assert panel.lines == {"RPGP": [(pytest.approx(1.1), 80.0), (pytest.approx(1.5), 80.0)]}
