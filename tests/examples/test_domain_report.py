"""Means over seeds, in tables and in the picture."""

import dataclasses
import io
from types import SimpleNamespace

import numpy as np
import pytest
from rich.console import Console

from examples.domain_data import Domain
from examples.domain_methods import Outcome
from examples.domain_report import by_method, draw, spread, tables_of
from examples.job import TrainedRun


def outcome(method: str, seed: int, accuracy: float) -> Outcome:
    export = SimpleNamespace(bytes=2000, accuracy=accuracy, agreement=0.99)
    history = {"loss": [1.0, 0.5], "alignment_loss": [0.2, 0.1]}
    rate = 0.5 if method == "rpgp" else 0.0
    adapted = TrainedRun(method, rate, None, None, (), (), (), history, 12.0, 10.0)
    return Outcome(adapted, seed, accuracy, 0.98, 1234, 2_500_000, export)


@pytest.mark.parametrize(
    ("values", "unit", "text"),
    [([0.5], 0.01, "50.00"), ([0.9, 0.92, 0.94], 0.01, "92.00 ± 2.00"), ([1.0, 3.0], 1.0, "2.00 ± 1.41")],
)
def test_a_spread_is_that_of_a_sample(values, unit, text):
    assert spread(values, unit) == text


def test_methods_stand_as_they_came_with_means_over_seeds(tmp_path):
    found = [outcome(method, seed, 0.9 + 0.02 * seed) for seed in range(3) for method in ("source_only", "rpgp")]
    assert {method: [each.seed for each in runs] for method, runs in by_method(found).items()} == {
        "source_only": [0, 1, 2],
        "rpgp": [0, 1, 2],
    }
    found.append(dataclasses.replace(outcome("psfp", 0, 0.1), export=None))
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(*tables_of(found, "A title"))
    rows = [" ".join(line.split()) for line in console.export_text().splitlines()]
    assert "│ rpgp │ 92.00 ± 2.00 │ 98.00 │ 1,234 │ 2.50 │ 12 │ 10 │" in rows
    assert "│ psfp │ 10.00 │ 98.00 │ 1,234 │ 2.50 │ 12 │ 10 │" in rows
    assert sum(row.startswith("│ psfp") for row in rows) == 1
    assert "│ source_only │ 2,000 │ 92.00 ± 2.00 │ 99.00 ± 0.00 │" in rows
    images, labels = np.zeros((40, 28, 28, 1), np.uint8), np.zeros(40, np.int64)
    domain = Domain("digits", "Digits", images, labels, images, labels)
    path = tmp_path / "picture.png"
    draw(found, domain, domain, "A title", path)
    assert path.read_bytes().startswith(b"\x89PNG")
