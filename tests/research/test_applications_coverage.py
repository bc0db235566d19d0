"""The parts of the coverage benchmark, on networks of a few channels and records made up here."""

import numpy as np
import pytest

from research import applications_coverage as benchmark
from research import by_network, coverage
from research.journal import Journal

RESULT = {
    "input": [224, 224, 3],
    "layers": 90,
    "exact": True,
    "difference": 2e-7,
    "mask_effect": 1.0,
    "input_effect": 0.5,
    "groups": 14,
    "channels": 5984,
    "share_of_channels": 0.857,
    "share_of_parameters": 1.0,
    "parameters": [4_253_864, 1_342_536],
    "macs": [568_740_352, 149_000_000],
    "macs_unknown": [],
    "barriers": [{"reason": "model output", "layers": 1, "channels": 1000}],
    "seconds": {"build": 0.7, "plan": 0.01, "removal": 0.64},
}


@pytest.fixture
def journal(tmp_path, monkeypatch):
    monkeypatch.setattr(benchmark, "RESULTS", tmp_path)
    made = Journal(tmp_path / "applications_coverage.jsonl")
    made.append({"network": "MobileNet"}, {**RESULT, "dead": {"difference": 1e-7}, "strip": {"error": "TypeError"}})
    norm = {"reason": "its statistics are taken across channels", "layers": 2, "channels": 192}
    other = {"exact": False, "difference": None, "difference_float64": 0.5, "barriers": [*RESULT["barriers"], norm]}
    made.append({"network": "Another"}, {**RESULT, **other})
    made.append({"network": "Chaotic"}, {**RESULT, "difference": 2e-5, "difference_float64": 1e-14})
    return made


def test_every_network_of_keras_is_named_once():
    names = benchmark.network_names()
    assert len(names) == len(set(names)) == 71
    assert {"ConvNeXtTiny", "MobileNet", "Xception"} <= set(names)


def test_the_table_says_what_is_not_exact_and_what_stays(journal):
    table = benchmark.table_of(journal)
    first, second, third = (dict(zip(table.heading, row, strict=True)) for row in table.rows)
    assert (first["network"], first["exact"]) == ("Another", "NO")
    assert first["difference"] == "not finite; 5e-01 in float64"
    assert first["what stays"] == "192 of 2 layers: its statistics are taken across channels"
    assert (second["exact"], second["difference"]) == ("yes", "2e-05; 1e-14 in float64")
    assert (third["difference"], third["what stays"]) == ("2e-07", "the outputs")
    assert third["parameters, M"] == "4.25 → 1.34"
    assert (third["dead removal"], third["strip"]) == ("yes", "raised")
    assert first["strip"] == ""  # Measured before there was this column.
    assert benchmark.summary(journal).startswith("2 of 3 networks")
    assert "(1 to 1e-05 in float32, 1 to 1e-10 in float64)" in benchmark.summary(journal)


def test_the_report_writes_a_table_and_a_plot(journal):
    assert "| MobileNet | 224 | yes | 2e-07 | 90 | 14 |" in benchmark.table_of(journal).markdown()
    assert benchmark.draw(journal).stat().st_size > 10_000


def test_a_process_of_its_own_gives_what_this_one_does():
    apart = by_network.measure_apart("research.applications_coverage", "MobileNet", 32)
    assert apart["exact"]
    assert coverage.keeps_predictions(apart["dead"])
    assert coverage.keeps_predictions(apart["strip"])
    before, after = apart["dead"]["parameters"]
    assert after < before / 2
    assert apart["layers"] == 90
    assert np.isclose(apart["share_of_channels"], 5984 / 6984)
