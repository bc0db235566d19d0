"""The example from its command line to its files, on real digits."""

import json

from tests.examples.example import run_example


def test_from_the_command_line_to_a_file_that_runs(tmp_path):
    small = ("--train_limit=128", "--epochs=3", "--batch_size=32", "--methods=dense,rpgp")
    done = run_example(
        "domain_adaptation",
        "--source=uci_digits",
        "--target=mnist_5k",
        "--alignment=adversarial",
        f"--output_dir={tmp_path}",
        *small,
    )
    assert done.returncode == 0, done.stderr[-3000:]

    names = {f"{method}_0{ending}" for method in ("dense", "rpgp") for ending in (".keras", "_int8.tflite")}
    assert {path.name for path in tmp_path.iterdir()} == names | {"results.json", "domain_adaptation.png"}
    results = json.loads((tmp_path / "results.json").read_text())
    dense, pruned = results["outcomes"]
    assert results["command"].startswith("python -m examples.domain_adaptation --source=uci_digits")
    assert (results["source"], results["target"], results["recipe"]["alignment"]) == (
        "uci_digits",
        "mnist_5k",
        "adversarial",
    )
    assert [status["done"] for status in pruned["filters"]] == [True]
    assert pruned["macs"] < 0.3 * dense["macs"]
    assert pruned["export"]["bytes"] < 0.5 * dense["export"]["bytes"]
    assert pruned["export"]["samples"] == 1000
    assert "UCI digits → MNIST (5,000), adversarial: 128 images with labels" in " ".join(done.stdout.split())
    assert f"{100 * pruned['target_accuracy']:.2f}" in done.stdout
