"""The table of peak memory, from records made up here."""

import pytest

from research import peak_memory
from research.journal import Journal


def record(journal, method, repeat, **phases):
    result = {"weights": 10, "phases": phases, "peak": max(phases.values())}
    journal.append({"method": method, "size": "30 M", "repeat": repeat}, result)


def test_rows_are_bytes_a_weight_beyond_the_median_peak_of_plain_training(tmp_path):
    journal = Journal(tmp_path / "peak_memory.jsonl")
    record(journal, "plain", 0, build=300, training=400)
    record(journal, "plain", 1, build=300, training=420)
    record(journal, "swd", 0, build=300, wrap=390, training=530, strip=500, report=450)
    table = peak_memory.table_of(journal, "30 M")
    assert table.rows == (
        ("plain fit, the peak itself", "30.0", "", "41.0", "", "", "41.0", "2.0"),
        ("swd", "-11.0", "-2.0", "12.0", "9.0", "4.0", "12.0", ""),
    )
    assert peak_memory.table_of(journal, "100 M").rows == ()


def test_a_network_without_plain_training_has_no_rows(tmp_path):
    journal = Journal(tmp_path / "peak_memory.jsonl")
    record(journal, "swd", 0, build=1)
    assert peak_memory.table_of(journal, "30 M").rows == ()


def test_every_method_has_a_name_that_a_flag_takes():
    flags = [peak_memory._as_flag(name) for name in peak_memory.METHODS]
    assert len(set(flags)) == len(flags)
    assert not any("," in flag or " " in flag for flag in flags)
    assert peak_memory._named(peak_memory.METHODS, ["swd_coupled"]) == ["swd, coupled"]
    with pytest.raises(Exception, match="Received: other"):
        peak_memory._named(peak_memory.METHODS, ["other"])


def test_a_peak_is_read_by_phase_and_forgotten():
    peaks = peak_memory.PhasePeaks()
    large = bytearray(200_000_000)
    peaks.end("with")
    del large
    peaks.end("between")
    peaks.end("without")
    found = peaks.result()
    assert found["peak"] >= found["phases"]["with"] >= found["phases"]["without"] + 150_000_000
