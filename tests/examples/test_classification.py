"""The example from its command line to its files, on real images."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run(*arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "examples.classification", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=dict(os.environ))


def test_from_the_command_line_to_a_file_that_runs(tmp_path):
    small = ("--train_limit=1280", "--epochs=1", "--network=lenet5", "--rate=0.9")
    done = run(f"--output_dir={tmp_path}", "--recipes=float32,int8", *small)
    assert done.returncode == 0, done.stderr[-3000:]

    names = {path.name for path in tmp_path.iterdir()}
    files = {f"{method}_{recipe}.tflite" for method in ("dense", "swd") for recipe in ("float32", "int8")}
    assert names == files | {"dense.keras", "swd.keras", "results.json", "run.png"}
    results = json.loads((tmp_path / "results.json").read_text())
    dense, swd = results["outcomes"]
    assert swd["sparsity"]["pool_kept"] == swd["sparsity"]["pool"] - int(0.9 * swd["sparsity"]["pool"])
    assert swd["exports"][0]["gzip_bytes"] < 0.5 * dense["exports"][0]["gzip_bytes"]
    assert results["command"].startswith("python -m examples.classification --output_dir=")
    assert "Trained models" in done.stdout
    assert f"{swd['test_accuracy']:.4f}" in done.stdout


def test_filters_that_leave_make_a_smaller_file(tmp_path):
    small = ("--train_limit=640", "--epochs=2", "--network=vgg8", "--batch_size=64", "--filter_rate=0.7")
    done = run("--method=dense,rpgp", f"--output_dir={tmp_path}", "--recipes=float32", *small)
    assert done.returncode == 0, done.stderr[-3000:]
    dense, pruned = json.loads((tmp_path / "results.json").read_text())["outcomes"]
    assert [status["done"] for status in pruned["filters"]] == [True]
    assert pruned["macs"] < 0.2 * dense["macs"]
    assert pruned["exports"][0]["bytes"] < 0.2 * dense["exports"][0]["bytes"]
    assert pruned["exports"][0]["worst_difference"] < 1e-3


def test_channels_are_brought_within_a_budget(tmp_path):
    small = ("--train_limit=640", "--epochs=2", "--network=vgg8", "--batch_size=64", "--rate=0.8")
    done = run("--method=dense,structured", f"--output_dir={tmp_path}", "--recipes=float32", *small)
    assert done.returncode == 0, done.stderr[-3000:]
    dense, pruned = json.loads((tmp_path / "results.json").read_text())["outcomes"]
    parameters = pruned["parameters_without_dead_channels"]
    assert parameters <= 0.2 * dense["parameters_without_dead_channels"]
    assert pruned["channels"][-1]["costs"] == {"parameters": parameters}
    assert pruned["exports"][0]["bytes"] < 0.3 * dense["exports"][0]["bytes"]
    assert pruned["exports"][0]["worst_difference"] < 1e-3


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--methods=dense,magic", "--methods takes dense, swd.*Received: magic"),
        ("--recipes=int7", "--recipes takes float32.*Received: int7"),
    ],
)
def test_an_unknown_name_ends_with_the_known_ones(argument, message, tmp_path):
    done = run(argument, f"--output_dir={tmp_path / 'none'}")
    assert done.returncode != 0
    said = " ".join((done.stdout + done.stderr).split())
    assert re.search(message, said), said
    assert not (tmp_path / "none").exists()
