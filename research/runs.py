"""Runs of the protocol as a list of keys, and their making: one line of a journal each.

    python -m research.runs --stage=search --case=A6     # then --stage=frequency, --stage=tuning, --stage=final

Several processes may share a list: each takes the next run that nobody has made or is making. In the stages
before the last the test split is not read.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tensorflow as tf

from examples.datasets import ImageData
from research.case import CASES, Case, Training
from research.claims import claim
from research.journal import Journal
from research.methods import METHODS
from research.settings import FINAL_RATES, FREQUENCY, SEARCH, TUNING, Candidate, fine_tuning, fine_tuning_of_channels
from research.tuned import best_names, tuned
from tfmot_swd.layers.prunable import counted_weights

RESULTS = Path(__file__).parent / "results"
STAGES = ("search", "frequency", "tuning", "final")
TUNING_SEEDS = (100, 101, 102)
TUNING_RATE = 0.99
# From trained weights little is lost at lower rates, and more than 98 % is not asked for.
FINE_TUNING_RATES = {"weights": 0.9, "channels": 0.8}
# The case on which the settings of a case were tuned; itself otherwise.
TUNED_ON = {"A": "A6", "B": "A6"}
FINAL_SEEDS = range(8)
# Of the cases that begin with trained weights.
FINE_TUNING_SEEDS = range(5)


def journal_of(stage: str, case: str) -> Journal:
    """Returns the journal of a stage of a case."""
    return Journal(RESULTS / f"{stage}_{case}.jsonl")


def key_of(case: Case, candidate: Candidate, rate: float, seed: int) -> dict[str, Any]:
    """Returns what identifies a run."""
    return {"case": case.name, "recipe": case.recipe(), **dataclasses.asdict(candidate), "rate": rate, "seed": seed}


def keys(stage: str, case: Case, seeds: list[int] | None, only: list[str] | None, rates: list[float] | None) -> Any:
    """Yields the runs of a stage, all methods before the next seed."""
    return {"search": _search, "frequency": _frequency, "tuning": _tuning, "final": _final}[stage](
        case, seeds, only, rates
    )


def _search(case: Case, seeds: Any, only: Any, rates: Any) -> Iterator[dict[str, Any]]:
    for seed in seeds or TUNING_SEEDS[:1]:
        for candidate in SEARCH:
            if only is None or candidate.name in only:
                yield key_of(case, candidate, TUNING_RATE, seed)


def _frequency(case: Case, seeds: Any, only: Any, rates: Any) -> Iterator[dict[str, Any]]:
    for seed in seeds or TUNING_SEEDS:
        for rate in rates or (TUNING_RATE,):
            for candidate in FREQUENCY:
                if only is None or candidate.name in only:
                    yield key_of(case, candidate, rate, seed)


def _tuning(case: Case, seeds: Any, only: Any, rates: Any) -> Iterator[dict[str, Any]]:
    candidates = TUNING
    if case.fine_tunes:
        candidates = (fine_tuning_of_channels if case.pruned == "channels" else fine_tuning)(case.optimizer)
    for seed in seeds or TUNING_SEEDS:
        for candidate in candidates if seed == TUNING_SEEDS[0] else _best(case, candidates):
            if only is None or candidate.family in only:
                yield key_of(case, candidate, tuning_rate(case), seed)


def _best(case: Case, candidates: list[Candidate]) -> list[Candidate]:
    """Returns the settings that go on to further seeds; none before all of them have had the first seed."""
    journal, first = journal_of("tuning", case.name), TUNING_SEEDS[0]
    if not all(journal.done(key_of(case, each, tuning_rate(case), first)) for each in candidates):
        # Another process is at work on it still, or `only` has left methods out.
        return []
    kept = best_names(journal.records(), first)
    return [each for each in candidates if each.name in kept]


def tuning_rate(case: Case) -> float:
    """Returns the rate at which the settings of a case are tuned."""
    return FINE_TUNING_RATES[case.pruned] if case.fine_tunes else TUNING_RATE


def _final(case: Case, seeds: Any, only: Any, rates: Any) -> Iterator[dict[str, Any]]:
    settings = tuned(TUNED_ON.get(case.name, case.name))
    for seed in seeds or (FINE_TUNING_SEEDS if case.fine_tunes else FINAL_SEEDS):
        for rate in rates or FINAL_RATES[case.name]:
            for family, candidate in settings.items():
                if only is None or family in only:
                    yield key_of(case, candidate, 0.0 if family == "dense" else rate, seed)


def run(key: dict[str, Any], data: ImageData, with_test: bool) -> dict[str, Any]:
    """Makes one run and returns what the journal keeps of it."""
    case = CASES[key["case"]]
    training = Training(case, data, key["seed"], key["learning_rate"])
    begun = time.perf_counter(), time.process_time()
    trained = METHODS[key["method"]](training, key["rate"], **key["setting"])
    weights = [weight for layer in trained.model.layers for weight in counted_weights(layer)]
    result = {
        "validation_accuracy": training.validation_accuracy(trained.model),
        "parameters": trained.model.count_params(),
        "prunable_weights": sum(int(weight.shape.num_elements()) for weight in weights),
        "nonzero_prunable_weights": sum(int(tf.math.count_nonzero(weight)) for weight in weights),
        "seconds": time.perf_counter() - begun[0],
        "processor_seconds": time.process_time() - begun[1],
        **trained.facts,
    }
    if with_test:
        result["test_accuracy"] = training.test_accuracy(trained.model)
    return result


def arguments() -> argparse.Namespace:
    """Returns what the command line says."""
    parser = argparse.ArgumentParser(description="Makes the runs of the protocol that are missing.")
    parser.add_argument("--stage", choices=STAGES, default="tuning", help="which part of the protocol")
    parser.add_argument("--case", choices=CASES, default="A6", help="which case of the protocol")
    parser.add_argument("--seeds", type=int, nargs="+", help="only these seeds; those of the protocol by default")
    parser.add_argument("--only", nargs="+", help="only these methods, or in the search these candidates")
    parser.add_argument("--rates", type=float, nargs="+", help="only these rates, in the last stage")
    parser.add_argument("--minutes", type=float, default=math.inf, help="begin no run after so many minutes")
    return parser.parse_args()


def main() -> None:
    options = arguments()
    # Two processes of one thread finish sooner than one of two.
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    case = CASES[options.case]
    data, begun = case.load(), time.monotonic()
    for key in keys(options.stage, case, options.seeds, options.only, options.rates):
        if time.monotonic() - begun > 60 * options.minutes:
            break
        # Another process may have finished it since.
        if journal_of(options.stage, case.name).done(key):
            continue
        with claim(key) as mine:
            journal = journal_of(options.stage, case.name)
            if not mine or journal.done(key):
                continue
            result = run(key, data, with_test=options.stage == "final")
            journal.append(key, result)
            print(
                f"{key['name']} {key['rate']:.1%} seed {key['seed']}: validation {result['validation_accuracy']:.4f}, "
                f"{result['nonzero_prunable_weights']:,} weights, {result['seconds']:.0f} s",
                flush=True,
            )


if __name__ == "__main__":
    main()
