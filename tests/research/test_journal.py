import json

import numpy as np
import pytest

from research.journal import Journal

KEY = {"method": "magnitude", "rate": 0.99, "seed": 0}


def test_a_finished_run_is_done_after_reopening(tmp_path):
    path = tmp_path / "results" / "runs.jsonl"
    journal = Journal(path)
    assert not journal.done(KEY)

    journal.append(KEY, {"accuracy": 0.5})

    for seen in (journal, Journal(path)):
        assert seen.done({"seed": 0, "rate": 0.99, "method": "magnitude"})
        assert not seen.done({**KEY, "seed": 1})
        assert [record["result"] for record in seen.records()] == [{"accuracy": 0.5}]


def test_a_line_says_how_and_with_what_it_was_made(tmp_path):
    journal = Journal(tmp_path / "runs.jsonl")
    journal.append(KEY, {})

    (line,) = (tmp_path / "runs.jsonl").read_text().splitlines()
    record = json.loads(line)
    assert record["key"] == KEY
    assert record["versions"]["numpy"] == np.__version__
    assert record["command"].startswith("python ")
    assert record["finished"].endswith("+00:00")
    assert record["elapsed_seconds"] >= 0


def test_a_torn_last_line_counts_as_unwritten_and_goes(tmp_path):
    path = tmp_path / "runs.jsonl"
    Journal(path).append(KEY, {"accuracy": 0.5})
    whole = path.read_bytes()
    path.write_bytes(whole + whole[: len(whole) // 2])

    journal = Journal(path)
    assert len(journal.records()) == 1
    journal.append({**KEY, "seed": 1}, {"accuracy": 0.25})

    assert path.read_bytes().startswith(whole)
    assert [record["result"]["accuracy"] for record in Journal(path).records()] == [0.5, 0.25]


def test_a_whole_last_line_without_its_newline_is_torn_too(tmp_path):
    path = tmp_path / "runs.jsonl"
    Journal(path).append(KEY, {})
    path.write_bytes(path.read_bytes().rstrip(b"\n"))

    assert not Journal(path).done(KEY)


@pytest.mark.parametrize("line", [b"{nonsense\n", b"[1, 2]\n", b'{"result": {}}\n'])
def test_a_spoilt_line_is_named(tmp_path, line):
    path = tmp_path / "runs.jsonl"
    Journal(path).append(KEY, {})
    path.write_bytes(path.read_bytes() + line)

    with pytest.raises(ValueError, match=r"line 2\. Received: "):
        Journal(path)


def test_a_run_is_written_once(tmp_path):
    journal = Journal(tmp_path / "runs.jsonl")
    journal.append(KEY, {})

    with pytest.raises(ValueError, match="once only"):
        journal.append(KEY, {})


def test_two_writers_keep_each_others_runs(tmp_path):
    first, second = (Journal(tmp_path / "runs.jsonl") for _ in range(2))
    first.append(KEY, {"accuracy": 0.5})
    second.append({**KEY, "seed": 1}, {"accuracy": 0.25})
    first.append({**KEY, "seed": 2}, {"accuracy": 0.75})

    assert [record["key"]["seed"] for record in Journal(tmp_path / "runs.jsonl").records()] == [0, 1, 2]
    with pytest.raises(ValueError, match="once only"):
        second.append({**KEY, "seed": 2}, {})


def test_numpy_values_become_plain_and_nan_null(tmp_path):
    journal = Journal(tmp_path / "runs.jsonl")
    journal.append(
        {"seed": np.int64(3)},
        {"curve": np.array([0.5, np.nan]), "loss": float("inf"), "deep": ({"x": np.float32(2)},)},
    )

    assert journal.done({"seed": 3})
    assert journal.records()[0]["result"] == {
        "curve": [0.5, None],
        "loss": None,
        "deep": [{"x": 2.0}],
    }


def test_what_json_cannot_say_leaves_the_file_as_it_was(tmp_path):
    path = tmp_path / "runs.jsonl"
    journal = Journal(path)
    journal.append(KEY, {})
    before = path.read_bytes()

    with pytest.raises(TypeError):
        journal.append({"seed": 1}, {"model": object()})

    assert path.read_bytes() == before
    assert not journal.done({"seed": 1})
