"""Accuracy against rate: Selective Weight Decay beside magnitude pruning, at equal total epochs.

    python -m research.accuracy_at_rate --dataset=fashion_mnist      # then --dataset=cifar10_jpeg
    python -m research.accuracy_at_rate --report                     # table and plot of what is there

`research/results/earlier_start_accuracy.jsonl` holds the lines of an earlier state: the Fashion net under Keras's own
Glorot start, and another default of SelectiveDecay (X from 0.01). They were dropped when the networks got PyTorch's
start and are back, with a table of their own, since Glorot's start is what Keras users have.

Resumable: each finished run is one line of `research/results/accuracy_at_rate_<dataset>.jsonl`. Two processes
side by side share the work with --rates and --part, which gives each a file of its own. Everything
about a method was chosen on the validation split; the test split is scored once, at the end of each run.
"""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tensorflow as tf
from absl import app, flags
from rich.console import Console

from examples.datasets import ImageData
from examples.networks import NETWORKS
from examples.training import METHODS, Recipe, accuracy, train
from research.cifar10_jpeg import TITLE
from research.data import load
from research.journal import Journal
from research.tables import Panel, ResultTable, draw_panels, write_markdown
from tfmot_swd import sparsity_report

RESULTS = Path(__file__).parent / "results"
EARLIER = RESULTS / "earlier_start_accuracy.jsonl"


@dataclasses.dataclass(frozen=True)
class Setting:
    """One dataset's part of the benchmark. Rates stand in the order in which they are worth running."""

    title: str
    network: str
    train_limit: int
    epochs: int
    batch_size: int
    augment: bool
    rates: tuple[float, ...]


SETTINGS = {
    "fashion_mnist": Setting(
        "Fashion-MNIST, two convolutions",
        "fashion_net",
        20_000,
        10,
        64,
        False,
        (0.995, 0.999, 0.98, 0.998, 0.99, 0.95, 0.9),
    ),
    "cifar10_jpeg": Setting(f"{TITLE}, ResNet-8", "resnet8", 8_000, 10, 64, True, (0.98, 0.99, 0.95, 0.995, 0.9)),
}
LABELS = {
    "dense": "dense",
    "swd": "SWD (default)",
    "swd_paper": "SWD (as published)",
    "global_gradual": "gradual, global",
    "tfmot": "TFMOT gradual",
    "magnitude_once": "once + fine-tune",
    "lr_rewinding": "once + LR rewinding",
}

DATASET = flags.DEFINE_enum("dataset", "fashion_mnist", list(SETTINGS), "what to train on")
SEEDS = flags.DEFINE_integer("seeds", 1, "how many seeds")
METHODS_FLAG = flags.DEFINE_list("methods", list(LABELS), "which methods")
THREADS = flags.DEFINE_integer("threads", 1, "threads: two processes of one thread finish sooner than one of two")
RATES = flags.DEFINE_list("rates", None, "only these rates; all by default")
PART = flags.DEFINE_string("part", "", "suffix of this process's own file of results")
REPORT = flags.DEFINE_bool("report", False, "only print the table and draw the plot of what is there")


def journal_of(name: str, part: str = "") -> Journal:
    return Journal(RESULTS / f"accuracy_at_rate_{name}{part}.jsonl")


def records_of(name: str) -> list[dict[str, Any]]:
    """Returns the finished runs of a dataset, from the files of all parts."""
    paths = sorted(RESULTS.glob(f"accuracy_at_rate_{name}*.jsonl"))
    return [record for path in paths for record in Journal(path).records()]


def jobs(name: str, methods: list[str], seeds: int, wanted: list[str] | None) -> Iterator[dict[str, Any]]:
    """Yields the keys of all runs, the most telling first."""
    setting = SETTINGS[name]
    shared = _shared(name)
    for seed in range(seeds):
        if "dense" in methods:
            yield {**shared, "method": "dense", "rate": 0.0, "seed": seed}
        for rate in setting.rates:
            if wanted is not None and rate not in [float(each) for each in wanted]:
                continue
            for method in METHODS:
                if method in methods and method != "dense":
                    yield {**shared, "method": method, "rate": rate, "seed": seed}


def _shared(name: str) -> dict[str, Any]:
    """The part of a run's key that all runs of a setting have in common."""
    setting = dataclasses.asdict(SETTINGS[name])
    return {"dataset": name, **{field: value for field, value in setting.items() if field not in ("title", "rates")}}


def run(key: dict[str, Any], data: ImageData) -> dict[str, Any]:
    """Trains one run and returns what the journal keeps of it."""
    recipe = Recipe(
        epochs=key["epochs"],
        batch_size=key["batch_size"],
        augment=key["augment"],
        validation_freq=key["epochs"],
        seed=key["seed"],
    )

    def build() -> Any:
        return NETWORKS[key["network"]](data.input_shape, data.num_classes, weight_decay=recipe.weight_decay)

    trained = train(key["method"], build, data, recipe, key["rate"])
    report = sparsity_report(trained.model)
    result = {
        "validation_accuracy": trained.validation_accuracy,
        "test_accuracy": accuracy(trained.model, data.to_float(data.test_x), data.test_y),
        "pool": report.prunable_weights,
        "pool_kept": report.nonzero_prunable_weights,
        "parameters": report.parameters,
        "parameters_kept": report.nonzero_parameters,
        "seconds": trained.seconds,
    }
    if trained.final_step is not None and trained.final_step.before and trained.final_step.after:
        result["before_cut"] = trained.final_step.before["accuracy"]
        result["after_cut"] = trained.final_step.after["accuracy"]
        result["largest_removed"] = trained.final_step.largest_removed
    return result


def means(name: str, records: list[dict[str, Any]] | None = None) -> dict[tuple[str, float], list[dict[str, Any]]]:
    """Returns the results of each (method, rate), over the seeds that all methods of that rate have."""
    found: dict[tuple[str, float], dict[int, dict[str, Any]]] = {}
    shared = _shared(name)
    for record in records_of(name) if records is None else records:
        key = record["key"]
        # Lines from another setting, or a run that two parts both made, do not enter a mean.
        if {**key, **shared} == key:
            found.setdefault((key["method"], key["rate"]), {})[key["seed"]] = record["result"]
    seeds = {
        rate: set.intersection(*(set(by_seed) for (_, each), by_seed in found.items() if each == rate))
        for _, rate in found
    }
    # A second seed for some of the methods would compare unlike means.
    return {
        (method, rate): [result for seed, result in by_seed.items() if seed in seeds[rate]]
        for (method, rate), by_seed in found.items()
    }


def score(results: list[dict[str, Any]]) -> float:
    """Mean test accuracy; a run that diverged counts as zero."""
    return statistics.mean(result["test_accuracy"] or 0.0 for result in results)


def table_of(name: str, records: list[dict[str, Any]] | None = None, words: str = "") -> ResultTable:
    """Returns a row for each rate that has a result; of the journals' records by default."""
    setting, found = SETTINGS[name], means(name, records)
    rows = []
    for rate in sorted({rate for method, rate in found if method != "dense"}):
        cells = []
        for method in LABELS:
            results = found.get(("dense", 0.0) if method == "dense" else (method, rate), [])
            seeds = f" ({len(results)})" if len(results) > 1 else ""
            cells.append(f"{100 * score(results):.2f}{seeds}" if results else "")
        jumps = [abs(r["after_cut"] - r["before_cut"]) for r in found.get(("swd", rate), [])]
        rows.append((f"{rate:.1%}", *cells, f"{100 * max(jumps):.2f}" if jumps else ""))
    updates = setting.train_limit // setting.batch_size
    title = (
        f"{setting.title}{words}: test accuracy in %, {setting.train_limit:,} images, "
        f"{setting.epochs} epochs of {updates} updates"
    )
    return ResultTable(title, ("rate removed", *LABELS.values(), "SWD jump at the cut"), tuple(rows))


def panel_of(name: str) -> Panel:
    """Returns accuracy against the share of weights kept."""
    found = means(name)
    lines = {}
    for method, label in LABELS.items():
        points = [(100 * (1 - rate), 100 * score(results)) for (m, rate), results in found.items() if m == method]
        if points:
            lines[label] = sorted(points)
    dense = lines.pop(LABELS["dense"], None)
    level = (LABELS["dense"], dense[0][1]) if dense else None
    xlabel = "weights kept (% of the prunable ones)"
    return Panel(SETTINGS[name].title, xlabel, lines, level, bold=(LABELS["swd"],), falling=True)


def main(_: list[str]) -> None:
    console = Console(width=150)
    if REPORT.value:
        names = [name for name in SETTINGS if records_of(name)]
        tables = [table_of(name) for name in names]
        tables += [table_of("fashion_mnist", Journal(EARLIER).records(), ", Glorot start, an earlier default")]
        console.print(*tables)
        written = write_markdown(RESULTS / "accuracy_at_rate.md", tables)
        drawn = draw_panels(RESULTS / "accuracy_at_rate.png", [panel_of(name) for name in names])
        console.print(f"Written: {written.name}, {drawn.name}")
        return
    tf.config.threading.set_intra_op_parallelism_threads(THREADS.value)
    tf.config.threading.set_inter_op_parallelism_threads(THREADS.value)
    journal = journal_of(DATASET.value, PART.value)
    finished = [record["key"] for record in records_of(DATASET.value)]
    wanted = jobs(DATASET.value, METHODS_FLAG.value, SEEDS.value, RATES.value)
    todo = [key for key in wanted if key not in finished]
    data = load(DATASET.value, SETTINGS[DATASET.value].train_limit)
    for number, key in enumerate(todo, start=1):
        result = run(key, data)
        journal.append(key, result)
        console.print(
            f"[{number}/{len(todo)}] {LABELS[key['method']]} {key['rate']:.1%} seed {key['seed']}: "
            f"test {result['test_accuracy']:.4f}, {result['seconds']:.0f} s"
        )
    console.print(table_of(DATASET.value))


if __name__ == "__main__":
    app.run(main)
