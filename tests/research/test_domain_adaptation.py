"""The benchmark of domain adaptation, from a run to its table, on a small network and a few images."""

import dataclasses
import math

import pytest

from examples.domain_data import load_domain
from examples.domain_methods import AdaptationRecipe
from research import domain_adaptation as benchmark
from research.domain_adaptation import CASES, DomainCase
from research.journal import Journal

RECIPE = AdaptationRecipe(epochs=3, batch_size=32, alignment="coral", widths=(8, 8))
CASE = DomainCase("small", "mnist_5k", "uci_digits", RECIPE, ((0.5, ("dense", "rpgp")),))

CLIPPED = "adapted, PSFP, gradients clipped (2)"


def result(accuracy: float, **changes) -> dict:
    found = {"test_accuracy": accuracy, "source_accuracy": 0.98, "int8_accuracy": accuracy, "int8_bytes": 2000}
    found |= {"parameters": 100, "macs": 2_000_000, "seconds": 20.0, "processor_seconds": 10.0}
    return {**found, **changes}


def test_a_run_is_trained_as_its_case_says_and_tells_its_numbers():
    source, target = (load_domain(name, train_limit=64) for name in ("mnist_5k", "uci_digits"))
    target = dataclasses.replace(target, test_x=target.test_x[:50], test_y=target.test_y[:50])
    found = benchmark.run(CASE, source, target, CASE.key("rpgp", 0.5, 1))
    assert found.keys() >= result(0.0).keys()
    assert found["filters_by_epoch"] == [8]
    assert 0 < found["parameters"] < 60_000


def test_a_key_is_all_that_decides_a_run():
    keys = [CASE.key(method, 0.5, 1) for method in ("dense", "rpgp")]
    assert [key["rate"] for key in keys] == [0.0, 0.5]
    assert (keys[0]["alignment"], keys[0]["widths"], keys[0]["seed"]) == ("coral", [8, 8], 1)
    other = dataclasses.replace(CASE, recipe=dataclasses.replace(RECIPE, strength=2.0))
    assert other.key("rpgp", 0.5, 1) != keys[1]
    assert keys[0]["settings"] == {}
    assert (keys[1]["settings"]["criterion"], keys[1]["settings"]["round_to"]) == ("rpgp", 4)


def test_a_table_tells_means_and_deviations_over_seeds(tmp_path):
    journal = Journal(tmp_path / "runs.jsonl")
    for seed, accuracy in enumerate((0.90, 0.92, 0.94)):
        journal.append(CASE.key("dense", 0.0, seed), result(accuracy))
        journal.append(CASE.key("rpgp", 0.5, seed), result(accuracy - 0.01, processor_seconds=7.0))
    without = {"int8_accuracy": None, "int8_bytes": None}
    journal.append(CASE.key("psfp", 0.5, 0), result(math.nan, **without))
    journal.append(CASE.key("psfp_clipped", 0.5, 0), result(0.1, **without))
    journal.append(CASE.key("psfp_clipped", 0.5, 1), result(0.5))
    table = benchmark.table_of(CASE, journal)
    rows = {row[1]: dict(zip(table.heading, row, strict=True)) for row in table.rows}
    assert list(rows) == ["adapted, dense (3)", "adapted, RPGP (3)", "adapted, PSFP (1)", CLIPPED]
    assert rows["adapted, dense (3)"]["target %"] == "92.00 ± 2.00"
    assert rows["adapted, RPGP (3)"]["target %"] == "91.00 ± 2.00"
    assert [row["of dense"] for row in rows.values()] == ["1.00", "0.70", "1.00", "1.00"]
    assert rows["adapted, PSFP (1)"]["target %"] == "0.00"
    assert (rows["adapted, PSFP (1)"]["int8 file, target %"], rows["adapted, PSFP (1)"]["int8 bytes"]) == ("", "")
    assert (rows[CLIPPED]["int8 file, target %"], rows[CLIPPED]["int8 bytes"]) == ("50.00 (1 of 2)", "2,000")
    assert table.title == "MNIST (5,000) → UCI digits, coral: 3 epochs of batches of 32"


@pytest.mark.parametrize("case", CASES)
def test_cases_of_one_name_differ_in_nothing_but_their_runs(case):
    (first, *_) = (each for each in CASES if each.name == case.name)
    assert dataclasses.replace(case, runs=first.runs) == first
