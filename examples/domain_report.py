"""What an adaptation has come to, as a table for the terminal and as a picture."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from rich.table import Table

from examples.command_line import table
from examples.domain_data import Domain
from examples.domain_methods import Outcome


def spread(values: Sequence[float], unit: float = 1.0, digits: int = 2) -> str:
    """Returns mean ± standard deviation in units; the mean alone of a single value."""
    mean = f"{statistics.fmean(values) / unit:.{digits}f}"
    return mean if len(values) < 2 else f"{mean} ± {statistics.stdev(values) / unit:.{digits}f}"


def tables_of(outcomes: Sequence[Outcome], title: str) -> tuple[Table, Table]:
    """Returns what came of each method, over its seeds: the trained models, and their files."""
    models = table(title, "method", "target %", "source %", "parameters", "M MACs", "s", "CPU s")
    files = table("int8 TFLite files, on the same target images", "method", "bytes", "target %", "as Keras %")
    for method, found in by_method(outcomes).items():
        models.add_row(
            method,
            spread([each.target_accuracy for each in found], 0.01),
            f"{100 * statistics.fmean(each.source_accuracy for each in found):.2f}",
            f"{statistics.fmean(each.parameters for each in found):,.0f}",
            f"{statistics.fmean(each.macs for each in found) / 1e6:.2f}",
            f"{statistics.fmean(each.adapted.seconds for each in found):.0f}",
            f"{statistics.fmean(each.adapted.processor_seconds for each in found):.0f}",
        )
        exports = [each.export for each in found if each.export is not None]
        if exports:
            files.add_row(
                method,
                f"{statistics.fmean(each.bytes for each in exports):,.0f}",
                spread([float(each.accuracy or 0.0) for each in exports], 0.01),
                spread([float(each.agreement or 0.0) for each in exports], 0.01),
            )
    return models, files


def by_method(outcomes: Sequence[Outcome]) -> dict[str, list[Outcome]]:
    """Returns the outcomes of each method, in the order in which methods came first."""
    found: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        found.setdefault(outcome.method, []).append(outcome)
    return found


def draw(outcomes: Sequence[Outcome], source: Domain, target: Domain, title: str, path: Path) -> None:
    """Draws digits of both domains, the accuracies, the alignment loss, and the filters left, to a PNG."""
    figure, ((digits, scores), (distance, left)) = plt.subplots(2, 2, figsize=(10, 6.4))
    # Four rows of ten of each domain.
    rows = [
        np.concatenate(each.test_x[10 * row :][:10, :, :, 0], axis=1) for each in (source, target) for row in range(4)
    ]
    digits.imshow(np.concatenate(rows), cmap="gray_r")
    digits.set_title(f"{source.title} above, {target.title} below")
    digits.axis("off")
    found = by_method(outcomes)
    for place, (method, runs) in enumerate(found.items()):
        color = f"C{place}"
        values = [100 * each.target_accuracy for each in runs]
        scores.bar(place, statistics.fmean(values), color=color, alpha=0.5)
        scores.plot([place] * len(values), values, "o", color=color, markersize=4)
        history, first = runs[0].adapted.history, runs[0].adapted.filters
        epochs = range(1, len(history["loss"]) + 1)
        if method != "source_only":
            distance.plot(epochs, history["alignment_loss"], color=color, label=method)
        if first:
            filters = [first[0].channels + first[0].removed, *history["channels"]]
            left.step([0, *epochs], filters, where="post", color=color, label=f"{method}, left")
            left.step([0, *epochs], [0, *history["soft_channels"]], ":", where="post", color=color, label="soft-pruned")
    scores.set_xticks(range(len(found)), list(found), rotation=20)
    scores.set_title("accuracy on held-out target images (%)")
    distance.set(title="alignment loss", xlabel="epoch", yscale="log")
    left.set(title="filters", xlabel="epoch")
    for panel in (distance, left):
        if panel.lines:
            panel.legend(fontsize=8)
        panel.grid(alpha=0.3)
    figure.suptitle(title)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)
