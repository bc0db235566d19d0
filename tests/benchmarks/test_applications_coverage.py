"""The parts of the coverage benchmark, on networks of a few channels and records made up here."""

import numpy as np
import pytest
import tf_keras as keras

from benchmarks import applications_coverage as benchmark
from benchmarks.journal import Journal
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
    other = {"exact": False, "difference": None, "barriers": [*RESULT["barriers"], norm]}
    made.append({"network": "Another"}, {**RESULT, **other})
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
    heading, first, second = (
        dict(zip(benchmark.rows(journal)[0], row, strict=True)) for row in benchmark.rows(journal)
    )
    assert heading["network"] == "network"
    assert (first["network"], first["exact"], first["difference"]) == ("Another", "NO", "")
    assert first["what stays"] == "192 of 2 layers: its statistics are taken across channels"
    assert (second["exact"], second["what stays"]) == ("yes", "the outputs")
    assert second["parameters, M"] == "4.25 → 1.34"
    assert benchmark.summary(journal).startswith("1 of 2 networks")


def test_the_report_writes_a_table_and_a_plot(journal):
    assert "| MobileNet | 224 | yes | 2e-07 | 90 | 14 |" in benchmark.write_markdown(journal).read_text()
    assert benchmark.draw(journal).stat().st_size > 10_000


def test_a_process_of_its_own_gives_what_this_one_does():
    apart = benchmark.measure_apart("MobileNet", 32)
    assert apart["exact"]
    assert apart["layers"] == 90
    assert np.isclose(apart["share_of_channels"], 5984 / 6984)
