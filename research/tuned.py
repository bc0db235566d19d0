"""Settings that tuning has chosen, by case: from the validation accuracies of its journals to a committed file.

    python -m research.tuned --case=A6      # writes its choice into tuned.json

Of each method the setting with the best mean over the seeds is taken, among those that were run on as many seeds as any
of its settings. Commit the file before the last stage.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from research.journal import Journal
from research.settings import Candidate, family_of
from tfmot_swd.io.json_files import write_json

RESULTS = Path(__file__).parent / "results"
TUNED = Path(__file__).parent / "tuned.json"


def chosen(records: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Returns the best setting of each method, with its mean validation accuracy and seeds.

    Raises:
      ValueError: there is no run.
    """
    found: dict[str, dict[str, dict[int, float]]] = defaultdict(lambda: defaultdict(dict))
    fields: dict[str, dict[str, Any]] = {}
    for record in records:
        key, accuracy = record["key"], record["result"]["validation_accuracy"]
        candidate = Candidate(**{each.name: key[each.name] for each in dataclasses.fields(Candidate)})
        fields[candidate.name] = dataclasses.asdict(candidate)
        # A run that diverged counts as chance.
        found[candidate.family][candidate.name][key["seed"]] = 0.1 if accuracy is None else accuracy
    if not found:
        raise ValueError("There is nothing to choose from: run the stage of tuning first. Received: no run")
    best = {}
    for family, settings in found.items():
        most = max(len(by_seed) for by_seed in settings.values())
        means = {name: sum(by_seed.values()) / most for name, by_seed in settings.items() if len(by_seed) == most}
        name = max(means, key=lambda each: means[each])
        best[family] = {**fields[name], "validation_accuracy": means[name], "seeds": sorted(settings[name])}
    return best


def best_names(records: Iterable[Mapping[str, Any]], seed: int, count: int = 2) -> set[str]:
    """Returns the names of the best settings of each method on one seed, as many as are run on further seeds.

    >>> runs = [("a lr 1", 0.8), ("a lr 2", 0.9), ("a lr 3", 0.7), ("b lr 1", None)]
    >>> sorted(best_names([{"key": {"name": n, "seed": 1}, "result": {"validation_accuracy": v}} for n, v in runs], 1))
    ['a lr 1', 'a lr 2', 'b lr 1']
    """
    found: dict[str, list[tuple[float, str]]] = defaultdict(list)
    for record in records:
        name, accuracy = record["key"]["name"], record["result"]["validation_accuracy"]
        if record["key"]["seed"] == seed:
            found[family_of(name)].append((-1.0 if accuracy is None else accuracy, name))
    return {name for of_family in found.values() for _, name in sorted(of_family, reverse=True)[:count]}


def tuned(case: str, path: Path = TUNED) -> dict[str, Candidate]:
    """Returns the settings of a case by method, as committed.

    Raises:
      FileNotFoundError: none have been chosen for it.
    """
    known = json.loads(path.read_text()) if path.exists() else {}
    if case not in known:
        raise FileNotFoundError(
            f"The last stage needs the settings that tuning has chosen: python -m research.tuned --case={case}. "
            f"Received: no {case} in {path.name}"
        )
    names = [each.name for each in dataclasses.fields(Candidate)]
    return {family: Candidate(**{name: entry[name] for name in names}) for family, entry in known[case].items()}


def main() -> None:
    parser = argparse.ArgumentParser(description="Chooses the settings of a case from its journal of tuning.")
    parser.add_argument("--case", required=True, help="the case that was tuned")
    case = parser.parse_args().case
    known = json.loads(TUNED.read_text()) if TUNED.exists() else {}
    known[case] = chosen(Journal(RESULTS / f"tuning_{case}.jsonl").records())
    write_json(TUNED, known)
    for family, entry in known[case].items():
        print(f"{family}: {entry['name']}, {entry['validation_accuracy']:.4f} over {len(entry['seeds'])} seeds")


if __name__ == "__main__":
    main()
