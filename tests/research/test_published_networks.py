"""The table of networks of packages, on records made up here, and what lets old packages find tf_keras."""

import sys

import pytest
import tf_keras

from research import published_networks as benchmark
from research.coverage import OUTPUT_ONLY
from research.published_list import NETWORKS
from research.published_packages import VERSIONS, Network, tf_keras_as_keras

RESULT = {
    "input": [64, 64, 3],
    "layers": 90,
    "exact": True,
    "difference": 2e-7,
    "share_of_channels": 0.016,
    "share_of_parameters": 0.5,
    "barriers": [
        {"reason": "its own function", "layers": 4, "channels": 900},
        {"reason": OUTPUT_ONLY, "layers": 1, "channels": 10},
    ],
    "dead": {"difference": 1e-7},
    "strip": {"difference": 1e-7},
    "seconds": {"plan": 0.25},
}


def record(network, code, result, package="efficientnet"):
    key = {"package": package, "version": "1.1.1", "network": network, "input": [64, 64, 3], "code": code}
    return {"key": key, "result": result}


@pytest.fixture
def records():
    raised = {"exact": False, "difference": None, "raised": "ValueError: a | b"}
    missing = {"exact": False, "difference": None, "not_built": "ImportError: no such module"}
    return [
        record("B0", "before", RESULT),
        record("B1", "before", raised),
        record("net", "before", missing, "old-package"),
        record("B0", "after", {**RESULT, "share_of_channels": 0.987, "barriers": RESULT["barriers"][1:]}),
    ]


def rows_of(table):
    return [dict(zip(table.heading, row, strict=True)) for row in table.rows]


def test_shares_before_and_after_stand_side_by_side(records):
    table, missing = benchmark.tables_of(records)
    first, second = rows_of(table)
    assert first["channels that can leave"] == "1.6% → 98.7%"
    assert first["parameters that can leave"] == "50.0% → 50.0%"
    # Everything else is that of the later code.
    assert (first["exact"], first["what stays"]) == ("yes", "the outputs")
    assert (second["exact"], second["channels that can leave"]) == ("RAISED", "- → -")
    assert second["what stays"] == "ValueError: a \\| b"
    assert rows_of(missing) == [{"package": "old-package", "network": "net", "why": "ImportError: no such module"}]


def test_the_summary_counts_what_raised_and_not_what_its_package_cannot_build(records):
    before, after, both = benchmark.summary(records).split(". ")
    assert before.startswith("before: 1 of 2 networks of 1 packages exact, 1 raised; ")
    assert after.startswith("after: 1 of 1 networks of 1 packages exact, 0 raised; ")
    assert "98.7% on average" in after
    assert both.startswith("Of the 1 networks measured with each: ")
    assert both.endswith("98.7% after")
    rows = [(row["code"], row["networks"], row["raised"]) for row in rows_of(benchmark.packages_table(records))]
    assert rows == [("before", "2", "1"), ("after", "1", "0")]


def test_reasons_are_those_of_the_last_code(records):
    assert [row["reason"] for row in rows_of(benchmark.reasons_table(records))] == [OUTPUT_ONLY]
    assert rows_of(benchmark.reasons_table(records[:3]))[0] == {
        "reason": "its own function",
        "networks": "1",
        "layers": "4",
        "channels": "900",
    }


def test_a_failure_of_the_package_is_told_from_one_of_ours(monkeypatch):
    network = Network("efficientnet", "B0", (8, 8, 3))

    def fails(*_, **__):
        raise ValueError("wrong")

    monkeypatch.setattr(Network, "build", fails)
    found = benchmark.measured(network)
    assert found["not_built"].startswith("ValueError: wrong")
    monkeypatch.setattr(Network, "build", lambda _: None)
    monkeypatch.setattr(benchmark, "measure", fails)
    found = benchmark.measured(network)
    assert "not_built" not in found
    assert found["raised"].startswith("ValueError: wrong")


def test_enough_networks_of_enough_packages_each_named_once():
    assert len(NETWORKS) >= 60
    assert {network.package for network in NETWORKS.values()} == set(VERSIONS)


def test_a_key_has_all_that_decides_a_result():
    first, second = (benchmark.key_of("efficientnet:EfficientNetB0", code) for code in ("before", "after"))
    assert first != second
    assert (first["package"], first["version"], first["input"]) == ("efficientnet", "1.1.1", [64, 64, 3])


def test_old_names_of_keras_are_tf_keras_while_a_package_is_imported():
    before = {name for name in sys.modules if name.split(".")[0] == "keras"}
    with tf_keras_as_keras():
        import keras
        from keras.engine.topology import get_source_inputs
        from keras.layers.merge import Add
        from keras.utils.generic_utils import get_custom_objects

        assert keras.layers.Dense is tf_keras.layers.Dense
        assert Add is tf_keras.layers.Add
        assert get_source_inputs is tf_keras.utils.get_source_inputs
        assert get_custom_objects is tf_keras.utils.get_custom_objects
        import cv2

        assert cv2.INTER_AREA is not None
        with pytest.raises(ModuleNotFoundError, match="never"):
            import keras.never
    assert {name for name in sys.modules if name.split(".")[0] == "keras"} == before
