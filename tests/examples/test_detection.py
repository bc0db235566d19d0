"""The example from its command line to its files, on scenes of real images."""

import json

import pytest

from examples.detection_network import detector
from tests.examples.example import check_refused, run_example
from tfmot_swd import profile


def test_from_the_command_line_to_files(tmp_path):
    small = ("--dataset=fashion_scenes/tiny", "--epochs=6", "--width=8", "--batch_size=4", "--learning_rate=0.01")
    done = run_example("detection", "--methods=rpgp", f"--output_dir={tmp_path}", "--round_to=4", *small)
    assert done.returncode == 0, done.stderr[-3000:]

    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"rpgp_float32.tflite", "rpgp_int8.tflite", "rpgp.keras", "results.json", "scenes.png"}
    results = json.loads((tmp_path / "results.json").read_text())
    (pruned,) = results["outcomes"]
    assert pruned["filters"][-1]["done"]
    assert pruned["macs"] < 0.35 * profile(detector((96, 96, 1), 10, width=8)).macs
    as_float, as_int8 = pruned["files"]
    assert pruned["test"]["at_half"] > 0.05
    assert as_float["test"] == pytest.approx(pruned["test"], abs=0.002)
    assert as_int8["test"]["at_half"] == pytest.approx(pruned["test"]["at_half"], rel=0.3)
    assert (as_int8["path"], as_int8["recipe"]) == ("rpgp_int8.tflite", "int8")
    assert as_int8["bytes"] < 0.5 * as_float["bytes"]
    assert results["command"].startswith("python -m examples.detection --methods=rpgp --output_dir=")
    assert "TFLite files, decoded and scored" in done.stdout
    assert f"{pruned['test']['at_half']:.4f}" in done.stdout


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--batch_size=128", "--batch_size must be 96 or less, as many as there are. Received: 128"),
        ("--dataset=mnist", "name must be a dataset of images with objects"),
    ],
)
def test_what_cannot_be_trained_is_refused_before_anything_is_written(argument, message, tmp_path):
    check_refused("detection", argument, message, tmp_path / "none", "--dataset=fashion_scenes/tiny")
