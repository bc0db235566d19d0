"""Peak memory of a pruning: bytes a weight beyond plain `fit`, by method and phase.

    python -m research.peak_memory                      # all; memory does not mind a busy machine
    python -m research.peak_memory --methods=plain,swd --sizes=30_M --repeats=1

Each measurement is one process, which builds a network, wraps it, trains a few updates up to and including the final
pruning step, strips it and counts its zeros. The operating system's own peak of the resident memory (VmHWM) is read
and reset after each phase, so nothing that TensorFlow, XLA or NumPy allocates is missed. Figures are whole-process
peaks, less that of plain training of the same network in the same way, over the number of weights.

The memory allocator is left as a user has it. On a CPU TensorFlow's tensors come from oneDNN's pool, which keeps what
is freed: a high point of the training step stays, later TensorFlow operations reuse it, and NumPy's copies come on
top. Other memory comes from glibc, which is why the network of many layers is measured several times. The plain
process imports the same packages. The network that was wrapped is let go of, as in
`model = prune_selective_decay(model, ...)`: who keeps it holds 4 more bytes a weight.

Resumable: one line a process in `research/results/peak_memory.jsonl`.
"""

from __future__ import annotations

import json
import resource
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_model_optimization as tfmot
import tf_keras as keras
from absl import app, flags
from rich.console import Console

import tfmot_swd
from research.child import measure_apart
from research.journal import Journal
from research.tables import ResultTable, write_markdown
from tfmot_swd.magnitude import prune_magnitude

RESULTS = Path(__file__).parent / "results"
RATE = 0.9
# Updates of an epoch; the final pruning step comes after the last of them.
UPDATES, BATCH = 4, 2
PHASES = ("build", "wrap", "training", "strip", "report")

# name: (widths of the dense layers, the input's first; processes of each method)
SIZES: dict[str, tuple[tuple[int, ...], int]] = {
    "30 M": ((5500, 5500, 2), 2),
    "30 M in 12 layers": ((1580,) * 13 + (2,), 3),
    "100 M": ((10000, 10000, 2), 1),
}

Wrap = Callable[[Any], Any]


def _tfmot(model: Any) -> Any:
    schedule = tfmot.sparsity.keras.PolynomialDecay(0.0, RATE, 0, UPDATES, frequency=1)
    return tfmot.sparsity.keras.prune_low_magnitude(model, schedule)


def _swd(**settings: Any) -> Wrap:
    return lambda model: tfmot_swd.prune_selective_decay(
        model, tfmot_swd.SelectiveDecay(RATE, end_step=UPDATES, **settings)
    )


def _structured(model: Any) -> Any:
    return tfmot_swd.prune_selective_decay(model, tfmot_swd.StructuredDecay(0.5, end_step=UPDATES))


def _progressive(criterion: str) -> Wrap:
    return lambda model: tfmot_swd.prune_progressive_gradient(
        model, tfmot_swd.ProgressiveRate(0.5, epochs=2), criterion, layers="all"
    )


def _magnitude(scope: str) -> Wrap:
    # The mask is chosen at every update, as in TFMOT's wrapper beside it.
    schedule = tfmot.sparsity.keras.PolynomialDecay(0.0, RATE, 0, UPDATES, frequency=1)
    return lambda model: prune_magnitude(model, schedule, scope=scope)


# name: (what wraps the network, epochs)
METHODS: dict[str, tuple[Wrap | None, int]] = {
    "plain": (None, 1),
    "tfmot": (_tfmot, 1),
    "swd": (_swd(), 1),
    "swd, no floors": (_swd(minimum_kept=0), 1),
    "swd, coupled": (_swd(penalty="coupled", mu=5e-4, a_min=0.1, a_max=100.0), 1),
    "swd, forward": (_swd(penalty="forward"), 1),
    "structured swd": (_structured, 1),
    "pgp": (_progressive("rpgp"), 2),
    "pgp, weight_change": (_progressive("weight_change"), 2),
    "magnitude": (_magnitude("layer"), 1),
    "magnitude, global": (_magnitude("global"), 1),
}
LABELS = {"tfmot": "TFMOT's wrapper", "plain": "plain fit, the peak itself"}


def status(field: str) -> int:
    """Returns a field of /proc/self/status in bytes, as "VmHWM", the peak of the resident memory."""
    (line,) = (each for each in Path("/proc/self/status").read_text().splitlines() if each.startswith(f"{field}:"))
    return int(line.split()[1]) * 1024


def reset_peak() -> None:
    """Sets VmHWM to the memory that is resident now."""
    Path("/proc/self/clear_refs").write_text("5")


class PhasePeaks:
    """Peaks of the resident memory of this process by phase, in bytes."""

    def __init__(self) -> None:
        self.peaks: dict[str, int] = {}
        self.at_start = status("VmRSS")
        reset_peak()

    def end(self, phase: str) -> None:
        self.peaks[phase] = status("VmHWM")
        reset_peak()

    def result(self) -> dict[str, Any]:
        """Returns the peaks, by phase and of the whole process.

        `ru_maxrss` is a check from another source: it is never lower, and higher only where the parent was larger.
        """
        return {
            "imports": self.at_start,
            "phases": dict(self.peaks),
            "peak": max(self.peaks.values()),
            "ru_maxrss": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        }


def dense_network(widths: tuple[int, ...]) -> Any:
    """Returns a network of dense layers of these widths, the input's first."""
    first, *others = widths
    layers = [keras.layers.Dense(width, activation="relu", kernel_initializer="he_normal") for width in others[:-1]] + [
        keras.layers.Dense(others[-1])
    ]
    return keras.Sequential([keras.Input((first,)), *layers])


def measure(method: str, size: str) -> dict[str, Any]:
    """Returns what one method takes for one network, in this process."""
    widths, _ = SIZES[size]
    wrap, epochs = METHODS[method]
    rng = np.random.default_rng(0)
    x = rng.normal(size=(UPDATES * BATCH, widths[0])).astype(np.float32)
    y = np.zeros((UPDATES * BATCH, widths[-1]), np.float32)
    keras.utils.set_random_seed(0)
    peaks = PhasePeaks()
    model = dense_network(widths)
    weights = model.count_params()
    peaks.end("build")
    callbacks: list[Any] = []
    if wrap is not None:
        model = wrap(model)
        package = tfmot.sparsity.keras if method == "tfmot" else tfmot_swd
        callbacks = [package.UpdatePruningStep()]
        peaks.end("wrap")
    model.compile(keras.optimizers.SGD(1e-4, momentum=0.9), "mse")
    model.fit(x, y, batch_size=BATCH, epochs=epochs, verbose=0, callbacks=callbacks)
    peaks.end("training")
    if wrap is not None:
        stripped = (tfmot.sparsity.keras if method == "tfmot" else tfmot_swd).strip_pruning(model)
        peaks.end("strip")
        tfmot_swd.sparsity_report(stripped)
        peaks.end("report")
    return {"weights": weights, **peaks.result()}


def _as_flag(name: str) -> str:
    """Returns a name without the commas that separate the entries of flags, and without spaces."""
    return name.replace(", ", "_").replace(" ", "_")


def _chosen(method: str, size: str) -> tuple[str, str]:
    """Returns the flags that choose one method and network."""
    return f"--methods={_as_flag(method)}", f"--sizes={_as_flag(size)}"


def _named(table: dict[str, Any], wanted: list[str] | None) -> list[str]:
    """Returns the names of a table that are asked for, or all of them."""
    names = {_as_flag(name): name for name in table}
    unknown = set(wanted or ()) - set(names)
    if unknown:
        raise app.UsageError(f"Known are {', '.join(names)}. Received: {', '.join(sorted(unknown))}")
    return [name for short, name in names.items() if wanted is None or short in wanted]


HEADING = ("method", *PHASES, "whole process", "spread")
NOTES = (
    "Bytes a weight beyond plain `fit`: the peak of the process while a phase lasts, and over all of them, less the "
    "peak of plain training, over the number of weights; the row of plain training has its own peak, all of which is "
    "counted, in bytes a weight. Negative: the phase needs less than plain training does. Median over the processes; "
    "spread is from the lowest to the highest.",
    f"Dense layers, float32, SGD with momentum, batch {BATCH}; the final pruning step is part of training. One process "
    "each, VmHWM, the allocator as it is by default.",
)


def table_of(journal: Journal, size: str) -> ResultTable:
    """Returns the bytes a weight of each method for one network."""
    results: dict[str, list[dict[str, Any]]] = {}
    for record in journal.records():
        if record["key"]["size"] == size:
            results.setdefault(record["key"]["method"], []).append(record["result"])
    plain = statistics.median(each["peak"] for each in results["plain"]) if "plain" in results else None
    rows = []
    for method in METHODS:
        if plain is None or method not in results:
            continue
        found, least = results[method], 0 if method == "plain" else plain
        weights = found[0]["weights"]

        def bytes_a_weight(peak: float, least: float = least, weights: int = weights) -> float:
            return (peak - least) / weights

        cells = []
        for phase in PHASES:
            peaks = [each["phases"][phase] for each in found if phase in each["phases"]]
            cells.append(f"{bytes_a_weight(statistics.median(peaks)):.1f}" if peaks else "")
        whole = [bytes_a_weight(each["peak"]) for each in found]
        cells += [f"{statistics.median(whole):.1f}", f"{max(whole) - min(whole):.1f}" if len(whole) > 1 else ""]
        rows.append((LABELS.get(method, method), *cells))
    widths, _ = SIZES[size]
    shape = f"{widths[0]} inputs, layers of {widths[1]}" if len(widths) > 3 else " x ".join(map(str, widths))
    return ResultTable(f"{size} weights ({shape})", HEADING, tuple(rows), left=("method",))


def main(_: list[str]) -> None:
    methods, sizes = _named(METHODS, flags.FLAGS.methods), _named(SIZES, flags.FLAGS.sizes)
    if flags.FLAGS.child:
        Path(flags.FLAGS.child).write_text(json.dumps(measure(methods[0], sizes[0])))
        return
    journal, console, failed = Journal(flags.FLAGS.journal), Console(width=140), []
    for size in sizes:
        for repeat in range(0 if flags.FLAGS.report else flags.FLAGS.repeats or SIZES[size][1]):
            for method in methods:
                key = {"method": method, "size": size, "rate": RATE, "repeat": repeat}
                if journal.done(key):
                    continue
                try:
                    journal.append(key, measure_apart("research.peak_memory", *_chosen(method, size)))
                except RuntimeError as error:
                    failed.append(f"{method}, {size}")
                    console.print(str(error), markup=False)
                    continue
                console.print(f"{size}, {method}: {journal.records()[-1]['result']['peak'] / 1e6:,.0f} MB")
    tables = [table for size in SIZES if (table := table_of(journal, size)).rows]
    for table in tables:
        console.print(table)
    if tables and Path(flags.FLAGS.journal) == RESULTS / "peak_memory.jsonl":
        first, *others = tables
        noted = ResultTable(first.title, first.heading, first.rows, first.left, NOTES)
        console.print(f"Written: {write_markdown(RESULTS / 'peak_memory.md', [noted, *others]).name}")
    if failed:
        raise SystemExit(f"Failed: {'; '.join(failed)}")


if __name__ == "__main__":
    # More threads have more arenas of the allocator; a fixed number makes machines comparable.
    tf.config.threading.set_intra_op_parallelism_threads(2)
    flags.DEFINE_list("methods", None, "which methods, as swd_coupled; all by default")
    flags.DEFINE_list("sizes", None, "which networks, as 30_M; all by default")
    flags.DEFINE_integer("repeats", 0, "processes of each; 0 for as many as each network has by default")
    flags.DEFINE_string("journal", str(RESULTS / "peak_memory.jsonl"), "the file of the results")
    flags.DEFINE_string("child", "", "used by this program itself: measure one method and write the result here")
    flags.DEFINE_bool("report", False, "only make the tables of what is there")
    app.run(main)
