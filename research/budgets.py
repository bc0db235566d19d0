"""How closely each kind of budget is met on four networks, and what the search for it costs.

    python -m research.budgets             # some minutes, most of them spent on converting files
    python -m research.budgets --report    # the table of what is there

Scores are random. A budget is met within one channel where the best channel that was left out would be too much; it is
held where the smaller model, built and counted anew, is within it. Bytes are those of the file that is made of it.
Resumable: one line a network and budget in `research/results/budgets.jsonl`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as keras
from absl import app, flags
from rich.console import Console

from examples.networks import NETWORKS
from research.journal import Journal
from research.tables import ResultTable, write_markdown
from tfmot_swd import Budget
from tfmot_swd.channels import channel_groups, remove_channels
from tfmot_swd.channels.groups import ChannelGroups
from tfmot_swd.costs import fit_budget
from tfmot_swd.costs.counts import ChannelCosts
from tfmot_swd.costs.limits import resolve_limits
from tfmot_swd.costs.search import ChannelSearch

RESULTS = Path(__file__).parent / "results"
SEED = 0
APPLICATIONS = keras.applications
CASES: dict[str, Callable[[], keras.Model]] = {
    "ResNet-20/16": lambda: NETWORKS["resnet20"]((32, 32, 3), 10),
    "MobileNetV1 0.25 at 96": lambda: APPLICATIONS.MobileNet((96, 96, 3), alpha=0.25, weights=None),
    "EfficientNetB0": lambda: APPLICATIONS.EfficientNetB0(weights=None),
    "DenseNet121": lambda: APPLICATIONS.DenseNet121(weights=None),
}
BUDGETS = {
    "90 % of the parameters removed": Budget(sparsity=0.9),
    "a third of the parameters": Budget(parameters=1 / 3),
    "half of the MACs": Budget(macs=0.5),
    "a third of the int8 file": Budget(bytes=1 / 3),
    "half of the MACs, a third of the parameters": Budget(macs=0.5, parameters=1 / 3),
}


def measure(model: keras.Model, groups: ChannelGroups, budget: Budget) -> dict[str, Any]:
    """Returns limits, what is left by the count and of the model that is built, and the seconds of each part."""
    rng = np.random.default_rng(SEED)
    values = np.concatenate([rng.uniform(size=group.size) for group in groups.values()]).astype(np.float32)
    start = time.perf_counter()
    costs = ChannelCosts(groups)
    counted = time.perf_counter()
    limits = resolve_limits(budget, costs, list(groups))
    resolved = time.perf_counter()
    search = ChannelSearch(groups, list(groups), limits.terms(costs), costs)
    at_end = limits.at(tf.zeros([], tf.float64))
    fitted = fit_budget(model, search.split(values), budget, groups=groups)
    keep = np.concatenate([fitted.keep[name] for name in search.names])
    more = keep.copy()
    more[np.flatnonzero(~keep)[np.argmax(values[~keep])]] = True
    over = dict(zip(limits.final, search.costs_of(more), strict=True))
    in_step = tf.function(lambda scores: search.within(scores, at_end).threshold)
    seconds = []
    for _ in range(11):
        begun = time.perf_counter()
        in_step(tf.constant(values)).numpy()
        seconds.append(time.perf_counter() - begun)
    small = remove_channels(model, fitted.keep)
    return {
        "channels": search.channels,
        "limits": dict(limits.final),
        "counted": fitted.costs,
        "built": {name: budget.cost(name).of(small) for name in limits.final},
        "with_one_channel_more": over,
        "seconds": {
            "counting": counted - start,
            "limits": resolved - counted,
            "search in a step": float(np.median(seconds[1:])),
        },
    }


HEADING = (
    *("network", "budget", "channels", "limit", "left", "share of the limit", "held", "one channel more"),
    *("counting, s", "limits, s", "search in a step, ms"),
)


def table_of(journal: Journal) -> ResultTable:
    """Returns a row for each network, budget and limit."""
    rows = []
    for record in journal.records():
        result, seconds = record["result"], record["result"]["seconds"]
        for cost, limit in result["limits"].items():
            left = result["built"][cost]
            tight = any(result["with_one_channel_more"][name] > result["limits"][name] for name in result["limits"])
            rows.append(
                (
                    record["key"]["network"],
                    record["key"]["budget"],
                    f"{result['channels']:,}",
                    f"{limit:,} {cost}",
                    f"{left:,}",
                    f"{left / limit:.2%}",
                    "yes" if left <= limit else "NO",
                    "too much" if tight else "FITS",
                    f"{seconds['counting']:.2f}",
                    f"{seconds['limits']:.2f}",
                    f"{1000 * seconds['search in a step']:.2f}",
                )
            )
    return ResultTable("Budgets, random scores", HEADING, tuple(rows), left=("network", "budget"))


def main(_: list[str]) -> None:
    journal, console = Journal(RESULTS / "budgets.jsonl"), Console(width=200)
    for network, build in () if flags.FLAGS.report else CASES.items():
        keys = {name: {"network": network, "budget": name, "seed": SEED} for name in BUDGETS}
        todo = [name for name, key in keys.items() if not journal.done(key)]
        if not todo:
            continue
        keras.utils.set_random_seed(SEED)
        model = build()
        groups = channel_groups(model)
        for name in todo:
            console.print(f"{network}: {name} ...")
            journal.append(keys[name], measure(model, groups, BUDGETS[name]))
    console.print(table_of(journal))
    console.print(f"Written: {write_markdown(RESULTS / 'budgets.md', [table_of(journal)]).name}")


def define_flags() -> None:
    """Defines the flags, which are those of one program and no other."""
    flags.DEFINE_bool("report", False, "only print the table of what is there")


if __name__ == "__main__":
    define_flags()
    app.run(main)
