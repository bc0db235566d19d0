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

import dataclasses
import json
import time
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import tensorflow as tf
import tf_keras as keras
from absl import app, flags
from rich.console import Console

from research import by_network
from research.exactness import SHARE, TOLERANCE, compare, masked, random_images, random_plan, randomize
from research.journal import Journal
from research.tables import ResultTable, save_figure, write_markdown
from tfmot_swd.channels.groups import ChannelGroups, channel_groups
from tfmot_swd.costs.profile import profile
from tfmot_swd.keras2.compat import master_variable
from tfmot_swd.layers.record import PRODUCE
from tfmot_swd.pruning.statistics import reestimate_batch_norm

RESULTS = Path(__file__).parent / "results"
SEED = 0
OUTPUT_ONLY = "model output"
# Of the output's scale, in float64: what makes 1e-5 of float32's rounding makes less than 1e-13 there.
TOLERANCE_FLOAT64 = 1e-10


def network_names() -> list[str]:
    """Returns the names of all networks of tf_keras.applications."""
    return by_network.names_in(keras.applications)


def build(name: str, size: int = 0, classes: int = 1000) -> keras.Model:
    """Returns an untrained network that ends in logits, as a softmax would hide differences."""
    if name.startswith("MobileNetV3"):
        size = size or 224  # Without one, Keras leaves the size of this one open.
    options = {"input_shape": (size, size, 3)} if size else {}
    return getattr(keras.applications, name)(weights=None, classes=classes, classifier_activation=None, **options)


def shares(groups: ChannelGroups) -> tuple[float, float]:
    """Returns which share of the channels that layers make, and of all parameters, belongs to removable groups."""
    made: dict[str, np.ndarray] = {}
    staying: dict[int, dict[int, float]] = {}
    for cut in groups.trace.cuts:
        stays = groups.trace.classes.is_pinned(cut.ids)
        staying.setdefault(cut.variable_id, {})[cut.axis] = float(stays.mean())
        if cut.role == PRODUCE:
            # The kernel's: biases are made of the same channels.
            made.setdefault(cut.layer, stays)
    parameters = leaving = 0.0
    for weight in groups.model.weights:
        variable = master_variable(weight)
        size = np.prod(variable.shape)
        parameters += size
        leaving += size * (1 - np.prod(list(staying.get(id(variable), {}).values())))
    return 1 - float(np.concatenate(list(made.values())).mean()), float(leaving / parameters)


def barriers(groups: ChannelGroups) -> list[dict[str, Any]]:
    """Returns the barriers, those of the same kinds of reasons as one."""
    found: dict[tuple[str, ...], dict[str, Any]] = {}
    for barrier in groups.barriers:
        kinds = tuple(sorted({reason.rpartition(": ")[2] for reason in barrier.reasons}))
        row = found.setdefault(kinds, {"reason": "; ".join(kinds), "layers": 0, "channels": 0})
        row["layers"] += 1
        row["channels"] += barrier.channels
    return list(found.values())


def measure(name: str, size: int = 0, classes: int = 1000) -> dict[str, Any]:
    """Returns all that the journal keeps of one network."""
    keras.utils.set_random_seed(SEED)
    rng = np.random.default_rng(SEED)
    times = [time.process_time()]
    model = build(name, size, classes)
    times.append(time.process_time())
    groups = channel_groups(model)
    plan = random_plan(model, rng, groups)
    times.append(time.process_time())
    randomize(model, rng)
    # Statistics of a few values would make the network chaotic, and most networks end in maps of 1/32 of the size.
    height, width = (size // 32 for size in model.input_shape[1:3])
    x = random_images(model.input_shape[1:], rng, count=max(2, -(-32 // (height * width))))
    with masked(model, plan):
        reestimate_batch_norm(model, [x])
    start = time.process_time()
    smaller = plan.apply()
    removal = time.process_time() - start
    exactness = compare(model, plan, smaller, x[:2])
    before, after = profile(model), profile(smaller)
    channels, parameters = shares(groups)
    return {
        "input": list(model.input_shape[1:]),
        "layers": len(groups.trace.records),
        "exact": exactness.exact,
        **dataclasses.asdict(exactness),
        "groups": len(groups),
        "channels": groups.channels,
        "share_of_channels": channels,
        "share_of_parameters": parameters,
        "parameters": [before.parameters, after.parameters],
        "macs": [before.macs, after.macs],
        "macs_unknown": sorted({row.kind for row in before.rows if not row.macs_known}),
        "barriers": barriers(groups),
        "seconds": {"build": times[1] - times[0], "plan": times[2] - times[1], "removal": removal},
    }


def measure_exactly(name: str, size: int) -> dict[str, Any]:
    """Returns what `measure` does, with `difference_float64` where float32 leaves it open."""
    found = measure(name, size)
    if not found["exact"]:
        keras.backend.clear_session()
        keras.backend.set_floatx("float64")
        again = measure(name, size)
        found["difference_float64"] = again["difference"]
        found["exact"] = again["exact"] and again["difference"] <= TOLERANCE_FLOAT64
    return found


HEADING = (
    *("network", "input", "exact", "difference", "layers", "groups", "can leave", "of channels"),
    *("of parameters", "parameters, M", "MACs, G", "plan, s", "removal, s", "what stays"),
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
        stays = [
            f"{row['channels']:,} of {row['layers']} layers: {row['reason']}"
            for row in result["barriers"]
            if row["reason"] != OUTPUT_ONLY
        ]
        macs = " → ".join(f"{count / 1e9:.3g}" for count in result["macs"])
        rows.append(
            (
                record["key"]["network"],
                str(result["input"][0]),
                "yes" if result["exact"] else "NO",
                _difference(result),
                str(result["layers"]),
                str(result["groups"]),
                f"{result['channels']:,}",
                f"{result['share_of_channels']:.1%}",
                f"{result['share_of_parameters']:.1%}",
                " → ".join(f"{count / 1e6:.3g}" for count in result["parameters"]),
                macs + ("*" if result["macs_unknown"] else ""),
                f"{result['seconds']['plan']:.2f}",
                f"{result['seconds']['removal']:.2f}",
                "; ".join(stays) or "the outputs",
            )
        )
    return ResultTable(summary(journal), HEADING, tuple(rows), left=("network", "what stays"), notes=(NOTE,))


def _difference(result: dict[str, Any]) -> str:
    found = [result["difference"], result.get("difference_float64", 0.0)]
    texts = ["not finite" if each is None else f"{each:.0e}" for each in found]
    return f"{texts[0]}; {texts[1]} in float64" if "difference_float64" in result else texts[0]


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
        Path(flags.FLAGS.child).write_text(json.dumps(measure_exactly(flags.FLAGS.models[0], flags.FLAGS.size)))
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
