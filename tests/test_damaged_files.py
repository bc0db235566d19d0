"""Mutants of every kind of file that is read: one sentence each, no hang and no bare exception.

Some of each kind; `python -m research.fuzz` tries thousands, in a process of its own.
"""

from __future__ import annotations

import random
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from research import fuzz_kinds
from research.fuzz_kinds import Kind, fault

MUTANTS = 20
# Of processor time, as other tests run beside these.
SECONDS = 5

pytestmark = pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5", "ignore:invalid value")


def judged(kind: Kind, mutants: int = MUTANTS) -> None:
    """Gives mutants to the readers that start no programs."""
    for number in range(mutants):
        kind.make(random.Random(f"0 {number}"))
        for name in list(kind.readers)[: kind.each]:
            with in_time(f"{name} of mutant {number}"):
                said = kind.readers[name]()
            assert fault(said, kind.named) is None, f"mutant {number}: {said}"


@contextmanager
def in_time(what: str) -> Iterator[None]:
    def late(*_: object) -> None:
        raise TimeoutError(f"{what}: longer than {SECONDS} s")

    before = signal.signal(signal.SIGPROF, late)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def test_tflite_files(tmp_path):
    judged(fuzz_kinds.tflite(tmp_path, ("float32", "float16")), 3 * MUTANTS)


@pytest.mark.parametrize(
    ("part", "ending"), [("bytes", ".keras"), ("bytes", ".h5"), ("description", ".keras"), ("weights", ".h5")]
)
def test_model_files(part, ending, tmp_path):
    judged(fuzz_kinds.model_file(tmp_path, ending, part))


def test_archives_of_other_parts(tmp_path):
    judged(fuzz_kinds.model_file(tmp_path, ".keras", "parts"))


def test_saved_models(tmp_path):
    judged(fuzz_kinds.saved_model(tmp_path))


@pytest.mark.parametrize("name", ["training.json", "state.index", "state.data-00000-of-00001"])
@pytest.mark.parametrize("has_checksums", [True, False])
def test_backups(has_checksums, name, tmp_path):
    judged(fuzz_kinds.backup(tmp_path, (name,), has_checksums))
