"""Removing filters during training: accuracy, size and MACs by method and rate, at equal total epochs.

    python -m benchmarks.progressive --case=resnet20      # then --case=vgg8; side by side on two cores
    python -m benchmarks.progressive --progressive_report

Resumable: each finished run is one line of `benchmarks/results/progressive_<case>.jsonl`, the most telling rates
first. Choices are made on the validation split; the test split is scored once, at the end of each run. Wall time is
measured by progressive_time.py.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import tensorflow as tf
from absl import app, flags
from rich.console import Console
from rich.table import Table

from benchmarks.cifar10_jpeg import TITLE, load_cifar10_jpeg
from benchmarks.journal import Journal
from examples.datasets import ImageData, load_images
from examples.networks import NETWORKS
from examples.training import Recipe, accuracy, train
from tfmot_swd import profile

RESULTS = Path(__file__).parent / "results"
LABELS = {
    "dense": "dense",
    "rpgp": "RPGP",
    "pgp": "PGP",
    "weight_change": "weight change",
    "psfp": "PSFP",
    "psfp_whole": "PSFP, in all epochs",
    "psfp_clipped": "PSFP, gradients clipped",
    "sfp": "SFP",
    "l1_once": "L1 once + fine-tune",
    "small_dense": "dense, same widths",
    "rpgp_hard": "RPGP, all hard",
    "rpgp_kernel": "RPGP, kernel reset",
    "rpgp_mean": "RPGP, mean of group",
    "rpgp_geometric": "RPGP, ends at P",
    "l2_progressive": "L2 instead of gradients",
}
# At the other rates only what tells most.
EVERYWHERE = ("rpgp", "rpgp_geometric", "psfp", "psfp_clipped", "l1_once", "small_dense")


@dataclasses.dataclass(frozen=True)
class Case:
    """One network on one dataset. Rates stand in the order in which they are worth running."""

    title: str
    dataset: str
    network: str
    train_limit: int
    epochs: int
    batch_size: int
    augment: bool
    full_rates: tuple[float, ...]
    other_rates: tuple[float, ...]


CASES = {
    "resnet20": Case(f"{TITLE}, ResNet-20/16", "cifar10_jpeg", "resnet20", 5_000, 9, 64, True, (0.5,), (0.9, 0.7, 0.3)),
    "vgg8": Case("Fashion-MNIST, VGG-like", "fashion_mnist", "vgg8", 5_000, 9, 64, False, (0.5, 0.9), (0.7, 0.3)),
}

CASE = flags.DEFINE_enum("case", "resnet20", list(CASES), "which network on which data")
SEEDS = flags.DEFINE_integer("progressive_seeds", 1, "how many seeds")
RATES = flags.DEFINE_list("progressive_rates", None, "only these rates; 0 is the dense net")
REPORT = flags.DEFINE_bool("progressive_report", False, "only print the tables and draw the plot of what is there")


def load(case: Case) -> ImageData:
    """Returns the data of a case, cut to its number of training images."""
    if case.dataset == "cifar10_jpeg":
        return load_cifar10_jpeg(train_limit=case.train_limit)
    return load_images(case.dataset, train_limit=case.train_limit)


def journal_of(name: str) -> Journal:
    return Journal(RESULTS / f"progressive_{name}.jsonl")


def shared_key(name: str) -> dict[str, Any]:
    """The part of a run's key that all runs of a case have in common."""
    left_out = ("title", "full_rates", "other_rates")
    fields = dataclasses.asdict(CASES[name])
    return {"case": name, **{field: value for field, value in fields.items() if field not in left_out}}


def keys(name: str) -> Iterator[dict[str, Any]]:
    """Yields the keys of all runs, the most telling first."""
    case, shared = CASES[name], shared_key(name)
    for seed in range(SEEDS.value):
        yield {**shared, "method": "dense", "rate": 0.0, "seed": seed}
        for rate in case.full_rates + case.other_rates:
            for method in LABELS:
                if method != "dense" and (rate in case.full_rates or method in EVERYWHERE):
                    yield {**shared, "method": method, "rate": rate, "seed": seed}


def run(key: dict[str, Any], data: ImageData) -> dict[str, Any]:
    """Trains one run and returns what the journal keeps of it."""
    epochs = key["epochs"]
    recipe = Recipe(epochs, key["batch_size"], augment=key["augment"], validation_freq=epochs, seed=key["seed"])

    def build() -> Any:
        return NETWORKS[key["network"]](data.input_shape, data.num_classes, weight_decay=recipe.weight_decay)

    trained = train(key["method"], build, data, recipe, key["rate"])
    found = profile(trained.model)
    return {
        "validation_accuracy": trained.validation_accuracy,
        "test_accuracy": accuracy(trained.model, data.to_float(data.test_x), data.test_y),
        "parameters": found.parameters,
        "macs": found.macs,
        "activation_bytes": found.activation_bytes,
        "peak_activation_bytes": found.peak_activation_bytes,
        "filters_by_epoch": [status.channels for status in trained.filters],
        "parameters_by_epoch": [status.parameters for status in trained.filters],
        "seconds": trained.seconds,
    }


def results(name: str) -> dict[tuple[str, float], list[dict[str, Any]]]:
    """Returns the results of each (method, rate), over the seeds."""
    found: dict[tuple[str, float], list[dict[str, Any]]] = {}
    shared = shared_key(name)
    for record in journal_of(name).records():
        key = record["key"]
        if {**key, **shared} == key:
            found.setdefault((key["method"], key["rate"]), []).append(record["result"])
    return found


def mean(found: list[dict[str, Any]], field: str) -> float:
    return sum(float(result[field] or 0.0) for result in found) / len(found)


def rows(name: str) -> list[list[str]]:
    """Returns the table as text: a heading, then a row for each method and rate that has a result."""
    found = results(name)
    dense = found.get(("dense", 0.0))
    table = [["filters removed", "method", "validation %", "test %", "parameters", "MACs", "share of MACs"]]
    for (method, rate), runs in sorted(found.items(), key=lambda item: (item[0][1], list(LABELS).index(item[0][0]))):
        macs = mean(runs, "macs")
        seeds = f" ({len(runs)})" if len(runs) > 1 else ""
        table.append(
            [
                f"{rate:.0%}",
                LABELS[method] + seeds,
                f"{100 * mean(runs, 'validation_accuracy'):.2f}",
                f"{100 * mean(runs, 'test_accuracy'):.2f}",
                f"{mean(runs, 'parameters'):,.0f}",
                f"{macs / 1e6:.2f} M",
                f"{macs / mean(dense, 'macs'):.1%}" if dense else "",
            ]
        )
    return table


def title_of(name: str) -> str:
    case = CASES[name]
    return f"{case.title}: {case.train_limit:,} images, {case.epochs} epochs of {case.train_limit // case.batch_size}"


def print_table(name: str, console: Console) -> None:
    heading, *body = rows(name)
    table = Table(title=title_of(name))
    for column in heading:
        table.add_column(column, justify="left" if column == "method" else "right")
    for row in body:
        table.add_row(*row)
    console.print(table)


def write_markdown(names: list[str]) -> Path:
    """Writes the tables as Markdown."""
    lines = []
    for name in names:
        heading, *body = rows(name)
        lines += [f"**{title_of(name)}**", "", "| " + " | ".join(heading) + " |", "|---" * len(heading) + "|"]
        lines += ["| " + " | ".join(row) + " |" for row in body] + [""]
    path = RESULTS / "progressive.md"
    path.write_text("\n".join(lines))
    return path


def draw(names: list[str]) -> Path:
    """Draws test accuracy against MACs, one panel a case."""
    figure, panels = plt.subplots(1, len(names), figsize=(6.5 * len(names), 4.6), squeeze=False)
    for panel, name in zip(panels[0], names, strict=True):
        found = results(name)
        for method, label in LABELS.items():
            points = sorted(
                (mean(runs, "macs"), mean(runs, "test_accuracy")) for (m, _), runs in found.items() if m == method
            )
            if method == "dense" and points:
                panel.axhline(100 * points[0][1], color="black", linestyle=":", label="dense")
            elif points:
                style = {"linewidth": 2.5, "marker": "o"} if method == "rpgp" else {"linewidth": 1.2, "marker": "."}
                panel.plot([x / 1e6 for x, _ in points], [100 * y for _, y in points], label=label, **style)
        panel.set_xscale("log")
        panel.set_xlabel("million MACs")
        panel.set_ylabel("test accuracy (%)")
        panel.set_title(CASES[name].title)
        panel.grid(alpha=0.3)
    panels[0][0].legend(fontsize=7)
    figure.tight_layout()
    path = RESULTS / "progressive.png"
    figure.savefig(path, dpi=110)
    plt.close(figure)
    return path


def main(_: list[str]) -> None:
    console = Console(width=130)
    if not REPORT.value:
        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(1)
        journal = journal_of(CASE.value)
        data = load(CASES[CASE.value])
        wanted = None if RATES.value is None else {float(rate) for rate in RATES.value}
        for key in keys(CASE.value):
            if journal.done(key) or (wanted is not None and key["rate"] not in wanted):
                continue
            result = run(key, data)
            journal.append(key, result)
            console.print(
                f"{LABELS[key['method']]} {key['rate']:.0%} seed {key['seed']}: test {result['test_accuracy']:.4f}, "
                f"{result['macs'] / 1e6:.2f} M MACs, {result['seconds']:.0f} s"
            )
        print_table(CASE.value, console)
        return
    names = [name for name in CASES if results(name)]
    for name in names:
        print_table(name, console)
    console.print(f"Written: {write_markdown(names).name}, {draw(names).name}")


if __name__ == "__main__":
    app.run(main)
