"""The picture of a run: accuracy, and what the methods did, over the updates."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt

from examples.training import TrainedRun
from tfmot_swd.swd.monitor import PruningStatus
from tfmot_swd.swd.structured.monitor import StructuredStatus


def draw_run(runs: Sequence[TrainedRun], steps_per_epoch: int, path: Path, title: str) -> None:
    """Draws all runs' validation accuracy, and below it what the methods of this package did, to a PNG."""
    selective = [run for run in runs if run.statuses]
    progressive = [run for run in runs if run.filters]
    structured = [run for run in runs if run.channels]
    rows = 1 + 3 * bool(selective) + 2 * bool(structured) + bool(progressive)
    figure, panels = plt.subplots(rows, 1, figsize=(8, 2.6 * rows + 0.4), sharex=True, squeeze=False)
    top = panels[0][0]
    for run in runs:
        accuracies = run.history["val_accuracy"]
        epochs = [steps_per_epoch * (epoch + 1) for epoch in range(len(accuracies))]
        label = "dense" if run.method == "dense" else f"{run.method}, {run.rate:.1%} removed"
        top.plot(epochs, [100 * value for value in accuracies], marker="o", markersize=3, label=label)
    top.set_ylabel("validation\naccuracy (%)")
    top.set_title(title)
    top.legend(fontsize=8)
    for run in selective:
        steps = [status.step for status in run.statuses]
        share, threshold, strength = (panels[row][0] for row in (1, 2, 3))
        share.plot(steps, [100 * status.targeted_share for status in run.statuses], label=run.method)
        share.set_ylabel("weights\ntargeted (%)")
        threshold.plot(steps, [status.threshold for status in run.statuses], label=run.method)
        threshold.set_ylabel("global\nthreshold |w|")
        _draw_strength(strength, run.method, run.statuses)
    for run in structured:
        steps = [status.step for status in run.channels]
        costs, strength = (panels[row + 1 + 3 * bool(selective)][0] for row in (0, 1))
        for cost in run.channels[0].costs:
            line = costs.plot(steps, [status.costs[cost] for status in run.channels], label=f"{run.method}, {cost}")[0]
            limits = [status.limits[cost] for status in run.channels]
            costs.plot(steps, limits, ":", color=line.get_color(), label="what the budget allows then")
        costs.set_yscale("log")
        costs.set_ylabel("left without\nwhat is targeted")
        costs.legend(fontsize=8)
        _draw_strength(strength, run.method, run.channels)
    for run in progressive:
        steps = [steps_per_epoch * epoch for epoch in range(len(run.history["channels"]) + 1)]
        first = run.filters[0]
        filters = [first.channels + first.removed, *run.history["channels"]]
        left = panels[-1][0].step(steps, filters, where="post", label=f"{run.method}, filters left")[0]
        silent = [0, *run.history["soft_channels"]]
        panels[-1][0].step(steps, silent, ":", where="post", color=left.get_color(), label=f"{run.method}, soft-pruned")
        panels[-1][0].set_ylabel("filters")
        panels[-1][0].legend(fontsize=8)
    panels[-1][0].set_xlabel("updates")
    for row in panels:
        row[0].grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _draw_strength(panel: Any, method: str, statuses: Sequence[PruningStatus | StructuredStatus]) -> None:
    is_implicit = statuses[0].a is None
    values = [status.shrink if is_implicit else status.a for status in statuses]
    label = f"{method}, {'X(t)' if is_implicit else 'a(t)'}"
    panel.plot([status.step for status in statuses], values, label=label)
    panel.set_yscale("log")
    panel.set_ylabel("strength")
    panel.legend(fontsize=8)
