"""Is a smaller model exact, and how much can leave: all networks of tf_keras.applications.

    python -m research.applications_coverage             # all 71, about an hour on one core
    python -m research.applications_coverage --report    # table and plot of what is there

Each network gets random weights and random statistics; half of the channels of each group, taken at random, leave. The
smaller network must then compute what the whole one computes with the weights that read those channels set to zero.
Every network runs in a process of its own, so that its memory is free again. Resumable: one line a network in
`research/results/applications_coverage.jsonl`. Seconds are CPU seconds on one thread, so that a busy machine counts
less. The comparison is one of float32; a deep random network may multiply rounding beyond the tolerance, so the few
that miss it are compared again in float64, where rounding is a billion times smaller and an error would stay.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import tensorflow as tf
import tf_keras as keras
from absl import app, flags
from rich.console import Console

from research import by_network, coverage
from research.coverage import SEED, TOLERANCE_FLOAT64, difference_text, measure_exactly, stays_text, verdict_of
from research.exactness import SHARE, TOLERANCE
from research.journal import Journal
from research.tables import ResultTable, save_figure, write_markdown

RESULTS = Path(__file__).parent / "results"


def network_names() -> list[str]:
    """Returns the names of all networks of tf_keras.applications."""
    return by_network.names_in(keras.applications)


def build(name: str, size: int = 0, classes: int = 1000) -> keras.Model:
    """Returns an untrained network that ends in logits, as a softmax would hide differences."""
    if name.startswith("MobileNetV3"):
        size = size or 224  # Without one, Keras leaves the size of this one open.
    options = {"input_shape": (size, size, 3)} if size else {}
    return getattr(keras.applications, name)(weights=None, classes=classes, classifier_activation=None, **options)


def measure(name: str, size: int = 0, classes: int = 1000, *, zeros: bool = True) -> dict[str, Any]:
    """Returns all that the journal keeps of one network; without `zeros`, not its last steps."""
    return coverage.measure(lambda: build(name, size, classes), pixels=True, zeros=zeros)


HEADING = (
    *("network", "input", "exact", "difference", "layers", "groups", "can leave", "of channels"),
    *("of parameters", "dead removal", "strip", "parameters, M", "MACs, G", "plan, s", "removal, s", "what stays"),
)
NOTE = (
    "Random weights and statistics. The smaller network beside the whole one in which every weight that reads a "
    "channel that left is zero; difference as a share of the output's scale, in float32 unless it says float64. "
    "Shares are those that belong to groups that can leave. Seconds of one CPU core."
)


def table_of(journal: Journal) -> ResultTable:
    """Returns a row for each network by name."""
    rows = []
    for record in sorted(journal.records(), key=lambda each: each["key"]["network"]):
        result = record["result"]
        macs = " → ".join(f"{count / 1e9:.3g}" for count in result["macs"])
        rows.append(
            (
                record["key"]["network"],
                str(result["input"][0]),
                "yes" if result["exact"] else "NO",
                difference_text(result),
                str(result["layers"]),
                str(result["groups"]),
                f"{result['channels']:,}",
                f"{result['share_of_channels']:.1%}",
                f"{result['share_of_parameters']:.1%}",
                verdict_of(result.get("dead")),
                verdict_of(result.get("strip")),
                " → ".join(f"{count / 1e6:.3g}" for count in result["parameters"]),
                macs + ("*" if result["macs_unknown"] else ""),
                f"{result['seconds']['plan']:.2f}",
                f"{result['seconds']['removal']:.2f}",
                stays_text(result) or "the outputs",
            )
        )
    return ResultTable(summary(journal), HEADING, tuple(rows), left=("network", "what stays"), notes=(NOTE,))


def summary(journal: Journal) -> str:
    results = [record["result"] for record in journal.records()]
    exact = sum(result["exact"] for result in results)
    single = sum(result["exact"] and "difference_float64" not in result for result in results)
    return (
        f"{exact} of {len(results)} networks of tf_keras.applications exact with half of the channels of each group "
        f"removed ({single} to {TOLERANCE:.0e} in float32, {exact - single} to {TOLERANCE_FLOAT64:.0e} in float64)"
    )


def draw(journal: Journal) -> Path:
    """Draws the seconds of planning and of removal, and of building the network, against the number of layers."""
    figure, panels = plt.subplots(1, 2, figsize=(11, 4.2))
    results = [record["result"] for record in journal.records()]
    layers = np.array([result["layers"] for result in results])
    for panel, kinds in zip(panels, (("plan",), ("removal", "build")), strict=True):
        for kind, color in zip(kinds, ("tab:blue", "tab:grey"), strict=False):
            seconds = np.array([result["seconds"][kind] for result in results])
            slope = float(layers @ seconds / (layers @ layers))
            panel.scatter(layers, seconds, s=14, color=color, label=f"{kind}: {1000 * slope:.2g} ms a layer")
            panel.plot([0, layers.max()], [0, slope * layers.max()], color=color, linewidth=0.8)
        panel.set_xlabel("layers")
        panel.set_ylabel("CPU seconds")
        panel.grid(alpha=0.3)
        panel.legend()
    return save_figure(figure, RESULTS / "applications_coverage.png")


def main(_: list[str]) -> None:
    if flags.FLAGS.child:
        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(1)
        Path(flags.FLAGS.child).write_text(
            json.dumps(measure_exactly(lambda: measure(flags.FLAGS.models[0], flags.FLAGS.size)))
        )
        return
    journal = Journal(RESULTS / "applications_coverage.jsonl")
    console = Console(width=200)
    names = [] if flags.FLAGS.report else flags.FLAGS.models or network_names()
    failed = by_network.measure_all(
        journal,
        names,
        lambda name: {"network": name, "size": flags.FLAGS.size, "share": SHARE, "seed": SEED},
        lambda name: by_network.measure_apart("research.applications_coverage", name, flags.FLAGS.size),
        "difference",
        console,
    )
    table = table_of(journal)
    console.print(table)
    if journal.records():
        unknown = any(record["result"]["macs_unknown"] for record in journal.records())
        remark = "\\* without the layers of classes whose MACs are not known" if unknown else ""
        written = write_markdown(RESULTS / "applications_coverage.md", [table], remark)
        console.print(f"Written: {written.name}, {draw(journal).name}")
    if failed:
        raise SystemExit(f"Failed: {', '.join(failed)}")


if __name__ == "__main__":
    by_network.define_flags()
    app.run(main)
