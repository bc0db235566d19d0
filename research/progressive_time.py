"""What removing filters during training saves of its time, and what scoring them costs: against dense training.

    python -m research.progressive_time                       # on an otherwise idle machine
    python -m research.progressive_time --stages=removal,wide # some of them: step, width, training, wide, removal
    python -m research.progressive_time --report              # tables of what is there, also in progressive_time.md

Two trainings go side by side, an epoch of each in turn, so that a slow moment of the machine falls on both; removals
and the new traces after them are in their epochs. The step of RPGP is timed before any filter leaves, one step of each
in turn. On two cores the stages take about 5 (step), 2 (width), 60 (training), 60 (wide) and 3 minutes (removal). The
wide networks have many steps of 8 filters between all of them and half; the narrow ones beside them have few, and show
where nothing is gained. Resumable: `research/results/progressive_time.jsonl`.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tf_keras as keras
from absl import app, flags
from rich.console import Console

import tfmot_swd
from examples.datasets import ImageData
from examples.filter_methods import FILTER_TABLE, schedule_of
from examples.job import Recipe
from examples.networks import NETWORKS, resnet20
from examples.training import ImageJob
from research.data import load
from research.journal import Journal
from research.removal_time import measure_removal
from research.step_overhead import stepper
from research.tables import ResultTable, write_markdown
from research.turns import epoch_of, in_turn, steps_in_turn

RESULTS = Path(__file__).parent / "results" / "progressive_time.jsonl"
BATCH, EPOCHS, IMAGES = 128, 9, 12_800
# (network, dataset)
CASES = (("vgg8", "cifar10_jpeg"), ("resnet20", "cifar10_jpeg"))
# (rate, multiple that the number of filters is rounded up to, share of the weak ones that leave at once)
RATES = ((0.5, 8, 1.0), (0.9, 8, 1.0), (0.5, 8, 0.5), (0.9, 8, 0.5), (0.5, 1, 0.5))
WIDTHS = (16, 14, 13, 12, 10, 9, 8, 7, 6, 4)
STEP_CASES = (("lenet5", 120), ("fashion_net", 60), ("vgg8", 30), ("resnet20", 24), ("mobilenet_v1", 60))

# (network, options, batch, images): 360 steps each, of networks with 4 to 16 steps of 8 filters, or with one or two
WIDE_CASES: tuple[tuple[str, dict[str, Any], int, int], ...] = (
    ("vgg8", {"width": 64}, 32, 1_280),
    ("resnet20", {"width": 64}, 32, 1_280),
    ("vgg8", {"width": 16}, 32, 1_280),
    ("resnet20", {"width": 16}, 32, 1_280),
)
WIDE_RATE, WIDE_METHODS = 0.5, ("rpgp", "rpgp_geometric")
REMOVAL_CASES: tuple[tuple[str, dict[str, Any]], ...] = (("resnet20", {}), ("resnet20", {"width": 64}), ("vgg8", {}))
STAGES = ("step", "width", "training", "wide", "removal")

_SHARES = ("dense s", "share", "of processor", "last epoch", "MACs left")
# (stage, title, columns of names, columns of numbers)
TABLES: tuple[tuple[str, str, tuple[str, ...], tuple[str, ...]], ...] = (
    (
        "training",
        f"Time of training with RPGP as a share of dense training, {EPOCHS} epochs",
        ("network", "data"),
        ("filters removed", "rounded to", "leave at once", *_SHARES),
    ),
    (
        "wide",
        f"The same on wide and narrow networks, {WIDE_RATE:.0%} of the filters in multiples of 8",
        ("network", "schedule"),
        ("width", "removals", *_SHARES),
    ),
    (
        "step",
        "One step with RPGP's scores, ratio to a dense one (median of pairs)",
        ("network",),
        ("dense ms", "ratio"),
    ),
    ("width", "A step of a dense ResNet-20 by the width of its first stage", (), ("width", "ms")),
    (
        "removal",
        "Seconds of the processor of one removal, up to the second step after it",
        ("network",),
        (
            "soft too",
            *("ranking", "soft pruning", "smaller model", "its optimizer", "else", "trace", "first run"),
            "whole",
            "of a dense net",
        ),
    ),
)

WANTED = flags.DEFINE_list("stages", list(STAGES), f"what to measure: {', '.join(STAGES)}")
REPORT = flags.DEFINE_bool("report", False, "only print the tables of what is there")


def compiled(model: keras.Model) -> keras.Model:
    model.compile(
        keras.optimizers.SGD(0.05, momentum=0.9), keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    )
    return model


def measure_training(
    network: str,
    data: ImageData,
    rate: float,
    round_to: int,
    hard_share: float,
    *,
    batch: int = BATCH,
    method: str = "rpgp_geometric",
    options: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Returns seconds of each epoch, dense and with RPGP, and the sizes that it went through.

    Seconds of the processor do not see what else the machine does, or that it is slowed down.
    """
    recipe = Recipe(EPOCHS, batch)

    def build() -> keras.Model:
        given = {"weight_decay": recipe.weight_decay, **(options or {})}
        return NETWORKS[network](data.input_shape, data.num_classes, **given)

    keras.utils.set_random_seed(0)
    schedule = schedule_of(FILTER_TABLE[method], rate, EPOCHS)
    callback = tfmot_swd.UpdatePruningStep(partial_fit=True)
    pruned = compiled(tfmot_swd.prune_progressive_gradient(build(), schedule, round_to=round_to, hard_share=hard_share))
    job = ImageJob(build(), recipe, rate, [], round_to, data)
    # Each epoch is a fit, with a history of its own.
    left: list[int] = []
    note = keras.callbacks.LambdaCallback(
        on_train_end=lambda logs: left.append(callback.history[-1].removed if callback.history else 0)
    )
    ways = {
        "dense": epoch_of(compiled(job.model), job.stream, []),
        "rpgp": epoch_of(pruned, job.stream, [callback, note]),
    }
    times = in_turn(ways, EPOCHS)
    small = tfmot_swd.strip_pruning(pruned)
    return {
        **times,
        "removals": sum(map(bool, left)),
        "macs": [tfmot_swd.profile(job.model).macs, tfmot_swd.profile(small).macs],
        "parameters": [job.model.count_params(), small.count_params()],
        "activation_bytes": [tfmot_swd.profile(each).activation_bytes for each in (job.model, small)],
    }


def measure_step(network: str, steps: int) -> dict[str, Any]:
    """Returns seconds of a step, dense and with RPGP's scores, and the median ratio of the pairs."""
    shape = (28, 28, 1) if network in ("lenet5", "fashion_net") else (32, 32, 3)
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(BATCH, *shape)).astype(np.float32), rng.integers(0, 10, BATCH)
    models = {"dense": compiled(NETWORKS[network](shape, 10, weight_decay=5e-4))}
    wrapped = tfmot_swd.prune_progressive_gradient(models["dense"], tfmot_swd.ProgressiveRate(0.5, 10))
    models["rpgp"] = compiled(wrapped)
    callback = tfmot_swd.UpdatePruningStep(partial_fit=True)
    callback.set_model(models["rpgp"])
    callback.on_train_begin()
    run = {name: stepper(model, x, y) for name, model in models.items()}
    found = steps_in_turn(run, steps)
    return {"seconds": {"dense": found["seconds"]["dense"]}, "ratio": found["ratio"]["rpgp"], "steps": steps}


def measure_width(width: int) -> dict[str, Any]:
    """Returns the median seconds of a step of a dense ResNet-20 of this width."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(BATCH, 32, 32, 3)).astype(np.float32), rng.integers(0, 10, BATCH)
    run = stepper(compiled(resnet20((32, 32, 3), 10, weight_decay=5e-4, width=width)), x, y)
    seconds = []
    for _ in range(11):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return {"seconds": float(np.median(seconds[3:]))}


def tables_of(journal: Journal) -> list[ResultTable]:
    """Returns the tables of what a journal holds."""
    rows: dict[str, list[tuple[str, ...]]] = {stage: [] for stage in STAGES}
    for record in journal.records():
        key, result = record["key"], record["result"]
        name = key.get("network", "") + (f"/{key['options']['width']}" if key.get("options") else "")
        if key["what"] == "width":
            row: tuple[str, ...] = (str(key["width"]), f"{1000 * result['seconds']:.0f}")
        elif key["what"] == "step":
            row = (name, f"{1000 * result['seconds']['dense']:.1f}", f"{result['ratio']:.3f}")
        elif key["what"] == "removal":
            seconds = [f"{each:.2f}" for each in (*result["seconds"].values(), result["whole"], result["dense"])]
            row = (name, "no" if key["hard_share"] == 1 else "yes", *seconds)
        elif key["what"] == "wide":
            numbers = (str(key["options"]["width"]), str(result["removals"]))
            row = (key["network"], FILTER_TABLE[key["method"]].curve, *numbers, *shares(result))
        else:
            settings = (f"{key['rate']:.0%}", str(key["round_to"]), f"{key['hard_share']:.0%}")
            row = (name, key["dataset"], *settings, *shares(result))
        rows[key["what"]].append(row)
    return [
        ResultTable(title, (*names, *numbers), tuple(rows[stage]), left=names)
        for stage, title, names, numbers in TABLES
        if rows[stage]
    ]


def shares(result: dict[str, Any]) -> list[str]:
    """Returns the dense seconds of a training, and the shares of them, of the last epoch and of the MACs."""
    seconds = result["seconds"]
    return [
        f"{sum(seconds['dense']):.1f}",
        *(
            f"{sum(each['rpgp']) / sum(each['dense']):.3f}" if each else ""
            for each in (seconds, result.get("processor_seconds"))
        ),
        f"{seconds['rpgp'][-1] / seconds['dense'][-1]:.3f}",
        f"{result['macs'][1] / result['macs'][0]:.1%}",
    ]


def runs() -> Iterator[tuple[dict[str, Any], Callable[[], dict[str, Any]]]]:
    """Yields (key, what measures it) of each run of the wanted stages."""
    wanted = WANTED.value
    for network, count in STEP_CASES if "step" in wanted else ():
        key: dict[str, Any] = {"what": "step", "network": network, "batch": BATCH}
        yield key, functools.partial(measure_step, network, count)
    for width in WIDTHS if "width" in wanted else ():
        yield {"what": "width", "width": width, "batch": BATCH}, functools.partial(measure_width, width)
    for rate, round_to, hard_share in RATES if "training" in wanted else ():
        for network, dataset in CASES:
            key = {"what": "training", "network": network, "dataset": dataset, "images": IMAGES}
            key |= {"batch": BATCH, "epochs": EPOCHS, "rate": rate, "round_to": round_to, "hard_share": hard_share}
            data = functools.partial(load, dataset, IMAGES)
            yield key, functools.partial(with_data, measure_training, network, data, rate, round_to, hard_share)
    for method in WIDE_METHODS if "wide" in wanted else ():
        for network, options, batch, images in WIDE_CASES:
            key = {"what": "wide", "network": network, "options": options, "batch": batch, "images": images}
            key |= {"epochs": EPOCHS, "method": method, "rate": WIDE_RATE}
            data = functools.partial(load, "cifar10_jpeg", images)
            more = {"batch": batch, "method": method, "options": options}
            yield key, functools.partial(with_data, measure_training, network, data, WIDE_RATE, 8, 1.0, **more)
    for hard_share in (1.0, 0.5) if "removal" in wanted else ():
        for network, options in REMOVAL_CASES:
            key = {"what": "removal", "network": network, "options": options, "hard_share": hard_share}
            yield key, functools.partial(measure_removal, network, options, hard_share)


def with_data(
    measure: Callable[..., dict[str, Any]], network: str, data: Callable[[], ImageData], *args: Any, **kwargs: Any
) -> dict[str, Any]:
    """Measures with data that are loaded only now."""
    return measure(network, data(), *args, **kwargs)


def main(_: list[str]) -> None:
    journal, console = Journal(RESULTS), Console(width=130)
    unknown = set(WANTED.value) - set(STAGES)
    if unknown:
        raise app.UsageError(f"--stages takes {', '.join(STAGES)}. Received: {', '.join(sorted(unknown))}")
    for key, measure in () if REPORT.value else runs():
        if not journal.done(key):
            journal.append(key, measure())
            console.print(f"Timed {key}")
    tables = tables_of(journal)
    console.print(*tables)
    write_markdown(RESULTS.with_suffix(".md"), tables)


if __name__ == "__main__":
    app.run(main)
