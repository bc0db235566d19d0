from research import task_times as benchmark
from research.journal import Journal


def test_a_share_is_of_all_epochs_together(tmp_path):
    journal = Journal(tmp_path / "runs.jsonl")
    seconds = {"dense": [4.0, 2.0], "rpgp": [3.0, 0.5]}
    processor = {"dense": [6.0, 2.0], "rpgp": [3.0, 1.0]}
    key = benchmark.key_of("detector", 0.5)
    journal.append(key, {"seconds": seconds, "processor_seconds": processor, "macs": [400, 100]})
    (row,) = benchmark.table_of(journal).rows
    assert row == ("detector", "50%", "25.0%", "6.0", "0.583", "0.500", "0.250")
    assert (key["settings"]["criterion"], key["scenes"]) == ("rpgp", 4000)
    assert "scenes" not in benchmark.key_of("domain adaptation", 0.5)
