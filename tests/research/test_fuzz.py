"""Mutants that hang or crash, and which reader they did it to."""

import json
import random
import sys

import pytest

from research.fuzz import Reader
from research.fuzz_kinds import Kind, command, fault, said_by
from research.mutants import mutant, mutant_json
from tfmot_swd.tflite import ExportError

# Does as the worker does: what each mutant does is told by its number.
WORKER = """
import json, os, sys, time
def say(**answer):
    print(json.dumps(answer), flush=True)
for line in sys.stdin:
    say(reader="first")
    say(outcome="taken", said=None, seconds=0.5)
    say(reader="second")
    if line == "1\\n":
        time.sleep(60)
    if line == "2\\n":
        os.abort()
    say(outcome="refused", said="No. Received: 3", seconds=0.25)
    say(done=int(line))
"""


def test_a_hang_and_a_crash_are_seen_and_the_next_mutants_are_read(tmp_path):
    reader = Reader([sys.executable, "-c", WORKER], seconds=1.0)
    try:
        found = [reader.read(number) for number in range(4)]
    finally:
        reader.stop()
    whole = [("first", "taken", None), ("second", "refused", "No. Received: 3")]
    assert found[0] == found[3] == whole
    assert found[1] == [whole[0], ("second", "hang", None)]
    assert found[2] == [whole[0], ("second", "crash", "exit code -6")]
    assert reader.slowest == 0.5


def test_readers_that_start_programs_take_turns():
    readers = dict.fromkeys(["a", "b", "c"], lambda: None)
    kind = Kind(lambda rng: None, readers, 1, "file")
    assert [list(kind.readers_of(number)) for number in range(3)] == [["a", "b"], ["a", "c"], ["a", "b"]]


def test_what_is_wrong_with_what_was_said():
    assert fault(None, "net.h5") is None
    assert fault("It is damaged. Received: 'net.h5'", "net.h5") is None
    assert fault("It is damaged. Received: 3", "net.h5") == "unnamed"
    assert fault("IndexError: 3", "net.h5") == "bare"


def test_what_the_library_and_the_shell_refuse(tmp_path):
    def refuse() -> None:
        raise ExportError("No. Received: 3")

    assert said_by(refuse)() == "No. Received: 3"
    assert said_by(lambda: None)() is None
    with pytest.raises(IndexError):
        said_by(lambda: [][0])()
    assert "There is no such file. Received: 'missing.keras'" in command("profile", "missing.keras")()


def test_a_mutant_is_another_file_and_always_the_same():
    whole, other = bytes(range(256)) * 4, bytes(1024)
    made = [mutant(whole, random.Random(number), other) for number in range(200)]
    assert made == [mutant(whole, random.Random(number), other) for number in range(200)]
    assert sum(each != whole for each in made) > 190
    config = {"a": [1, {"b": None}], "c": "text"}
    assert len({json.dumps(mutant_json(config, random.Random(number))) for number in range(50)}) > 25
    assert config == {"a": [1, {"b": None}], "c": "text"}
