"""What saves flash, RAM and time on a microcontroller: scattered zeros kept encoded, or channels that are gone.

    python -m research.flash                    # trains, exports, runs all files in TensorFlow Lite Micro
    python -m research.flash --flash_times      # afterwards, on an idle machine: time on this host, in turn
    python -m research.flash --flash_report

Resumable: each finished run is one line of `research/results/flash.jsonl`. SWD gives one model and two
files: plain int8, and int8 with its zeros taken out of flash (`int8_pruned`); structured SWD gives a smaller model.
Accuracy is that of the int8 file in LiteRT on the whole test split, and that of each file in TensorFlow Lite Micro on
every twentieth of its images; what the two files of a model answer there is compared to the bit.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from absl import app, flags
from rich.console import Console

from examples.datasets import ImageData
from research.cases import Case, use_one_thread
from research.cifar10_jpeg import TITLE
from research.journal import Journal
from research.mlperf_tiny import cache
from research.tables import ResultTable, save_figure, write_markdown
from tfmot_swd import profile, sparsity_report
from tfmot_swd.channels import remove_dead_channels
from tfmot_swd.tflite import export_tflite
from tfmot_swd.tflite.micro import run_micro, time_micro

RESULTS = Path(__file__).parent / "results"
CASE = Case("resnet8", f"{TITLE}, ResNet-8", "cifar10_jpeg", "resnet8", 8_000, 10, 64, True)
# Rates are shares of the prunable weights for "swd", of all parameters for "structured".
RUNS = {"dense": (0.0,), "swd": (0.8, 0.9, 0.95, 0.5), "structured": (0.5, 0.8, 0.9)}
FORMS = {"int8": "int8", "int8_pruned": "int8, zeros encoded"}
LABELS = {"dense": "dense", "swd": "SWD", "structured": "structured SWD"}
# Of the test images, which lie sorted by class, for the slow interpreter.
EVERY = 20

TIMES = flags.DEFINE_bool("flash_times", False, "measure the times of the files that are there")
REPORT = flags.DEFINE_bool("flash_report", False, "only print the table and draw the plot of what is there")


def files() -> Path:
    """Returns the folder in which the files stay until their times are measured."""
    return cache().parent / "flash"


def path_of(method: str, rate: float, form: str) -> Path:
    return files() / f"{method}_{rate:g}_{form}.tflite"


def keys() -> Iterator[dict[str, Any]]:
    for method, rates in RUNS.items():
        for rate in rates:
            yield CASE.key(method, rate, 0)


def run(key: dict[str, Any], data: ImageData) -> dict[str, Any]:
    """Trains one run, exports both files and runs them in TensorFlow Lite Micro."""
    trained = CASE.train(key, data)
    model = remove_dead_channels(trained.model)
    found = profile(model)
    representative = data.to_float(data.train_x[:500])
    check = data.to_float(data.test_x), data.test_y
    few = check[0][::EVERY], check[1][::EVERY]
    result: dict[str, Any] = {
        "validation_accuracy": trained.validation_accuracy,
        "parameters": found.parameters,
        "macs": found.macs,
        "non_zero": sparsity_report(model).nonzero_prunable_weights,
        "seconds": trained.seconds,
    }
    for form in FORMS:
        path = path_of(key["method"], key["rate"], form)
        exported = export_tflite(model, path, form, representative, check if form == "int8" else few)
        result[form] = {"bytes": exported.bytes}
        if form == "int8":
            result[form].update(accuracy=exported.accuracy, keras_accuracy=exported.keras_accuracy)
    return result


def micro_key(key: dict[str, Any]) -> dict[str, Any]:
    return {"what": "micro", "every": EVERY, **key}


def run_micro_on(key: dict[str, Any], data: ImageData) -> dict[str, Any]:
    """Runs both files of a model in TensorFlow Lite Micro."""
    x, y = data.to_float(data.test_x[::EVERY]), data.test_y[::EVERY]
    found, answers = {}, []
    for form in FORMS:
        ran = run_micro(path_of(key["method"], key["rate"], form).read_bytes(), {"image": x})
        (logits,) = ran.outputs.values()
        answers.append(logits)
        found[form] = {"arena_bytes": ran.arena_bytes, "accuracy": float((logits.argmax(axis=1) == y).mean())}
    return {**found, "images": len(x), "equal": bool(np.array_equal(answers[0], answers[1]))}


def run_missing(journal: Journal, console: Console) -> None:
    use_one_thread()
    data = CASE.load()
    for key in keys():
        if not journal.done(key):
            result = run(key, data)
            journal.append(key, result)
            sizes = ", ".join(f"{form} {result[form]['bytes']:,}" for form in FORMS)
            console.print(f"{key['method']} {key['rate']:.0%}: {sizes}, {result['int8']['accuracy']:.4f}")
        if not journal.done(micro_key(key)):
            journal.append(micro_key(key), run_micro_on(key, data))


def measure_times(journal: Journal, console: Console) -> None:
    """Times all files in turn, so that what else happens on the machine meets all alike."""
    content = {
        f"{key['method']}_{key['rate']:g}_{form}": path_of(key["method"], key["rate"], form).read_bytes()
        for key in keys()
        for form in FORMS
        if path_of(key["method"], key["rate"], form).is_file()
    }
    key = {"case": CASE.name, "what": "milliseconds", "files": sorted(content)}
    if not journal.done(key):
        found = time_micro(list(content.values()), rounds=30)
        journal.append(key, {"milliseconds": {name: each.least for name, each in zip(content, found, strict=True)}})
    console.print(f"{len(content)} files timed")


HEADING = (
    *("method", "removed", "file", "flash, bytes", "share", "arena, bytes", "MACs", "time", "test %, LiteRT"),
    *("Micro %", "as plain int8"),
)


def results(journal: Journal) -> dict[tuple[str, float], dict[str, Any]]:
    """Returns what is known of each model, its files' runs in TensorFlow Lite Micro under "micro"."""
    found: dict[tuple[str, float], dict[str, Any]] = {}
    for record in journal.records():
        key = record["key"]
        if {**key, **CASE.key(key.get("method", ""), key.get("rate", 0.0), 0)} != key:
            continue
        known = found.setdefault((key["method"], key["rate"]), {})
        known.update({"micro": record["result"]} if key.get("what") == "micro" else record["result"])
    return {key: each for key, each in found.items() if "int8" in each and "micro" in each}


def table_of(journal: Journal) -> ResultTable:
    found = results(journal)
    times: dict[str, float] = {}
    for record in journal.records():
        times.update(record["result"].get("milliseconds", {}))
    dense = found[("dense", 0.0)]
    rows = []
    for method, rates in RUNS.items():
        for rate in sorted(rates):
            for form, title in FORMS.items():
                if (method, rate) not in found or (form == "int8_pruned" and method != "swd"):
                    continue
                result = found[(method, rate)]
                micro, name = result["micro"], f"{method}_{rate:g}_{form}"
                rows.append(
                    (
                        LABELS[method],
                        f"{rate:.0%}",
                        title,
                        f"{result[form]['bytes']:,}",
                        f"{result[form]['bytes'] / dense['int8']['bytes']:.2f}",
                        f"{micro[form]['arena_bytes']:,}",
                        f"{result['macs'] / 1e6:.2f} M",
                        f"{times[name] / times['dense_0_int8']:.2f}" if name in times else "",
                        f"{100 * result['int8']['accuracy']:.2f}" if form == "int8" else "",
                        f"{100 * micro[form]['accuracy']:.1f}",
                        "" if form == "int8" else "to the bit" if micro["equal"] else "NO",
                    )
                )
    return ResultTable(CASE.heading, HEADING, tuple(rows), left=("method", "file"))


def draw(journal: Journal) -> Path:
    """Draws accuracy against flash, RAM and work, by method."""
    found = results(journal)
    figure, panels = plt.subplots(1, 3, figsize=(15, 4.4), sharey=True)
    lines = (
        ("swd", "int8", "SWD, plain int8", "o-"),
        ("swd", "int8_pruned", "SWD, zeros encoded", "s--"),
        ("structured", "int8", "structured SWD, int8", "^-"),
    )
    for method, form, label, style in lines:
        points = sorted((rate, result) for (each, rate), result in found.items() if each in (method, "dense"))
        accuracies = [100 * result["int8"]["accuracy"] for _, result in points]
        forms = [form if rate else "int8" for rate, _ in points]
        costs = (
            [result[each]["bytes"] / 1024 for each, (_, result) in zip(forms, points, strict=True)],
            [result["micro"][each]["arena_bytes"] / 1024 for each, (_, result) in zip(forms, points, strict=True)],
            [result["macs"] / 1e6 for _, result in points],
        )
        for panel, cost in zip(panels, costs, strict=True):
            panel.plot(cost, accuracies, style, label=label)
    for panel, title in zip(panels, ("flash: file, KiB", "RAM: arena, KiB", "time: million MACs"), strict=True):
        panel.set_xlabel(title)
        panel.grid(alpha=0.3)
        panel.set_xlim(left=0)
    panels[0].set_ylabel("test accuracy of the int8 file (%)")
    panels[0].legend(fontsize=8)
    figure.suptitle(CASE.title)
    return save_figure(figure, RESULTS / "flash.png")


def main(_: list[str]) -> None:
    console = Console(width=150)
    journal = Journal(RESULTS / "flash.jsonl")
    if TIMES.value:
        measure_times(journal, console)
    elif not REPORT.value:
        run_missing(journal, console)
    table = table_of(journal)
    console.print(table)
    written = write_markdown(RESULTS / "flash.md", [table])
    console.print(f"Written: {written.name}, {draw(journal).name}")


if __name__ == "__main__":
    app.run(main)
