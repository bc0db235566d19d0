"""Journals go on where they ended, and belong to one job."""

import json

import pytest

from tfmot_swd.io.journal import Journal

SUBJECT = {"model": "a1", "rates": (0.5, 0.9)}


def test_rows_come_back_in_order_and_are_whole_lines(tmp_path):
    path = tmp_path / "new" / "rows.jsonl"
    journal = Journal(path, SUBJECT, "search")
    assert journal.rows == []
    assert not path.exists()
    journal.append({"share": 0.5, "metric": float("nan")})
    journal.append({"share": 0.25, "metric": 0.75})
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert lines[0] == {"journal": "search", "model": "a1", "rates": [0.5, 0.9]}
    again = Journal(path, SUBJECT, "search")
    assert again.rows == lines[1:] == [{"share": 0.5, "metric": None}, {"share": 0.25, "metric": 0.75}]
    again.append({"share": 0.1})
    assert len(path.read_text().splitlines()) == 4


def test_without_a_path_rows_are_kept_in_memory():
    journal = Journal(None, SUBJECT, "search")
    journal.append({"share": 0.5})
    assert journal.rows == [{"share": 0.5}]


def test_a_row_that_cannot_be_written_leaves_the_file_as_it_was(tmp_path, monkeypatch):
    path = tmp_path / "rows.jsonl"
    journal = Journal(path, SUBJECT, "search")
    journal.append({"share": 0.5})
    before = path.read_text()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tfmot_swd.io.atomic.os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        journal.append({"share": 0.25})
    assert path.read_text() == before


@pytest.mark.parametrize(
    ("subject", "kind", "message"),
    [
        ({**SUBJECT, "model": "b2"}, "search", "with another model: .*model='a1' there, 'b2' here"),
        ({"model": "b2", "rates": (0.5,)}, "search", "with another model and another rates"),
        ({"model": "a1"}, "search", r"another rates: .*rates=\[0.5, 0.9\] there, None here"),
        (SUBJECT, "sensitivity", "with another journal: .*remove the file to begin again"),
    ],
)
def test_a_journal_of_another_job_is_refused(tmp_path, subject, kind, message):
    path = tmp_path / "rows.jsonl"
    Journal(path, SUBJECT, "search").append({"share": 0.5})
    with pytest.raises(ValueError, match=message):
        Journal(path, subject, kind)


@pytest.mark.parametrize("content", ["", "no JSON", '{"share": 0.5}\n', '[1]\n{"journal": "search"}\n'])
def test_another_file_is_refused(tmp_path, content):
    path = tmp_path / "rows.jsonl"
    path.write_text(content)
    with pytest.raises(ValueError, match="no journal of a search: choose another path"):
        Journal(path, SUBJECT, "search")
    assert path.read_text() == content
