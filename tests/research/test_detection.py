"""The benchmark of detectors, from its keys to its table."""

from research import detection as benchmark
from research.journal import Journal


def result(score: float, **changes) -> dict:
    found = {f"{split}_{field}": score for split in ("test", "int8_test") for field in ("mean", "at_half")}
    found |= {"parameters": 1000, "macs": 2_000_000, "int8_bytes": 3000, "processor_seconds": 100.0, "sizes": [16, 32]}
    return {**found, **changes}


def test_a_key_is_all_that_decides_a_run():
    keys = {method: benchmark.key_of(16, 12, method, 0.5, 0) for method in benchmark.METHODS}
    assert keys["dense"]["settings"] == {}
    assert (keys["rpgp"]["settings"]["criterion"], keys["rpgp"]["settings"]["hard_share"]) == ("rpgp", 1.0)
    assert keys["structured"]["settings"] == {"frequency": 10}
    assert (keys["rpgp"]["data"], keys["rpgp"]["width"]) == ("fashion_scenes 1.0.0", 16)
    assert benchmark.key_of(32, 12, "rpgp", 0.5, 0) != keys["rpgp"]


def test_a_table_tells_scores_shares_and_the_times_of_these_very_networks(tmp_path, monkeypatch):
    journal, times = Journal(tmp_path / "runs.jsonl"), Journal(tmp_path / "times.jsonl")
    monkeypatch.setattr(benchmark, "times_journal", lambda: times)
    journal.append(benchmark.key_of(16, 12, "dense", 0.0, 0), result(0.35))
    journal.append(benchmark.key_of(16, 12, "rpgp", 0.5, 0), result(0.3, processor_seconds=70.0, sizes=[8, 16]))
    journal.append(benchmark.key_of(16, 20, "rpgp", 0.5, 0), result(0.34, processor_seconds=95.0))
    journal.append(benchmark.key_of(32, 12, "dense", 0.0, 0), result(0.4))
    measured = {"dense 0 float32": 0.5, "dense 0 int8": 0.25, "rpgp 0.5 float32": 0.2, "rpgp 0.5 int8": 0.1}
    # The pruned network that was timed was another.
    times.append({"width": 16, "sizes": {"dense 0": [16, 32], "rpgp 0.5": [8, 8]}}, {"milliseconds": measured})
    table = benchmark.table_of(journal, 16)
    rows = [dict(zip(table.heading, row, strict=True)) for row in table.rows]
    assert [row["method"] for row in rows] == ["dense", "RPGP, all hard", "RPGP, all hard, 20 epochs"]
    assert [row["mAP@[.5:.95], %"] for row in rows] == ["35.00", "30.00", "34.00"]
    assert [row["of dense"] for row in rows] == ["1.00", "0.70", "0.95"]
    assert [row["float32, ms"] for row in rows] == ["0.500", "", ""]
    assert [row["int8, ms"] for row in rows] == ["0.250", "", ""]
