"""The example from its command line to its files, on real images."""

import json

from tests.examples.example import check_refused, run_example


def test_from_the_command_line_to_a_file_that_runs(tmp_path):
    small = ("--train_limit=1280", "--epochs=1", "--network=lenet5", "--rate=0.9")
    done = run_example("classification", f"--output_dir={tmp_path}", "--recipes=float32,int8", *small)
    assert done.returncode == 0, done.stderr[-3000:]

    names = {path.name for path in tmp_path.iterdir()}
    files = {f"{method}_{recipe}.tflite" for method in ("dense", "swd") for recipe in ("float32", "int8")}
    assert names == files | {"dense.keras", "swd.keras", "results.json", "run.png"}
    results = json.loads((tmp_path / "results.json").read_text())
    dense, swd = results["outcomes"]
    weights = swd["sparsity"]["prunable_weights"]
    assert swd["sparsity"]["nonzero_prunable_weights"] == weights - int(0.9 * weights)
    assert swd["exports"][0]["gzip_bytes"] < 0.5 * dense["exports"][0]["gzip_bytes"]
    assert results["command"].startswith("python -m examples.classification --output_dir=")
    assert "Trained models" in done.stdout
    assert f"{swd['test_accuracy']:.4f}" in done.stdout


def test_filters_and_channels_that_leave_make_smaller_files(tmp_path):
    small = (
        "--train_limit=640",
        "--epochs=2",
        "--network=lenet5",
        "--batch_size=64",
        "--filter_rate=0.7",
        "--rate=0.8",
    )
    methods = "--methods=dense,rpgp,structured"
    done = run_example("classification", methods, f"--output_dir={tmp_path}", "--recipes=float32", *small)
    assert done.returncode == 0, done.stderr[-3000:]
    dense, rpgp, structured = json.loads((tmp_path / "results.json").read_text())["outcomes"]
    assert [status["done"] for status in rpgp["filters"]] == [True]
    assert rpgp["macs"] < 0.2 * dense["macs"]
    parameters = structured["parameters_without_dead_channels"]
    assert parameters <= 0.2 * dense["parameters_without_dead_channels"]
    assert structured["channels"][-1]["costs"] == {"parameters": parameters}
    for pruned in (rpgp, structured):
        assert pruned["exports"][0]["bytes"] < 0.3 * dense["exports"][0]["bytes"]
        assert pruned["exports"][0]["worst_difference"] < 1e-3


def test_an_unknown_name_ends_with_the_known_ones(tmp_path):
    check_refused(
        "classification", "--methods=dense,magic", "--methods takes dense, swd.*Received: magic", tmp_path / "none"
    )
