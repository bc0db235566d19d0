"""The benchmark of budgets, on a network of a few channels."""

import tf_keras as keras

from research import budgets as benchmark
from research.journal import Journal
from tfmot_swd import Budget
from tfmot_swd.channels import channel_groups


def test_a_budget_is_measured_from_model_to_table(tmp_path):
    keras.utils.set_random_seed(0)
    layers = keras.layers
    model = keras.Sequential([layers.Dense(8, input_shape=(4,)), layers.Dense(6), layers.Dense(2)])
    result = benchmark.measure(model, channel_groups(model), Budget(macs=0.5, parameters=0.9))
    assert result["limits"] == {"parameters": int(0.9 * model.count_params()), "macs": (32 + 48 + 12) // 2}
    assert result["counted"] == result["built"]
    assert result["built"]["macs"] <= 46 < result["with_one_channel_more"]["macs"]
    journal = Journal(tmp_path / "budgets.jsonl")
    journal.append({"network": "tiny", "budget": "half", "seed": 0}, result)
    rows = [dict(zip(benchmark.HEADING, row, strict=True)) for row in benchmark.table_of(journal).rows]
    assert [row["held"] for row in rows] == ["yes", "yes"]
    assert [row["one channel more"] for row in rows] == ["too much", "too much"]
    assert rows[1]["limit"] == "46 macs"
