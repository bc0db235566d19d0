"""What removed channels are worth on a device: latency of the smaller TFLite files against their MACs.

    python -m research.channel_latency               # on an otherwise idle machine, about half an hour
    python -m research.channel_latency --rounds=5    # a look
    python -m research.channel_latency --report      # table and plot of what is there

A plain, a residual and two depthwise networks lose channels, evenly but for a tenth either way, as a criterion would
leave odd counts; the same again with counts rounded up to multiples of 8. All files of a network run in turn, so that
a slow moment of the machine falls on all; the figure is the median of the ratios to the whole network round by round.
Weights are random, which a dense kernel does not notice. Resumable: one line a network, recipe and number of threads in
`research/results/channel_latency.jsonl`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import tf_keras as keras
from absl import app, flags
from rich.console import Console

from examples.networks import NETWORKS
from research.exactness import random_images, randomize
from research.journal import Journal
from research.tables import ResultTable, save_figure, write_markdown
from tfmot_swd.channels.groups import ChannelGroups, channel_groups
from tfmot_swd.channels.removal import RemovalPlan, plan_removal
from tfmot_swd.costs.profile import profile
from tfmot_swd.pruning.statistics import reestimate_batch_norm
from tfmot_swd.tflite import export_tflite
from tfmot_swd.tflite.latency import tflite_runner, time_in_turn

RESULTS = Path(__file__).parent / "results"
SHARES = (0.25, 0.5, 0.75)
ROUND_TO = (1, 8)
JITTER = 0.1
SEED = 0


def vgg_like(input_shape: tuple[int, int, int], num_classes: int) -> keras.Model:
    """Eight normalized 3x3 convolutions of 64 to 512 channels, pooled in pairs, without a branch."""
    inputs = x = keras.Input(input_shape)
    for width in (64, 128, 256, 512):
        for _ in range(2):
            x = keras.layers.Conv2D(width, 3, padding="same", use_bias=False)(x)
            x = keras.layers.BatchNormalization()(x)
            x = keras.layers.ReLU()(x)
        x = keras.layers.MaxPooling2D()(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, keras.layers.Dense(num_classes)(x), name="vgg_like")


CASES: dict[str, Callable[[], keras.Model]] = {
    "VGG-like at 32": lambda: vgg_like((32, 32, 3), 10),
    "ResNet-20/64 at 32": lambda: NETWORKS["resnet20"]((32, 32, 3), 10, width=64),
    "MobileNetV1 1.0 at 128": lambda: NETWORKS["mobilenet_v1"]((128, 128, 3), 100, alpha=1.0),
    "MobileNetV1 0.25 at 96": lambda: NETWORKS["mobilenet_v1"]((96, 96, 3), 2, alpha=0.25),
}
RECIPES = ("float32", "int8")
THREADS = (1, 2)


def uneven_plan(groups: ChannelGroups, share: float, round_to: int) -> RemovalPlan:
    """Returns the plan that keeps about `share` of each group, the same whatever `round_to` adds to it."""
    rng = np.random.default_rng(SEED)
    keep = {}
    for name, group in groups.items():
        count = round(group.size * (share + rng.uniform(-JITTER, JITTER)))
        keep[name] = rng.permutation(group.size) < min(max(count, 1), group.size)
    return plan_removal(groups.model, keep, round_to=round_to, groups=groups)


def variants(model: keras.Model) -> list[tuple[dict[str, Any], keras.Model]]:
    """Returns the whole model first, then what is left of it at each share and rounding."""
    groups = channel_groups(model)
    found = [({"share": 1.0, "round_to": 1}, model)]
    for share in SHARES:
        for round_to in ROUND_TO:
            smaller = uneven_plan(groups, share, round_to).apply()
            found.append(({"share": share, "round_to": round_to}, smaller))
    return found


def files(model: keras.Model) -> dict[str, list[tuple[dict[str, Any], bytes]]]:
    """Returns by recipe what each variant is, with its cost, and the content of its file."""
    rng = np.random.default_rng(SEED)
    randomize(model, rng)
    x = random_images(model.input_shape[1:], rng, count=16) / 128 - 1
    reestimate_batch_norm(model, [x])
    found: dict[str, list[tuple[dict[str, Any], bytes]]] = {recipe: [] for recipe in RECIPES}
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "model.tflite"
        for facts, smaller in variants(model):
            # Statistics of its own, so that no activation dies or saturates.
            reestimate_batch_norm(smaller, [x])
            costs = profile(smaller)
            for recipe in RECIPES:
                # A random network multiplies the rounding to 8 bits as no trained one does.
                tolerance = 1.0 if recipe == "int8" else None
                result = export_tflite(
                    smaller, path, recipe, representative_data=x, tolerance=tolerance, min_agreement=0.0
                )
                facts = {**facts, "macs": costs.macs, "parameters": costs.parameters, "bytes": result.bytes}
                found[recipe].append((facts, path.read_bytes()))
    return found


def measure(contents: list[tuple[dict[str, Any], bytes]], threads: int, rounds: int) -> list[dict[str, Any]]:
    """Returns for each variant its cost, and its latency in seconds and relative to the first."""
    times = time_in_turn([tflite_runner(content, threads) for _, content in contents], rounds)
    ratios = times / times[:, :1]
    whole = contents[0][0]
    return [
        {
            **facts,
            "mac_ratio": facts["macs"] / whole["macs"],
            "seconds": float(np.median(times[:, index])),
            "ratio": float(np.median(ratios[:, index])),
            "quartiles": np.quantile(ratios[:, index], (0.25, 0.75)).tolist(),
        }
        for index, (facts, _) in enumerate(contents)
    ]


def longest(journal: Journal) -> list[dict[str, Any]]:
    """Returns the records, of runs that differ in their rounds the longest."""
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for record in journal.records():
        name = tuple(record["key"][part] for part in ("network", "recipe", "threads"))
        if name not in found or found[name]["key"]["rounds"] < record["key"]["rounds"]:
            found[name] = record
    return list(found.values())


HEADING = ("network", "recipe", "threads", "channels", "round to", "MACs, M", "MAC ratio", "KiB", "ms", "latency ratio")


def table_of(journal: Journal) -> ResultTable:
    """Returns a row for each file."""
    rows = []
    for record in longest(journal):
        key = record["key"]
        for variant in record["result"]["variants"]:
            low, high = variant["quartiles"]
            whole = variant["share"] == 1
            rows.append(
                (
                    key["network"],
                    key["recipe"],
                    str(key["threads"]),
                    f"{variant['share']:.0%}",
                    "" if whole else str(variant["round_to"]),
                    f"{variant['macs'] / 1e6:.1f}",
                    f"{variant['mac_ratio']:.3f}",
                    f"{variant['bytes'] / 1024:,.0f}",
                    f"{1000 * variant['seconds']:.2f}",
                    "1" if whole else f"{variant['ratio']:.3f} ({low:.3f} to {high:.3f})",
                )
            )
    title = "Latency of smaller TFLite files, ratio to the whole network (median and quartiles)"
    return ResultTable(title, HEADING, tuple(rows), left=("network", "recipe"))


def draw(journal: Journal) -> Path:
    """Draws latency ratio against MAC ratio, a panel a network and recipe; on the diagonal MACs are all that counts."""
    records = longest(journal)
    networks = list(dict.fromkeys(record["key"]["network"] for record in records))
    shape = len(RECIPES), max(len(networks), 1)
    figure, panels = plt.subplots(*shape, figsize=(3.6 * shape[1], 3.4 * shape[0]), squeeze=False)
    for record in records:
        key, found = record["key"], record["result"]["variants"]
        panel = panels[RECIPES.index(key["recipe"])][networks.index(key["network"])]
        for round_to, style in zip(ROUND_TO, ("--", "-"), strict=True):
            chosen = [each for each in found if each["round_to"] == round_to or each["share"] == 1]
            points = sorted((each["mac_ratio"], each["ratio"]) for each in chosen)
            counts = "any count" if round_to == 1 else f"multiples of {round_to}"
            label = f"{key['threads']} thread{'s' if key['threads'] > 1 else ''}, {counts}"
            color = f"C{THREADS.index(key['threads'])}"
            panel.plot(*zip(*points, strict=True), style, color=color, marker="o", markersize=3, label=label)
    for row, recipe in zip(panels, RECIPES, strict=True):
        for panel, network in zip(row, networks, strict=False):
            panel.plot([0, 1], [0, 1], color="grey", linewidth=0.8, linestyle=":")
            panel.set_title(f"{network}, {recipe}", fontsize=9)
            panel.set_xlabel("MACs, ratio")
            panel.set_ylabel("latency, ratio")
            panel.grid(alpha=0.3)
    panels[0][0].legend(fontsize=7)
    return save_figure(figure, RESULTS / "channel_latency.png")


def main(_: list[str]) -> None:
    journal = Journal(RESULTS / "channel_latency.jsonl")
    console = Console(width=150)
    for name in [] if flags.FLAGS.report else flags.FLAGS.networks or list(CASES):
        keys = [
            {"network": name, "recipe": recipe, "threads": threads, "rounds": flags.FLAGS.rounds}
            for recipe in RECIPES
            for threads in THREADS
        ]
        keys = [key for key in keys if not journal.done(key)]
        if not keys:
            continue
        console.print(f"Making the files of {name} ...")
        keras.utils.set_random_seed(SEED)
        keras.backend.clear_session()
        contents = files(CASES[name]())
        for key in keys:
            console.print(f"Timing {name}, {key['recipe']}, threads: {key['threads']} ...")
            journal.append(key, {"variants": measure(contents[key["recipe"]], key["threads"], key["rounds"])})
    table = table_of(journal)
    console.print(table)
    if journal.records():
        written = write_markdown(RESULTS / "channel_latency.md", [table])
        console.print(f"Written: {written.name}, {draw(journal).name}")


def define_flags() -> None:
    """Defines the flags, which are those of one program and no other."""
    flags.DEFINE_integer("rounds", 200, "how many times each file is timed", lower_bound=1)
    flags.DEFINE_list("networks", None, "which networks; all by default")
    flags.DEFINE_bool("report", False, "only print the table and draw the plot of what is there")


if __name__ == "__main__":
    define_flags()
    app.run(main)
