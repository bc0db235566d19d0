"""Is a smaller model exact, and how much can leave: all networks of tf_keras.applications.

    python -m benchmarks.applications_coverage             # all 71, about an hour on one core
    python -m benchmarks.applications_coverage --report    # table and plot of what is there

Each network gets random weights and random statistics; half of the channels of each group, taken at random, leave. The
smaller network must then compute what the whole one computes with the weights that read those channels set to zero.
Every network runs in a process of its own, so that its memory is free again. Resumable: one line a network in
`benchmarks/results/applications_coverage.jsonl`. Seconds are CPU seconds on one thread, so that a busy machine counts
less.
"""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import tensorflow as tf
import tf_keras as keras
from absl import app, flags
from rich.console import Console
from rich.table import Table

from benchmarks.journal import Journal
from tfmot_swd._compat import master_variable
from tfmot_swd.channels.call import CONSUME, PRODUCE
from tfmot_swd.channels.groups import ChannelGroups, channel_groups
from tfmot_swd.channels.removal import RemovalPlan, plan_removal
from tfmot_swd.profile import profile

RESULTS = Path(__file__).parent / "results"
SHARE, SEED = 0.5, 0
# Of the output's scale. In float32 the order of a sum alone makes some 1e-7 in each layer.
TOLERANCE = 1e-5
# Less change than this, of the output's scale, and equality would prove nothing.
LEAST_EFFECT = 1e-2
OUTPUT_ONLY = "model output"

MODELS = flags.DEFINE_list("models", None, "which networks; all by default")
SIZE = flags.DEFINE_integer("size", 0, "side of the input images; 0 for each network's own")
CHILD = flags.DEFINE_string("child", "", "used by this program itself: write the result of one network here")
REPORT = flags.DEFINE_bool("report", False, "only print the table and draw the plot of what is there")


@dataclasses.dataclass(frozen=True)
class Exactness:
    """Outputs of the smaller model beside those of the masked one; all three are shares of the latter's scale.

    Args:
      difference: the largest between the two.
      mask_effect: the largest that the masks made.
      input_effect: the largest between two samples.
    """

    difference: float
    mask_effect: float
    input_effect: float

    @property
    def exact(self) -> bool:
        """Whether the two agree, and could have disagreed."""
        # A comparison with NaN is false.
        return self.difference <= TOLERANCE and min(self.mask_effect, self.input_effect) >= LEAST_EFFECT


def network_names() -> list[str]:
    """Returns the names of all networks of tf_keras.applications."""
    found = vars(keras.applications).items()
    return sorted(name for name, value in found if callable(value) and not name.startswith("_"))


def build(name: str, size: int = 0, classes: int = 1000) -> keras.Model:
    """Returns an untrained network that ends in logits, as a softmax would hide differences."""
    options = {"input_shape": (size, size, 3)} if size else {}
    return getattr(keras.applications, name)(weights=None, classes=classes, classifier_activation=None, **options)


def randomize(model: keras.Model, rng: np.random.Generator) -> None:
    """Gives every weight a random value, at a scale that keeps the signal alive where half of the inputs are gone."""
    for variable in model.weights:
        shape, kind = tuple(variable.shape), variable.name.rpartition("/")[2]
        if len(shape) > 1:
            depthwise = "depthwise" in kind
            fan_in = np.prod(shape[:2]) if depthwise else SHARE * np.prod(shape[:-1])
            variable.assign(rng.normal(0, np.sqrt(2 / fan_in), shape))
        elif "gamma" in kind or "variance" in kind:
            variable.assign(rng.uniform(0.5, 1.5, shape))
        elif len(shape) == 1:
            variable.assign(rng.normal(0, 0.2, shape))


def randomize_statistics(model: keras.Model, x: np.ndarray, rng: np.random.Generator) -> None:
    """Gives batch normalization random statistics around those of a batch: neither vanishing nor exploding signals."""
    normalizations = [each for each in model._flatten_layers() if isinstance(each, keras.layers.BatchNormalization)]
    momenta = [layer.momentum for layer in normalizations]
    for layer in normalizations:
        layer.momentum = 0.0
    if normalizations:
        model(x, training=True)
    for layer, momentum in zip(normalizations, momenta, strict=True):
        layer.momentum = momentum
        mean, variance = layer.moving_mean, layer.moving_variance
        mean.assign_add(tf.sqrt(variance) * rng.normal(0, 0.2, mean.shape))
        variance.assign(variance * rng.uniform(0.5, 1.5, variance.shape))


def random_plan(model: keras.Model, rng: np.random.Generator, groups: ChannelGroups) -> RemovalPlan:
    """Returns the plan by which half of the channels of each group leave."""
    keep = {name: rng.permutation(group.size) < max(1, round(SHARE * group.size)) for name, group in groups.items()}
    return plan_removal(model, keep, groups=groups)


@contextmanager
def masked(model: keras.Model, plan: RemovalPlan) -> Iterator[None]:
    """Holds at zero every slice of weights that reads a channel that leaves."""
    variables = {id(master_variable(each)): master_variable(each) for each in model.weights}
    originals: dict[int, np.ndarray] = {}
    for cut in plan.groups.trace.cuts:
        gone = ~plan.stays[cut.ids]
        if cut.role == CONSUME and gone.any():
            variable = variables[cut.variable_id]
            value = variable.numpy()
            originals.setdefault(cut.variable_id, value)
            value = value.copy()
            np.moveaxis(value, cut.axis, 0)[gone] = 0
            variable.assign(value)
    try:
        yield
    finally:
        for identity, value in originals.items():
            variables[identity].assign(value)


def compare(model: keras.Model, plan: RemovalPlan, smaller: keras.Model, x: np.ndarray) -> Exactness:
    """Compares the smaller model with the masked one on a batch of two or more samples.

    What makes the channels keeps its weights: nothing of what leaves may be read, whatever its value.
    """
    with masked(model, plan):
        expected = model(x, training=False).numpy()
    whole, found = (each(x, training=False).numpy() for each in (model, smaller))
    scale = np.abs(expected).max()

    def largest(difference: np.ndarray) -> float:
        return float(np.abs(difference).max() / scale)

    return Exactness(largest(found - expected), largest(whole - expected), largest(expected[1:] - expected[:1]))


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
    x = rng.normal(size=(2, *model.input_shape[1:])).astype(np.float32)
    with masked(model, plan):
        randomize_statistics(model, x, rng)
    start = time.process_time()
    smaller = plan.apply()
    removal = time.process_time() - start
    exactness = compare(model, plan, smaller, x)
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


def measure_apart(name: str, size: int) -> dict[str, Any]:
    """Returns what `measure` does, from a process of its own.

    Raises:
        RuntimeError: with the end of what the process said, where it failed.
    """
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "result.json"
        arguments = [f"--models={name}", f"--size={size}", f"--child={path}"]
        command = [sys.executable, "-m", "benchmarks.applications_coverage", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[1])
        if done.returncode:
            raise RuntimeError(f"{name} failed. Received: {done.stderr[-3000:]}")
        return json.loads(path.read_text())


def rows(journal: Journal) -> list[list[str]]:
    """Returns the table as text: a heading, then a row for each network by name."""
    heading = ["network", "input", "exact", "difference", "layers", "groups", "can leave", "of channels"]
    heading += ["of parameters", "parameters, M", "MACs, G", "plan, s", "removal, s", "what stays"]
    table = [heading]
    for record in sorted(journal.records(), key=lambda each: each["key"]["network"]):
        result = record["result"]
        stays = [
            f"{row['channels']:,} of {row['layers']} layers: {row['reason']}"
            for row in result["barriers"]
            if row["reason"] != OUTPUT_ONLY
        ]
        macs = " → ".join(f"{count / 1e9:.3g}" for count in result["macs"])
        table.append(
            [
                record["key"]["network"],
                str(result["input"][0]),
                "yes" if result["exact"] else "NO",
                "" if result["difference"] is None else f"{result['difference']:.0e}",
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
            ]
        )
    return table


def summary(journal: Journal) -> str:
    results = [record["result"] for record in journal.records()]
    exact = sum(result["exact"] for result in results)
    worst = max((result["difference"] or 0.0 for result in results), default=0.0)
    return (
        f"{exact} of {len(results)} networks of tf_keras.applications exact (largest difference {worst:.1e} of the "
        f"output's scale), half of the channels of each group removed"
    )


def print_table(journal: Journal, console: Console) -> None:
    heading, *body = rows(journal)
    table = Table(title=summary(journal))
    for column in heading:
        left = column in ("network", "what stays")
        table.add_column(column, justify="left" if left else "right", overflow="fold")
    for row in body:
        table.add_row(*row)
    console.print(table)


def write_markdown(journal: Journal) -> Path:
    heading, *body = rows(journal)
    lines = [
        f"**{summary(journal)}**",
        "",
        "Random weights and statistics. The smaller network beside the whole one in which every weight that reads a "
        "channel that left is zero; difference as a share of the output's scale, float32. Shares are those that belong "
        "to groups that can leave. Seconds of one CPU core.",
        "",
        "| " + " | ".join(heading) + " |",
        "|---" * len(heading) + "|",
        *("| " + " | ".join(row) + " |" for row in body),
        "",
    ]
    if any(record["result"]["macs_unknown"] for record in journal.records()):
        lines += ["\\* without the layers of classes whose MACs are not known", ""]
    path = RESULTS / "applications_coverage.md"
    path.write_text("\n".join(lines))
    return path


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
    figure.tight_layout()
    path = RESULTS / "applications_coverage.png"
    figure.savefig(path, dpi=110)
    plt.close(figure)
    return path


def main(_: list[str]) -> None:
    if CHILD.value:
        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(1)
        Path(CHILD.value).write_text(json.dumps(measure(MODELS.value[0], SIZE.value)))
        return
    journal = Journal(RESULTS / "applications_coverage.jsonl")
    console = Console(width=200)
    failed = []
    names = [] if REPORT.value else MODELS.value or network_names()
    for number, name in enumerate(names, start=1):
        key = {"network": name, "size": SIZE.value, "share": SHARE, "seed": SEED}
        if journal.done(key):
            continue
        try:
            journal.append(key, measure_apart(name, SIZE.value))
        except RuntimeError as error:
            failed.append(name)
            console.print(str(error), markup=False)
            continue
        result = journal.records()[-1]["result"]
        console.print(f"[{number}/{len(names)}] {name}: exact {result['exact']}, {result['difference']}", markup=False)
    print_table(journal, console)
    if journal.records():
        console.print(f"Written: {write_markdown(journal).name}, {draw(journal).name}")
    if failed:
        raise SystemExit(f"Failed: {', '.join(failed)}")


if __name__ == "__main__":
    app.run(main)
