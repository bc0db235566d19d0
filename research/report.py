"""Tables and plots of the protocol, from the journals.

python -m research.report      # writes results/protocol.md and results/protocol.png
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from rich.console import Console

from research.case import CASES
from research.runs import RESULTS, TUNING_RATE, journal_of, tuning_rate
from research.settings import SEARCH, family_of
from research.statistics import holm, paired
from research.tables import ResultTable, save_figure, write_markdown

OURS = "swd"
# Half the width within which two methods count as equally good, in points; see the protocol.
MARGINS = {"A": 0.5, "B": 0.5, "Cg": 0.3, "Cp": 0.3, "Fs": 0.3, "Fa": 0.3, "Fc": 0.3, "Rs": 0.5, "Ra": 0.5}
Scores = dict[float, dict[str, dict[int, float]]]


def validation_table(stage: str, case: str) -> ResultTable | None:
    """Returns validation accuracies of all settings tried in a stage, the best first; None where nothing was run."""
    found: dict[tuple[str, str], dict[int, float]] = defaultdict(dict)
    for record in journal_of(stage, case).records():
        key = record["key"]
        found[key["method"], key["name"]][key["seed"]] = 100 * record["result"]["validation_accuracy"]
    if not found:
        return None
    seeds = sorted({seed for by_seed in found.values() for seed in by_seed})
    ordered = sorted(found.items(), key=lambda item: -sum(item[1].values()) / len(item[1]))
    rows = tuple(
        (name, *(f"{by_seed[seed]:.2f}" if seed in by_seed else "" for seed in seeds), f"{_mean(by_seed):.2f}")
        for (_, name), by_seed in ordered
    )
    rate = tuning_rate(CASES[case]) if stage == "tuning" else TUNING_RATE
    title = f"{CASES[case].title}, {stage}: validation accuracy in % at {rate:.0%}"
    notes = [f"{len(rows)} settings."]
    if stage == "search":
        notes.append(
            f"All of them are tries for a form of our own but the references among them, of {len(SEARCH)} planned."
        )
    heading = ("setting", *(f"seed {seed}" for seed in seeds), "mean")
    return ResultTable(title, heading, rows, left=("setting",), notes=(" ".join(notes),))


def final_scores(case: str) -> Scores:
    """Returns test accuracy in % by rate, method and seed; a run that diverged counts as chance."""
    found: Scores = defaultdict(lambda: defaultdict(dict))
    for record in journal_of("final", case).records():
        key, accuracy = record["key"], record["result"]["test_accuracy"]
        chance = accuracy is None or math.isnan(accuracy)
        found[key["rate"]][family_of(key["name"])][key["seed"]] = 10.0 if chance else 100 * accuracy
    return {rate: dict(by_method) for rate, by_method in found.items()}


def complete(by_method: Mapping[str, Mapping[int, float]]) -> dict[str, dict[int, float]]:
    """Returns the scores of the seeds that all methods have."""
    shared = set.intersection(*(set(by_seed) for by_seed in by_method.values()))
    return {method: {seed: by_seed[seed] for seed in sorted(shared)} for method, by_seed in by_method.items()}


def final_table(case: str) -> ResultTable | None:
    """Returns mean test accuracies by rate, and ours against the best reference; None where nothing was run."""
    whole = final_scores(case).get(0.0, {}).get("dense", {})
    scores = {rate: complete(by_method) for rate, by_method in final_scores(case).items() if rate}
    scores = {rate: found for rate, found in scores.items() if OURS in found and len(next(iter(found.values()))) > 1}
    if not scores:
        return None
    methods = sorted({method for found in scores.values() for method in found})
    best = {rate: max(filter(_is_reference, found), key=lambda m: _mean(found[m])) for rate, found in scores.items()}
    plain = [paired(found[OURS], found[best[rate]]) for rate, found in scores.items()]
    rows = []
    for (rate, found), level in zip(scores.items(), holm([each.p for each in plain]), strict=True):
        difference = paired(found[OURS], found[best[rate]], level)
        rows.append(
            (
                f"{rate:.1%}",
                str(difference.seeds),
                *(f"{_mean(found[method]):.2f}" if method in found else "" for method in methods),
                best[rate],
                f"{difference.mean:+.2f} [{difference.low:+.2f}, {difference.high:+.2f}]",
                difference.verdict(MARGINS[case]),
            )
        )
    heading = ("rate", "seeds", *methods, "best reference", "ours minus it", "")
    title = f"{CASES[case].title}: test accuracy in %"
    notes = (f"Dense: {_mean(whole):.2f} over {len(whole)} seeds.",) if whole else ()
    return ResultTable(title, heading, tuple(sorted(rows)), left=("best reference",), notes=notes)


def draw(cases: Sequence[str], path: Path) -> Path | None:
    """Draws every seed of every method, a panel a case; None where nothing was run."""
    cases = [case for case in cases if any(final_scores(case))]
    if not cases:
        return None
    figure, axes = plt.subplots(1, len(cases), figsize=(6.5 * len(cases), 4.6), squeeze=False)
    for axis, case in zip(axes[0], cases, strict=True):
        scores = final_scores(case)
        rates = sorted(rate for rate in scores if rate)
        methods = sorted({method for rate in rates for method in scores[rate]})
        for place, method in enumerate(methods):
            color = plt.get_cmap("tab10")(place)
            points = [
                (column + 0.08 * (place - len(methods) / 2), score)
                for column, rate in enumerate(rates)
                for score in scores[rate].get(method, {}).values()
            ]
            axis.scatter(*zip(*points, strict=True), s=14, color=color, label=method)
        axis.set_xticks(range(len(rates)), [f"{rate:.1%}" for rate in rates])
        channels = CASES[case].pruned == "channels"
        axis.set_xlabel("parameters removed" if channels else "weights removed (of the prunable ones)")
        axis.set_ylabel("test accuracy (%)")
        axis.set_title(CASES[case].title)
        axis.grid(alpha=0.3)
        axis.legend(fontsize=7)
    return save_figure(figure, path)


def _is_reference(method: str) -> bool:
    """Returns whether a method is none of ours: other forms begin with the name of the default, or it is PGP."""
    return method.partition("_")[0] not in (OURS, "pgp")


def _mean(by_seed: Mapping[Any, float]) -> float:
    return sum(by_seed.values()) / len(by_seed)


def main() -> None:
    console = Console(width=170)
    made = [validation_table(stage, case) for stage in ("search", "tuning") for case in CASES]
    made += [final_table(case) for case in MARGINS]
    tables = [table for table in made if table is not None]
    console.print(*tables)
    written = [write_markdown(RESULTS / "protocol.md", tables), draw(list(MARGINS), RESULTS / "protocol.png")]
    console.print("Written:", ", ".join(path.name for path in written if path is not None))


if __name__ == "__main__":
    main()
