"""What pruning adds to the training steps of two workers: time, and what they communicate.

    python -m research.worker_overhead               # on an otherwise idle machine
    python -m research.worker_overhead --report      # tables of what is there

Two processes train under `MultiWorkerMirroredStrategy`, over the loopback and on one thread each. They make one step
of each kind in turn, so that a slow moment of the machine falls on all of them; the figure is the median of the ratios
step by step. The collective operations are those of the traced step. Resumable: one line a network in
`research/results/worker_overhead.jsonl`.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as keras
from absl import app, flags
from rich.console import Console
from rich.table import Table

import tfmot_swd
from examples.networks import NETWORKS
from research.collectives import Collective, collectives_of
from research.journal import Journal
from research.turns import steps_in_turn

RESULTS = Path(__file__).parent / "results" / "worker_overhead.jsonl"
WORKERS = 2
# All stand in the middle of a run of this many updates: the target climbs, the decay is at work.
RATE, RUN, MIDDLE = 0.9, 8_000, 4_000
# network: (input shape, samples a worker and step, steps of each kind)
CASES: dict[str, tuple[tuple[int, int, int], int, int]] = {
    "lenet5": ((28, 28, 1), 64, 200),
    "fashion_net": ((28, 28, 1), 64, 120),
    "resnet20": ((32, 32, 3), 64, 32),
}
KINDS = ("plain", "swd", "structured", "finished", "rpgp")

CASE = flags.DEFINE_multi_enum("case", list(CASES), list(CASES), "networks to measure")
STEPS = flags.DEFINE_integer("steps", None, "steps of each kind, instead of the network's own", lower_bound=1)
REPORT = flags.DEFINE_bool("report", False, "only print the tables of what is there")
RESULTS_FILE = flags.DEFINE_string("results", str(RESULTS), "journal of the runs")
WORKER = flags.DEFINE_bool("worker", False, "be one of the processes, as TF_CONFIG says")


def wrapped(kind: str, net: keras.Model) -> keras.Model:
    """Returns what trains `net` in this way, before it is compiled; "finished" is SWD after its final pruning step."""
    if kind == "plain":
        return net
    if kind == "rpgp":
        return tfmot_swd.prune_progressive_gradient(net, tfmot_swd.ProgressiveRate(RATE, epochs=100), "rpgp")
    schedule = tfmot_swd.StructuredDecay if kind == "structured" else tfmot_swd.SelectiveDecay
    pruned = tfmot_swd.prune_selective_decay(net, schedule(RATE, end_step=RUN))
    if kind == "finished":
        tfmot_swd.prune_now(pruned)
    return pruned


def prepared(kind: str, network: str, strategy: tf.distribute.Strategy) -> keras.Model:
    """Returns a compiled model whose training has begun; its schedule stands in the middle."""
    with strategy.scope():
        model = wrapped(kind, NETWORKS[network](CASES[network][0], 10, weight_decay=5e-4))
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(keras.optimizers.SGD(0.01, momentum=0.9), loss)
        if kind != "plain":
            callback = tfmot_swd.UpdatePruningStep(partial_fit=True)
            callback.set_model(model)
            callback.on_train_begin()
        if kind in ("swd", "structured"):
            for layer in model.layers:
                if hasattr(layer, "pruning_step"):
                    layer.pruning_step.assign(MIDDLE)
    return model


def stepper(
    model: keras.Model, strategy: tf.distribute.Strategy, batch: tuple[np.ndarray, np.ndarray]
) -> tuple[Callable[[], None], list[Collective]]:
    """Returns what trains one step, by the very function that `fit` calls, and the collective operations of it."""
    samples = tf.data.Dataset.from_tensors(tuple(map(tf.constant, batch))).repeat()
    # Each worker has a batch of its own, so nothing is sharded.
    iterator = iter(strategy.distribute_datasets_from_function(lambda _: samples))
    function = model.make_train_function()
    sent = collectives_of(function.get_concrete_function(iterator))
    return lambda: function(iterator)["loss"].numpy(), sent


def measure(network: str, steps: int) -> dict[str, Any]:
    """Returns seconds a step of each kind, the median ratio to the plain step beside it, and what a step sends.

    Every worker calls it; all make the same steps in the same order, as each waits for the others.
    """
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    shape, batch, _ = CASES[network]
    rng = np.random.default_rng(strategy.cluster_resolver.task_id)
    data = rng.normal(size=(batch, *shape)).astype(np.float32), rng.integers(0, 10, batch)
    run, sent, parameters = {}, {}, 0
    for kind in KINDS:
        model = prepared(kind, network, strategy)
        run[kind], sent[kind] = stepper(model, strategy, data)
        if kind == "plain":
            parameters = model.count_params()
    return {
        "replicas": strategy.num_replicas_in_sync,
        "parameters": parameters,
        "batch": batch,
        **steps_in_turn(run, steps),
        "collectives": {kind: [[each.kind, each.dtype, each.elements] for each in sent[kind]] for kind in KINDS},
        "bytes": {kind: sum(each.bytes for each in sent[kind]) for kind in KINDS},
    }


def free_ports(count: int) -> list[int]:
    """Returns ports of the loopback that nothing listens at."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def in_workers(network: str, steps: int) -> dict[str, Any]:
    """Returns what `measure` gives in the first of the workers, each a process of its own.

    Raises:
      RuntimeError: one of them failed.
    """
    cluster = {"worker": [f"127.0.0.1:{port}" for port in free_ports(WORKERS)]}
    command = [sys.executable, "-m", "research.worker_overhead", "--worker", f"--case={network}", f"--steps={steps}"]
    threads = {"TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1"}
    with contextlib.ExitStack() as stack:
        processes, errors = [], []
        for index in range(WORKERS):
            config = json.dumps({"cluster": cluster, "task": {"type": "worker", "index": index}})
            env = {**os.environ, **threads, "TF_CPP_MIN_LOG_LEVEL": "3", "TF_CONFIG": config}
            # Into a file, as a pipe that nobody reads stops its worker when it is full, and the others wait for that.
            errors.append(stack.enter_context(tempfile.TemporaryFile("w+")))
            processes.append(subprocess.Popen(command, env=env, text=True, stdout=subprocess.PIPE, stderr=errors[-1]))
        said = [process.communicate()[0] for process in processes]
        for process, file in zip(processes, errors, strict=True):
            if process.returncode:
                file.seek(0)
                raise RuntimeError(f"A worker failed. Received: {file.read()[-2000:]}")
    found: dict[str, Any] = json.loads(said[0].splitlines()[-1])
    return found


def print_tables(records: Sequence[dict[str, Any]], console: Console) -> None:
    times = Table(title=f"One step of {WORKERS} workers, ratio to the plain one (median of pairs)")
    sent = Table(title="Collective operations of one step: how many, and MB of each worker")
    for table in (times, sent):
        table.add_column("network")
    for heading in ("parameters", "samples", "plain ms", *KINDS[1:]):
        times.add_column(heading, justify="right")
    for kind in KINDS:
        sent.add_column(kind, justify="right")
    for record in records:
        name, result = record["key"]["case"], record["result"]
        row = f"{result['parameters']:,}", str(result["batch"]), f"{1000 * result['seconds']['plain']:.1f}"
        times.add_row(name, *row, *(f"{result['ratio'][kind]:.3f}" for kind in KINDS[1:]))
        counts = {kind: len(result["collectives"][kind]) for kind in KINDS}
        sent.add_row(name, *(f"{counts[kind]}, {result['bytes'][kind] / 1e6:.3f}" for kind in KINDS))
    console.print(times)
    console.print(sent)


def main(_: list[str]) -> None:
    if WORKER.value:
        (network,) = CASE.value
        print(json.dumps(measure(network, STEPS.value or CASES[network][2])))
        return
    journal, console = Journal(RESULTS_FILE.value), Console(width=130)
    for network in [] if REPORT.value else CASE.value:
        steps = STEPS.value or CASES[network][2]
        key = {"case": network, "workers": WORKERS, "steps": steps}
        if not journal.done(key):
            console.print(f"Timing {network} on {WORKERS} workers ...")
            journal.append(key, in_workers(network, steps))
    print_tables(journal.records(), console)


if __name__ == "__main__":
    app.run(main)
