"""Mutants of every kind of file that is read of strangers: each must be taken, or refused in a sentence that names it.

    python -m research.fuzz                                        # 2,000 mutants of each kind
    python -m research.fuzz --kinds=tflite --mutants=500 --seed=3
    python -m research.fuzz --kinds=h5 --only=17                   # what is said of one mutant

One line a kind in `research/results/fuzz.jsonl`: how many were taken and refused, and which ones hung, crashed the
process, or ended in an exception that tells nothing. A process of its own reads them, so that hangs and crashes are
seen. A hang is a reading that takes more than 5 s of processor time, which other programs do not stretch, or a minute.
Where anything is wrong, no result is written.
"""

from __future__ import annotations

import json
import os
import queue
import random
import resource
import subprocess
import sys
import tempfile
import threading
import traceback
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from absl import app, flags

from research.fuzz_kinds import KINDS, Kind, fault
from research.journal import Journal

RESULTS = Path(__file__).parent / "results"
SECONDS = 5.0
_PATIENCE_SECONDS = 60.0
# For the imports, and the whole files of which mutants are made.
_START_SECONDS = 600.0
# More than anything here takes; a mutant that wants it all is seen, and takes no other program along.
_MEMORY_BYTES = 2**34

CHOSEN = flags.DEFINE_list("kinds", list(KINDS), "which kinds of files")
MUTANTS = flags.DEFINE_integer("mutants", 2000, "how many of each")
SEED = flags.DEFINE_integer("seed", 0, "of the mutants")
ONLY = flags.DEFINE_integer("only", None, "say what becomes of the mutant of this number, and write no result")

WORKER = flags.DEFINE_bool("worker", False, "read numbers of mutants from the standard input: what this starts itself")


def rng_of(kind: str, seed: int, number: int) -> random.Random:
    """Returns what makes one mutant."""
    return random.Random(f"{kind} {seed} {number}")


def judge(kind: Kind, number: int, say: Any) -> None:
    """Gives a mutant, which is in place, to its readers, and says of each one what came of it."""
    for name, read in kind.readers_of(number).items():
        say({"reader": name})
        begin = _processor_seconds()
        try:
            said = read()
            found = {"outcome": fault(said, kind.named) or ("taken" if said is None else "refused"), "said": said}
        except Exception as error:
            place = traceback.extract_tb(error.__traceback__)[-1]
            told = f"{type(error).__name__}: {error} at {place.name}:{place.lineno}"
            found = {"outcome": "bare", "said": told}
        seconds = _processor_seconds() - begin
        say({**found, "seconds": round(seconds, 2), **({"outcome": "hang"} if seconds > SECONDS else {})})


def _processor_seconds() -> float:
    """Returns what this process and the programs that it has started took so far."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in usages)


def work(name: str, seed: int) -> None:
    """Reads numbers of mutants from the standard input, and answers in lines of JSON; runs in a process of its own."""
    # What libraries print is not to come between the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))

    def say(answer: dict[str, Any]) -> None:
        print(json.dumps(answer), file=answers, flush=True)

    with tempfile.TemporaryDirectory() as directory:
        kind = KINDS[name](Path(directory))
        for line in sys.stdin:
            number = int(line)
            kind.make(rng_of(name, seed, number))
            judge(kind, number, say)
            say({"done": number})


class Reader:
    """The process that reads, started again when it had to be ended or has ended itself.

    Args:
        command: starts it; it does what `work` does.
        seconds: after which a reading is ended.

    Attributes:
        slowest: the most seconds of processor time that a reading took.
    """

    def __init__(self, command: Sequence[str], seconds: float = _PATIENCE_SECONDS) -> None:
        self.slowest = 0.0
        self._command = command
        self._seconds = seconds
        self._process: subprocess.Popen[str] | None = None
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()

    def read(self, number: int) -> list[tuple[str, str, str | None]]:
        """Returns (reader, outcome, what was said) of each reader that one mutant was given to."""
        found: list[tuple[str, str, str | None]] = []
        reader, seconds = "make", _START_SECONDS
        process = self._running()
        assert process.stdin is not None
        process.stdin.write(f"{number}\n")
        process.stdin.flush()
        while True:
            answer = self._answer(seconds)
            if isinstance(answer, str):
                if answer == "hang":
                    process.kill()
                code = process.wait()
                self._process = None
                return [*found, (reader, answer, None if answer == "hang" else f"exit code {code}")]
            if "done" in answer:
                return found
            if "reader" in answer:
                reader, seconds = answer["reader"], self._seconds
            else:
                found.append((reader, answer["outcome"], answer["said"]))
                self.slowest = max(self.slowest, answer["seconds"])

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def _running(self) -> subprocess.Popen[str]:
        if self._process is None:
            self._process = subprocess.Popen(
                self._command,
                text=True,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
            self._lines = queue.SimpleQueue()
            threading.Thread(target=_listen, args=(self._process, self._lines), daemon=True).start()
        return self._process

    def _answer(self, seconds: float) -> dict[str, Any] | str:
        """Returns the next answer; `"hang"` where none comes in time, `"crash"` where none will."""
        try:
            line = self._lines.get(timeout=seconds)
        except queue.Empty:
            return "hang"
        answer: dict[str, Any] | str = json.loads(line) if line else "crash"
        return answer


def _listen(process: subprocess.Popen[str], lines: queue.SimpleQueue[str]) -> None:
    """Hands on what a process says, and an empty line at its end."""
    assert process.stdout is not None
    for line in process.stdout:
        lines.put(line)
    lines.put("")


def worker(kind: str, seed: int) -> list[str]:
    """Returns the command that starts a process which reads mutants of a kind."""
    return [sys.executable, "-m", "research.fuzz", f"--kinds={kind}", f"--seed={seed}", "--worker"]


def fuzz(kind: str, mutants: int, seed: int) -> dict[str, Any]:
    """Returns how many readings came out how; of those that should not be, number of the mutant, reader and words."""
    outcomes: Counter[str] = Counter()
    faults: list[dict[str, Any]] = []
    reader = Reader(worker(kind, seed))
    try:
        for number in range(mutants):
            for name, outcome, said in reader.read(number):
                outcomes[outcome] += 1
                if outcome not in ("taken", "refused"):
                    faults.append({"mutant": number, "reader": name, "outcome": outcome, "said": said})
                    print(json.dumps(faults[-1])[:600], flush=True)
    finally:
        reader.stop()
    counted = {name: outcomes[name] for name in ("taken", "refused", "unnamed", "bare", "crash", "hang")}
    return {
        "mutants": mutants,
        "readings": sum(outcomes.values()),
        **counted,
        "slowest_seconds": reader.slowest,
        "faults": faults,
    }


def main(_: list[str]) -> None:
    if WORKER.value:
        work(CHOSEN.value[0], SEED.value)
        return
    journal = Journal(RESULTS / "fuzz.jsonl")
    for kind in CHOSEN.value:
        if ONLY.value is not None:
            reader = Reader(worker(kind, SEED.value))
            for found in reader.read(ONLY.value):
                print(*found, sep=": ")
            reader.stop()
            continue
        key = {"kind": kind, "mutants": MUTANTS.value, "seed": SEED.value}
        if not journal.done(key):
            result = fuzz(kind, MUTANTS.value, SEED.value)
            print(kind, {name: value for name, value in result.items() if name != "faults"}, flush=True)
            if not result["faults"]:
                journal.append(key, result)


if __name__ == "__main__":
    app.run(main)
