"""The table of whole jobs, on records made up here, and the data that they train on."""

import numpy as np
import pytest
import tf_keras as keras

from research import foreign_jobs as benchmark

FILE = {"bytes": 51_000, "mean_difference": 2e-3, "agreement": 0.95}
DONE = {
    "macs": 2_000_000,
    "small_macs": 1_000_000,
    "parameters": 4_000,
    "small_parameters": 1_000,
    "loss_before": 1.4,
    "loss_after": 0.2,
    "strip_difference": 1e-7,
    "files": {"float32": FILE, "int8": FILE},
    "seconds": 12.0,
}


def record(method, result):
    return {"key": {"job": "U-Net", "code": "before", "method": method}, "result": result}


def test_a_job_that_failed_says_where_and_is_not_counted():
    failed = {"seconds": 3.0, "macs": 2_000_000, "failed": {"step": "wrap", "message": "ValueError: no\nchannels"}}
    no_file = {**DONE, "files": {"float32": FILE, "int8": {"error": "ExportError: a | b"}}}
    table = benchmark.table_of([record("dense", DONE), record("RPGP", failed), record("structured SWD", no_file)])
    assert table.title.startswith("1 of 3 jobs")
    first, second, third = (dict(zip(table.heading, row, strict=True)) for row in table.rows)
    assert (first["MACs, M"], first["parameters, k"]) == ("2 → 1", "4 → 1")
    assert (first["loss, first and last"], first["int8"]) == ("1.4 → 0.2", "2e-03, 95%, 51 kB")
    assert (second["failed"], second["MACs, M"], second["int8"]) == ("wrap: ValueError: no channels", "2", "")
    assert third["int8"] == "FAILED: ExportError: a \\| b"


@pytest.mark.parametrize("data", [benchmark.classified_images, benchmark.segmented_images, benchmark.taught_images])
def test_images_fit_the_network(data):
    inputs = keras.Input((16, 16, 3))
    model = keras.Model(inputs, keras.layers.Conv2D(3, 1)(inputs))
    x, y = data(model)
    assert x.shape == (benchmark.SAMPLES, 16, 16, 3)
    assert x.dtype == np.float32
    assert len(y) == len(x)
    assert abs(float(x.mean())) < 0.5


def test_the_job_says_which_step_failed(monkeypatch):
    job = benchmark.ALL["TCN for audio"]
    inputs = keras.Input((64, 16))
    x = keras.layers.GlobalAveragePooling1D()(keras.layers.Conv1D(8, 3)(inputs))
    model = keras.Model(inputs, keras.layers.Dense(benchmark.CLASSES)(x))
    monkeypatch.setattr(type(job.network), "build", lambda _: model)
    done = benchmark.run(job, "structured SWD")
    assert "failed" not in done, done
    assert done["small_macs"] <= done["macs"] / 2
    assert done["strip_difference"] < 1e-5
    assert done["loss_after"] < done["loss_before"]
    monkeypatch.setattr(benchmark.tfmot_swd, "strip_pruning", lambda _: 1 / 0)
    failed = benchmark.run(job, "RPGP")
    assert failed["failed"]["step"] == "strip"
    assert failed["failed"]["message"].startswith("ZeroDivisionError")
