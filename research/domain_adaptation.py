"""Pruning during unsupervised domain adaptation: accuracy on the target, size and time by method, rate and alignment.

    python -m research.domain_adaptation
    python -m research.domain_adaptation --adaptation_report

Resumable: each finished run is one line of `research/results/domain_adaptation.jsonl`, the most telling ones first.
Every run trains for the same number of epochs and its last state counts. Labels of the target are read once, on images
held out from the adaptation too, at the end of each run. Seconds of the processor do not see what else the machine
does.
"""

from __future__ import annotations

import dataclasses
import functools
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from absl import app, flags
from rich.console import Console

from examples.domain_data import FILES, Domain, load_domain
from examples.domain_methods import FILTERS, ROUND_TO, AdaptationRecipe, run_method
from examples.domain_report import spread
from research.cases import Results, mean, panel_of, results_of, run_missing, use_one_thread
from research.journal import Journal
from research.tables import ResultTable, draw_panels, write_markdown

RESULTS = Path(__file__).parent / "results"
LABELS = {
    "source_only": "source only",
    "dense": "adapted, dense",
    "rpgp": "adapted, RPGP",
    "pgp": "adapted, PGP",
    "psfp": "adapted, PSFP",
    "psfp_clipped": "adapted, PSFP, gradients clipped",
    "l1_once": "adapted, L1 once",
}
METHODS = ("dense", "rpgp", "source_only", "psfp", "psfp_clipped")
SEEDS = flags.DEFINE_integer("adaptation_seeds", 3, "how many seeds")
REPORT = flags.DEFINE_bool("adaptation_report", False, "only print the tables and draw the plot of what is there")


@dataclasses.dataclass(frozen=True)
class DomainCase:
    """One direction by one alignment, with what all methods share; and what is worth running, (rate, methods)."""

    name: str
    source: str
    target: str
    recipe: AdaptationRecipe
    runs: tuple[tuple[float, tuple[str, ...]], ...]

    @property
    def heading(self) -> str:
        source, target = (FILES[each].title for each in (self.source, self.target))
        recipe = self.recipe
        return f"{source} → {target}, {recipe.alignment}: {recipe.epochs} epochs of batches of {recipe.batch_size}"

    def key(self, method: str, rate: float, seed: int) -> dict[str, Any]:
        """Returns what identifies a run in a journal."""
        settings = {**dataclasses.asdict(FILTERS[method]), "round_to": ROUND_TO} if method in FILTERS else {}
        return {
            **self._shared(),
            "method": method,
            "settings": settings,
            "rate": rate if method in FILTERS else 0.0,
            "seed": seed,
        }

    def results(self, journal: Journal) -> Results:
        """Returns the results of each (method, rate), over the seeds."""
        return results_of(journal, self._shared())

    def _shared(self) -> dict[str, Any]:
        recipe = {name: value for name, value in dataclasses.asdict(self.recipe).items() if name != "seed"}
        recipe["widths"] = list(self.recipe.widths)
        return {"case": self.name, "source": self.source, "target": self.target, **recipe}


def _case(name: str, source: str, target: str, alignment: str, *runs: tuple[float, tuple[str, ...]]) -> DomainCase:
    return DomainCase(name, source, target, AdaptationRecipe(alignment=alignment), runs)


# In the order in which they are worth running.
CASES = (
    _case("mnist_uci_mmd", "mnist_5k", "uci_digits", "mmd", (0.5, METHODS)),
    _case("uci_mnist_mmd", "uci_digits", "mnist_5k", "mmd", (0.5, METHODS)),
    _case("mnist_uci_mmd", "mnist_5k", "uci_digits", "mmd", (0.7, ("rpgp", "psfp_clipped"))),
    _case("mnist_uci_mmd", "mnist_5k", "uci_digits", "mmd", (0.3, ("rpgp", "psfp_clipped"))),
    _case("mnist_uci_coral", "mnist_5k", "uci_digits", "coral", (0.5, ("dense", "rpgp", "psfp_clipped"))),
    _case("mnist_uci_adversarial", "mnist_5k", "uci_digits", "adversarial", (0.5, ("dense", "rpgp", "psfp_clipped"))),
    _case("uci_mnist_mmd", "uci_digits", "mnist_5k", "mmd", (0.7, ("rpgp", "psfp_clipped"))),
    _case("mnist_uci_mmd", "mnist_5k", "uci_digits", "mmd", (0.5, ("pgp",))),
)


def journal() -> Journal:
    return Journal(RESULTS / "domain_adaptation.jsonl")


def keys(case: DomainCase) -> Iterator[dict[str, Any]]:
    """Yields the keys of all runs of a case, seed by seed."""
    for seed in range(SEEDS.value):
        for rate, methods in case.runs:
            for method in methods:
                yield case.key(method, rate, seed)


def run(case: DomainCase, source: Domain, target: Domain, key: dict[str, Any]) -> dict[str, Any]:
    """Trains one run and returns what the journal keeps of it."""
    recipe = dataclasses.replace(case.recipe, seed=key["seed"])
    with tempfile.TemporaryDirectory() as directory:
        found = run_method(key["method"], source, target, recipe, key["rate"], Path(directory) / "model.tflite")
    return {
        "test_accuracy": found.target_accuracy,
        "source_accuracy": found.source_accuracy,
        "int8_accuracy": found.export and found.export.accuracy,
        "int8_bytes": found.export and found.export.bytes,
        "parameters": found.parameters,
        "macs": found.macs,
        "seconds": found.adapted.seconds,
        "processor_seconds": found.adapted.processor_seconds,
        "filters_by_epoch": [status.channels for status in found.adapted.filters],
        "alignment_loss": found.adapted.history["alignment_loss"][-1],
    }


HEADING = (
    *("rate asked", "method", "target %", "int8 file, target %", "source %", "parameters", "MACs", "int8 bytes"),
    *("seconds", "of processor", "of dense"),
)


def table_of(case: DomainCase, journal: Journal) -> ResultTable:
    """Returns a row for each method and rate that has a result: means, of accuracies with standard deviations."""
    found = case.results(journal)
    dense = found.get(("dense", 0.0))
    rows = []
    for (method, rate), runs in sorted(found.items(), key=lambda item: (item[0][1], list(LABELS).index(item[0][0]))):
        # A network that has diverged may have no file that runs.
        filed = [each for each in runs if each["int8_bytes"]]
        some = f" ({len(filed)} of {len(runs)})" if 0 < len(filed) < len(runs) else ""
        share = mean(runs, "processor_seconds") / mean(dense, "processor_seconds") if dense else None
        rows.append(
            (
                f"{rate:.0%}",
                f"{LABELS[method]} ({len(runs)})",
                spread(_values(runs, "test_accuracy"), 0.01),
                spread(_values(filed, "int8_accuracy"), 0.01) + some if filed else "",
                spread(_values(runs, "source_accuracy"), 0.01),
                f"{mean(runs, 'parameters'):,.0f}",
                f"{mean(runs, 'macs') / 1e6:.2f} M",
                f"{mean(filed, 'int8_bytes'):,.0f}" if filed else "",
                f"{mean(runs, 'seconds'):.0f}",
                f"{mean(runs, 'processor_seconds'):.1f}",
                "" if share is None else f"{share:.2f}",
            )
        )
    return ResultTable(case.heading, HEADING, tuple(rows), left=("method",))


def _values(runs: list[dict[str, Any]], field: str) -> list[float]:
    """Returns an accuracy of each seed; 0 of a run that gave no finite answer, as in `mean`."""
    return [float(each[field] or 0.0) for each in runs]


def main(_: list[str]) -> None:
    console = Console(width=160)
    found = journal()
    if not REPORT.value:
        use_one_thread()
        domains = {name: load_domain(name) for name in FILES}
        for case in CASES:
            train = functools.partial(run, case, domains[case.source], domains[case.target])
            run_missing(found, keys(case), train, console)
    cases = [case for case in {case.name: case for case in CASES}.values() if case.results(found)]
    tables = [table_of(case, found) for case in cases]
    console.print(*tables)
    written = write_markdown(RESULTS / "domain_adaptation.md", tables)
    unit = 1e6, "million MACs"
    # One point beside the dense one makes no picture.
    pictured = [(case.heading, case.results(found)) for case in cases if len(case.results(found)) > 2]
    panels = [panel_of(heading, results, LABELS, "macs", unit, "rpgp") for heading, results in pictured]
    drawn = draw_panels(RESULTS / "domain_adaptation.png", panels)
    console.print(f"Written: {written.name}, {drawn.name}")


if __name__ == "__main__":
    app.run(main)
