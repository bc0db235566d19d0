"""Runs of the protocol as a list of keys, and their making: one line of a journal each.

    python -m research.runs --stage=search --case=A6     # then --stage=tuning, --stage=final

Several processes may share a list: each takes the next run that nobody has made or is making. In the stages "search"
and "tuning" the test split is not read.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tensorflow as tf
from absl import app, flags

from benchmarks.journal import Journal
from examples.datasets import ImageData
from research.case import CASES, Case, Training
from research.claims import claim
from research.methods import METHODS
from research.settings import FINAL_METHODS, FINAL_RATES, SEARCH, TUNING, Candidate
from tfmot_swd.prunable import counted_weights

RESULTS = Path(__file__).parent / "results"
TUNED = Path(__file__).parent / "tuned.json"
STAGES = ("search", "tuning", "final")
TUNING_SEEDS = (100, 101, 102)
TUNING_RATE = 0.99
FINAL_SEEDS = range(8)

STAGE = flags.DEFINE_enum("stage", "tuning", STAGES, "which part of the protocol")
CASE = flags.DEFINE_enum("case", "A6", list(CASES), "which case of the protocol")
SEEDS = flags.DEFINE_list("seeds", None, "only these seeds; those of the protocol by default")
ONLY = flags.DEFINE_list("only", None, "only these methods, or in the search these candidates")
RATES = flags.DEFINE_list("final_rates", None, "only these rates, in the last stage")
LIMIT = flags.DEFINE_float("minutes", None, "begin no run after so many minutes")


def journal_of(stage: str, case: str) -> Journal:
    """Returns the journal of a stage of a case."""
    return Journal(RESULTS / f"{stage}_{case}.jsonl")


def key_of(case: Case, candidate: Candidate, rate: float, seed: int) -> dict[str, Any]:
    """Returns what identifies a run."""
    return {"case": case.name, "recipe": case.recipe(), **dataclasses.asdict(candidate), "rate": rate, "seed": seed}


def keys(stage: str, case: Case, seeds: list[int] | None, only: list[str] | None, rates: list[float] | None) -> Any:
    """Yields the runs of a stage, all methods before the next seed."""
    return {"search": _search, "tuning": _tuning, "final": _final}[stage](case, seeds, only, rates)


def _search(case: Case, seeds: Any, only: Any, rates: Any) -> Iterator[dict[str, Any]]:
    for seed in seeds or TUNING_SEEDS[:1]:
        for candidate in SEARCH:
            if only is None or candidate.name in only:
                yield key_of(case, candidate, TUNING_RATE, seed)


def _tuning(case: Case, seeds: Any, only: Any, rates: Any) -> Iterator[dict[str, Any]]:
    for seed in seeds or TUNING_SEEDS[:1]:
        for candidate in TUNING:
            if only is None or candidate.method in only:
                yield key_of(case, candidate, TUNING_RATE, seed)


def _final(case: Case, seeds: Any, only: Any, rates: Any) -> Iterator[dict[str, Any]]:
    if not TUNED.exists():
        raise FileNotFoundError(f"The last stage needs the settings that tuning has chosen. Received: no {TUNED.name}")
    tuned = {name: Candidate(**fields) for name, fields in json.loads(TUNED.read_text())["settings"].items()}
    for seed in seeds or FINAL_SEEDS:
        for rate in rates or FINAL_RATES[case.name]:
            for method in FINAL_METHODS:
                if only is None or method in only:
                    yield key_of(case, tuned[method], 0.0 if method == "dense" else rate, seed)


def run(key: dict[str, Any], data: ImageData, with_test: bool) -> dict[str, Any]:
    """Makes one run and returns what the journal keeps of it."""
    case = CASES[key["case"]]
    training = Training(case, data, key["seed"], key["learning_rate"])
    begun = time.perf_counter(), time.process_time()
    trained = METHODS[key["method"]](training, key["rate"], **key["setting"])
    weights = [weight for layer in trained.model.layers for weight in counted_weights(layer)]
    result = {
        "validation_accuracy": training.validation_accuracy(trained.model),
        "prunable_weights": sum(int(weight.shape.num_elements()) for weight in weights),
        "nonzero_prunable_weights": sum(int(tf.math.count_nonzero(weight)) for weight in weights),
        "seconds": time.perf_counter() - begun[0],
        "processor_seconds": time.process_time() - begun[1],
        **trained.facts,
    }
    if with_test:
        result["test_accuracy"] = training.test_accuracy(trained.model)
    return result


def main(_: list[str]) -> None:
    # Two processes of one thread finish sooner than one of two.
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    case = CASES[CASE.value]
    seeds = [int(seed) for seed in SEEDS.value] if SEEDS.value else None
    rates = [float(rate) for rate in RATES.value] if RATES.value else None
    data, begun = case.load(), time.monotonic()
    for key in keys(STAGE.value, case, seeds, ONLY.value, rates):
        if LIMIT.value is not None and time.monotonic() - begun > 60 * LIMIT.value:
            break
        # Another process may have finished it since.
        if journal_of(STAGE.value, case.name).done(key):
            continue
        with claim(key) as mine:
            journal = journal_of(STAGE.value, case.name)
            if not mine or journal.done(key):
                continue
            result = run(key, data, with_test=STAGE.value == "final")
            journal.append(key, result)
            print(
                f"{key['name']} {key['rate']:.1%} seed {key['seed']}: validation {result['validation_accuracy']:.4f}, "
                f"{result['nonzero_prunable_weights']:,} weights, {result['seconds']:.0f} s",
                flush=True,
            )


if __name__ == "__main__":
    app.run(main)
