"""The parts of the latency benchmark; nothing here depends on how fast a machine is."""

import numpy as np
import pytest
import tf_keras as keras

from research import channel_latency as benchmark
from research.journal import Journal
from tfmot_swd.channels.groups import channel_groups


@pytest.fixture
def model():
    inputs = keras.Input((12, 12, 3))
    x = keras.layers.ReLU()(keras.layers.BatchNormalization()(keras.layers.Conv2D(20, 3)(inputs)))
    return keras.Model(inputs, keras.layers.Dense(4)(keras.layers.GlobalAveragePooling2D()(x)))


def test_plans_keep_about_the_share_and_rounding_only_adds(model):
    groups = channel_groups(model)
    for share in benchmark.SHARES:
        odd, even = (benchmark.uneven_plan(groups, share, round_to) for round_to in (1, 8))
        assert abs(odd.rows[0].remaining_channels / 20 - share) <= benchmark.JITTER + 0.025
        assert even.rows[0].remaining_channels in (8, 16, 20)
        assert np.all(even.stays[odd.stays])


def test_a_network_is_measured_from_model_to_report(model, tmp_path, monkeypatch):
    monkeypatch.setattr(benchmark, "RESULTS", tmp_path)
    monkeypatch.setattr(benchmark, "SHARES", (0.5,))
    monkeypatch.setattr(benchmark, "ROUND_TO", (1, 8))
    contents = benchmark.files(model)
    journal = Journal(tmp_path / "channel_latency.jsonl")
    for recipe in benchmark.RECIPES:
        found = benchmark.measure(contents[recipe], threads=1, rounds=2)
        assert [(each["share"], each["round_to"]) for each in found] == [(1, 1), (0.5, 1), (0.5, 8)]
        assert found[0]["ratio"] == found[0]["mac_ratio"] == 1
        assert found[1]["macs"] < found[2]["macs"] < found[0]["macs"]
        assert all(each["seconds"] > 0 for each in found)
        for rounds in (5, 2):
            key = {"network": "tiny", "recipe": recipe, "threads": 1, "rounds": rounds}
            journal.append(key, {"variants": found})

    assert [record["key"]["rounds"] for record in benchmark.longest(journal)] == [5, 5]
    assert len(benchmark.table_of(journal).rows) == 2 * 3
    assert "| tiny | int8 | 1 | 50% | 8 |" in benchmark.table_of(journal).markdown()
    assert benchmark.draw(journal).stat().st_size > 10_000
