"""Networks within a budget of parameters: structured SWD beside L1 on scales, prune-once, RPGP and narrower dense nets.

    python -m research.structured --case=resnet20      # then --case=vgg8; side by side on two cores
    python -m research.structured --structured_times   # afterwards, on an idle machine
    python -m research.structured --structured_report

Resumable: each finished run is one line of `research/results/structured_<case>.jsonl`, the most telling rates first.
The rate is the share of all parameters that is removed; every method ends within the same budget, all channels that can
leave being ranked. Choices are made on the validation split; the test split is scored once, at the end of each run.
The accuracy before the cut and after it is that of the validation split. Times are those of TFLite files on one thread,
of networks of the same sizes, all files of a case in turn: `structured_times.jsonl` has what was measured last.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from absl import app, flags
from rich.console import Console

from examples.datasets import ImageData
from examples.networks import NETWORKS
from examples.training import accuracy
from research.cases import Case, mean, panel_of, run_missing, sizes_of, times_of, use_one_thread
from research.cifar10_jpeg import TITLE
from research.journal import Journal
from research.sized import of_sizes
from research.tables import ResultTable, draw_panels, write_markdown
from tfmot_swd import profile
from tfmot_swd.tflite import export_tflite, file_bytes
from tfmot_swd.tflite.latency import measure_latency

RESULTS = Path(__file__).parent / "results"
LABELS = {
    "dense": "dense",
    "structured": "SWD (default)",
    "structured_paper": "SWD (as published)",
    "slimming": "slimming + fine-tune",
    "smooth_l1": "smooth L1 on scales + fine-tune",
    "l1_budget": "L1 once + fine-tune",
    "rpgp_budget": "RPGP",
    "narrow_dense": "dense, narrower",
    "structured_by_scale": "SWD, by scales",
    "structured_scale": "SWD, by scales, and they alone decayed",
    "structured_magnitude": "SWD, by magnitude",
    "structured_layer": "SWD, per layer",
}
VARIANTS = ("smooth_l1", "structured_by_scale", "structured_scale", "structured_magnitude", "structured_layer")
CASES = {
    case.name: case
    for case in (
        Case("resnet20", f"{TITLE}, ResNet-20/16", "cifar10_jpeg", "resnet20", 5_000, 9, 64, True),
        Case("vgg8", "Fashion-MNIST, VGG-like", "fashion_mnist", "vgg8", 5_000, 9, 64, False),
    )
}
# In the order in which they are worth running.
RATES = (0.9, 0.975, 0.95, 0.99, 0.8, 0.5)

CASE = flags.DEFINE_enum("case", "resnet20", list(CASES), "which network on which data")
SEEDS = flags.DEFINE_integer("structured_seeds", 1, "how many seeds")
RATES_FLAG = flags.DEFINE_list("structured_rates", list(map(str, RATES)), "only these rates")
METHODS_FLAG = flags.DEFINE_list(
    "structured_methods", [each for each in LABELS if each not in VARIANTS], "which methods"
)
TIMES = flags.DEFINE_bool("structured_times", False, "time networks of the sizes that are there")
REPORT = flags.DEFINE_bool("structured_report", False, "only print the tables and draw the plot of what is there")


def journal_of(name: str) -> Journal:
    return Journal(RESULTS / f"structured_{name}.jsonl")


def keys(name: str) -> Iterator[dict[str, Any]]:
    """Yields the keys of all runs that are asked for, the most telling first."""
    for seed in range(SEEDS.value):
        if "dense" in METHODS_FLAG.value:
            yield CASES[name].key("dense", 0.0, seed)
        for rate in map(float, RATES_FLAG.value):
            for method in METHODS_FLAG.value:
                if method != "dense":
                    yield CASES[name].key(method, rate, seed)


def run(key: dict[str, Any], data: ImageData) -> dict[str, Any]:
    """Trains one run and returns what the journal keeps of it."""
    trained = CASES[key["case"]].train(key, data)
    found = profile(trained.model)
    result = {
        "validation_accuracy": trained.validation_accuracy,
        "test_accuracy": accuracy(trained.model, data.to_float(data.test_x), data.test_y),
        "parameters": found.parameters,
        "macs": found.macs,
        "activation_bytes": found.activation_bytes,
        "int8_bytes": file_bytes(trained.model, "int8"),
        "sizes": [int(each.shape[-1]) for each in trained.model.weights if len(each.shape) > 1],
        "seconds": trained.seconds,
    }
    if trained.final_step is not None and trained.final_step.before and trained.final_step.after:
        result["before_cut"] = trained.final_step.before["accuracy"]
        result["after_cut"] = trained.final_step.after["accuracy"]
    return result


def times_journal() -> Journal:
    return Journal(RESULTS / "structured_times.jsonl")


def measure_times(name: str, console: Console) -> None:
    """Times the files of all networks of a case in turn, unless these very networks have been timed."""
    case, journal = CASES[name], times_journal()
    sizes = sizes_of(case.results(journal_of(name)))
    key = {"case": name, "sizes": sizes}
    if not sizes or journal.done(key):
        return
    data = case.load()
    x = data.to_float(data.train_x[:100])
    whole = NETWORKS[case.network](data.input_shape, data.num_classes)
    files = {}
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "model.tflite"
        for run, found in sizes.items():
            for recipe in TIMED:
                export_tflite(of_sizes(whole, found), path, recipe, x, min_agreement=0.0)
                files[f"{run} {recipe}"] = path.read_bytes()
    latencies = measure_latency(files, threads=(1,), rounds=100)
    journal.append(key, {"milliseconds": {each.name: each.median_ms for each in latencies}})
    console.print(f"{CASES[name].title}: {len(files)} files timed")


TIMED = ("float32", "int8")
HEADING = (
    *("parameters removed", "method", "before the cut", "after it", "channels out", "test %", "parameters"),
    *("MACs", "int8 bytes", *(f"{recipe}, ms" for recipe in TIMED)),
)


def table_of(name: str) -> ResultTable:
    """Returns a row for each method and rate that has a result."""
    found = CASES[name].results(journal_of(name))
    times = times_of(times_journal(), sizes_of(found))
    rows = []
    for (method, rate), runs in sorted(found.items(), key=lambda item: (item[0][1], list(LABELS).index(item[0][0]))):
        seeds = f" ({len(runs)})" if len(runs) > 1 else ""
        cut = [f"{100 * mean(runs, each):.2f}" if each in runs[0] else "" for each in ("before_cut", "after_cut")]
        rows.append(
            (
                f"{rate:.1%}",
                LABELS[method] + seeds,
                *cut,
                f"{100 * mean(runs, 'validation_accuracy'):.2f}",
                f"{100 * mean(runs, 'test_accuracy'):.2f}",
                f"{mean(runs, 'parameters'):,.0f}",
                f"{mean(runs, 'macs') / 1e6:.2f} M",
                f"{mean(runs, 'int8_bytes'):,.0f}",
                *(f"{times[each]:.3f}" if each in times else "" for each in _timed(method, rate)),
            )
        )
    return ResultTable(CASES[name].heading, HEADING, tuple(rows), left=("method",))


def _timed(method: str, rate: float) -> list[str]:
    return [f"{method} {rate:g} {recipe}" for recipe in TIMED]


def main(_: list[str]) -> None:
    console = Console(width=170)
    if TIMES.value:
        for name in CASES:
            measure_times(name, console)
    elif not REPORT.value:
        use_one_thread()
        data = CASES[CASE.value].load()
        run_missing(journal_of(CASE.value), keys(CASE.value), lambda key: run(key, data), console)
        console.print(table_of(CASE.value))
        return
    names = [name for name in CASES if journal_of(name).records()]
    tables = [table_of(name) for name in names]
    console.print(*tables)
    written = write_markdown(RESULTS / "structured.md", tables)
    unit = 1024, "int8 file, KiB"
    panels = [
        panel_of(CASES[name].title, CASES[name].results(journal_of(name)), LABELS, "int8_bytes", unit, "structured")
        for name in names
    ]
    drawn = draw_panels(RESULTS / "structured.png", panels)
    console.print(f"Written: {written.name}, {drawn.name}")


if __name__ == "__main__":
    app.run(main)
