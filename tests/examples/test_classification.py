"""The example from its command line to its files, on real images."""

import json

from tests.examples.example import check_refused, run_example


def test_from_the_command_line_to_files_that_run(tmp_path):
    small = (
        "--train_limit=640",
        "--epochs=2",
        "--network=lenet5",
        "--batch_size=64",
        "--filter_rate=0.7",
        "--rate=0.9",
    )
    methods = "--methods=swd,rpgp"
    done = run_example("classification", f"--output_dir={tmp_path}", methods, "--recipes=float32,int8", *small)
    assert done.returncode == 0, done.stderr[-3000:]

    names = {path.name for path in tmp_path.iterdir()}
    trained = ("swd", "rpgp")
    files = {f"{method}_{recipe}.tflite" for method in trained for recipe in ("float32", "int8")}
    assert names == files | {f"{method}.keras" for method in trained} | {"results.json", "run.png"}
    results = json.loads((tmp_path / "results.json").read_text())
    swd, rpgp = results["outcomes"]
    weights = swd["sparsity"]["prunable_weights"]
    assert swd["sparsity"]["nonzero_prunable_weights"] == weights - int(0.9 * weights)
    assert swd["exports"][0]["gzip_bytes"] < 0.5 * swd["exports"][0]["bytes"]
    assert results["command"].startswith("python -m examples.classification --output_dir=")
    assert "Trained models" in done.stdout
    assert f"{swd['test_accuracy']:.4f}" in done.stdout

    # Filters that leave make smaller files.
    assert [status["done"] for status in rpgp["filters"]] == [True]
    assert rpgp["macs"] < 0.2 * swd["macs"]
    # The whole network has 61,706 parameters of four bytes.
    assert rpgp["exports"][0]["bytes"] < 0.3 * 4 * 61_706
    assert rpgp["exports"][0]["worst_difference"] < 1e-3


def test_an_unknown_name_ends_with_the_known_ones(tmp_path):
    check_refused(
        "classification", "--methods=dense,magic", "--methods takes dense, swd.*Received: magic", tmp_path / "none"
    )
