"""Runs of a case are known by what all methods share, the method, the rate and the seed."""

import pytest

from benchmarks.cases import Case, mean
from benchmarks.journal import Journal

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
