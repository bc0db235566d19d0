"""The parts of the coverage benchmark, on networks of a few channels and records made up here."""

import numpy as np
import pytest
import tf_keras as keras

from research import applications_coverage as benchmark
from research import by_network
from research.journal import Journal
from tfmot_swd.channels.groups import channel_groups

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
    made.append({"network": "MobileNet"}, RESULT)
    norm = {"reason": "its statistics are taken across channels", "layers": 2, "channels": 192}
    other = {"exact": False, "difference": None, "difference_float64": 0.5, "barriers": [*RESULT["barriers"], norm]}
    made.append({"network": "Another"}, {**RESULT, **other})
    made.append({"network": "Chaotic"}, {**RESULT, "difference": 2e-5, "difference_float64": 1e-14})
    return made


def test_every_network_of_keras_is_named_once():
    names = benchmark.network_names()
    assert len(names) == len(set(names)) == 71
    assert {"ConvNeXtTiny", "MobileNet", "Xception"} <= set(names)


def test_shares_count_what_can_leave():
    layers = keras.layers
    model = keras.Sequential([layers.Dense(3, input_shape=(4,)), layers.BatchNormalization(), layers.Dense(2)])
    # 3 of 5 channels; of 12 + 3, 12 and 6 + 2 parameters all but the last bias.
    assert benchmark.shares(channel_groups(model)) == pytest.approx((3 / 5, 33 / 35))


def test_barriers_of_one_kind_are_one_row():
    layers = keras.layers
    x = inputs = keras.Input((4,))
    for width in (3, 5):
        x = layers.LayerNormalization()(layers.Dense(width)(x))
    found = benchmark.barriers(channel_groups(keras.Model(inputs, layers.Dense(2)(x))))
    shared = {"reason": "its statistics are taken across channels", "layers": 2, "channels": 8}
    assert found == [shared, {"reason": "model output", "layers": 1, "channels": 2}]


def test_the_table_says_what_is_not_exact_and_what_stays(journal):
    table = benchmark.table_of(journal)
    first, second, third = (dict(zip(table.heading, row, strict=True)) for row in table.rows)
    assert (first["network"], first["exact"]) == ("Another", "NO")
    assert first["difference"] == "not finite; 5e-01 in float64"
    assert first["what stays"] == "192 of 2 layers: its statistics are taken across channels"
    assert (second["exact"], second["difference"]) == ("yes", "2e-05; 1e-14 in float64")
    assert (third["difference"], third["what stays"]) == ("2e-07", "the outputs")
    assert third["parameters, M"] == "4.25 → 1.34"
    assert benchmark.summary(journal).startswith("2 of 3 networks")
    assert "(1 to 1e-05 in float32, 1 to 1e-10 in float64)" in benchmark.summary(journal)


def test_what_rounding_may_have_made_is_measured_again_in_float64(monkeypatch):
    answers = {
        "float32": {"exact": False, "difference": 2e-5},
        "float64": {"exact": True, "difference": 1e-14},
    }
    monkeypatch.setattr(benchmark, "measure", lambda *_: dict(answers[keras.backend.floatx()]))
    try:
        assert benchmark.measure_exactly("Chaotic", 0) == {
            "exact": True,
            "difference": 2e-5,
            "difference_float64": 1e-14,
        }
        keras.backend.set_floatx("float32")
        answers["float64"]["difference"] = 1e-6
        assert not benchmark.measure_exactly("Chaotic", 0)["exact"]
    finally:
        keras.backend.set_floatx("float32")


def test_the_report_writes_a_table_and_a_plot(journal):
    assert "| MobileNet | 224 | yes | 2e-07 | 90 | 14 |" in benchmark.table_of(journal).markdown()
    assert benchmark.draw(journal).stat().st_size > 10_000


def test_a_process_of_its_own_gives_what_this_one_does():
    apart = by_network.measure_apart("research.applications_coverage", "MobileNet", 32)
    assert apart["exact"]
    assert apart["layers"] == 90
    assert np.isclose(apart["share_of_channels"], 5984 / 6984)
