"""Removing filters during training: accuracy, size and MACs by method and rate, at equal total epochs.

    python -m research.progressive --case=resnet20      # then --case=vgg8; side by side on two cores
    python -m research.progressive --progressive_report

Resumable: each finished run is one line of `research/results/progressive_<case>.jsonl`, the most telling rates
first. Choices are made on the validation split; the test split is scored once, at the end of each run. Wall time is
measured by progressive_time.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from absl import app, flags
from rich.console import Console

from examples.datasets import ImageData
from examples.training import accuracy
from research.cases import Case, mean, panel_of, run_missing, use_one_thread
from research.cifar10_jpeg import TITLE
from research.journal import Journal
from research.tables import ResultTable, draw_panels, write_markdown
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
METHODS = tuple(method for method in LABELS if method != "dense")
# Settings of RPGP that a default could have.
CANDIDATES = ("rpgp", "rpgp_hard", "rpgp_kernel", "rpgp_mean", "rpgp_geometric")
# At the other rates without the candidates.
EVERYWHERE = (
    "rpgp",
    "rpgp_geometric",
    "pgp",
    "weight_change",
    "psfp",
    "psfp_clipped",
    "sfp",
    "l1_once",
    "small_dense",
)


CASES = {
    case.name: case
    for case in (
        Case("resnet20", f"{TITLE}, ResNet-20/16", "cifar10_jpeg", "resnet20", 5_000, 9, 64, True),
        Case("vgg8", "Fashion-MNIST, VGG-like", "fashion_mnist", "vgg8", 5_000, 9, 64, False),
        # Of another length, to choose a default by.
        Case("resnet20_long", f"{TITLE}, ResNet-20/16", "cifar10_jpeg", "resnet20", 5_000, 18, 64, True),
        Case("vgg8_long", "Fashion-MNIST, VGG-like", "fashion_mnist", "vgg8", 5_000, 18, 64, False),
    )
}
# In the order in which they are worth running: (rate, methods).
RUNS = {
    "resnet20": ((0.5, METHODS), (0.9, EVERYWHERE), (0.7, EVERYWHERE), (0.3, EVERYWHERE)),
    "vgg8": ((0.5, METHODS), (0.9, METHODS), (0.7, EVERYWHERE), (0.3, EVERYWHERE)),
    "resnet20_long": ((0.5, CANDIDATES),),
    "vgg8_long": ((0.9, CANDIDATES),),
}

CASE = flags.DEFINE_enum("case", "resnet20", list(CASES), "which network on which data")
SEEDS = flags.DEFINE_integer("progressive_seeds", 1, "how many seeds")
RATES = flags.DEFINE_list("progressive_rates", None, "only these rates; 0 is the dense net")
METHODS_FLAG = flags.DEFINE_list("progressive_methods", list(LABELS), "which methods")
REPORT = flags.DEFINE_bool("progressive_report", False, "only print the tables and draw the plot of what is there")


def journal_of(name: str) -> Journal:
    return Journal(RESULTS / f"progressive_{name}.jsonl")


def keys(name: str) -> Iterator[dict[str, Any]]:
    """Yields the keys of all runs, the most telling first."""
    for seed in range(SEEDS.value):
        yield CASES[name].key("dense", 0.0, seed)
        for rate, methods in RUNS[name]:
            for method in methods:
                yield CASES[name].key(method, rate, seed)


def run(key: dict[str, Any], data: ImageData) -> dict[str, Any]:
    """Trains one run and returns what the journal keeps of it."""
    trained = CASES[key["case"]].train(key, data)
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


HEADING = (
    *("filters removed", "method", "validation %", "test %", "parameters", "MACs", "share of MACs"),
    "share of activations",
)


def table_of(name: str) -> ResultTable:
    """Returns a row for each method and rate that has a result."""
    found = CASES[name].results(journal_of(name))
    dense = found.get(("dense", 0.0))
    rows = []
    for (method, rate), runs in sorted(found.items(), key=lambda item: (item[0][1], list(LABELS).index(item[0][0]))):
        macs = mean(runs, "macs")
        seeds = f" ({len(runs)})" if len(runs) > 1 else ""
        rows.append(
            (
                f"{rate:.0%}",
                LABELS[method] + seeds,
                f"{100 * mean(runs, 'validation_accuracy'):.2f}",
                f"{100 * mean(runs, 'test_accuracy'):.2f}",
                f"{mean(runs, 'parameters'):,.0f}",
                f"{macs / 1e6:.2f} M",
                *(
                    f"{mean(runs, field) / mean(dense, field):.1%}" if dense else ""
                    for field in ("macs", "activation_bytes")
                ),
            )
        )
    return ResultTable(CASES[name].heading, HEADING, tuple(rows), left=("method",))


def main(_: list[str]) -> None:
    console = Console(width=130)
    if not REPORT.value:
        use_one_thread()
        case = CASES[CASE.value]
        data = case.load()
        wanted = None if RATES.value is None else {float(rate) for rate in RATES.value}
        asked = [
            key
            for key in keys(CASE.value)
            if key["method"] in METHODS_FLAG.value and (wanted is None or key["rate"] in wanted)
        ]
        run_missing(journal_of(CASE.value), asked, lambda key: run(key, data), console)
        console.print(table_of(CASE.value))
        return
    names = [name for name in CASES if journal_of(name).records()]
    tables = [table_of(name) for name in names]
    console.print(*tables)
    written = write_markdown(RESULTS / "progressive.md", tables)
    panels = [
        panel_of(
            CASES[name].title, CASES[name].results(journal_of(name)), LABELS, "macs", (1e6, "million MACs"), "rpgp"
        )
        for name in names
        if not name.endswith("_long")
    ]
    drawn = draw_panels(RESULTS / "progressive.png", panels)
    console.print(f"Written: {written.name}, {drawn.name}")


if __name__ == "__main__":
    app.run(main)
