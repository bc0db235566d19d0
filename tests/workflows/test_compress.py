"""Compression in one call: the folder, the files and the result; nothing is overwritten, and a crash costs little."""

import dataclasses
import json
import re

import keras as keras3
import numpy as np
import pytest
import tf_keras as keras

from tests.workflows.nets import TRAIN, VALIDATION, Cut, ladder
from tfmot_swd import Budget
from tfmot_swd.costs import LatencyCost, LatencyTable, OperatorTime
from tfmot_swd.costs import cost as costs
from tfmot_swd.tflite import ExportError
from tfmot_swd.workflows import compress, file_exports, firmware
from tfmot_swd.workflows.file_exports import Exporter
from tfmot_swd.workflows.goal import Goal
from tfmot_swd.workflows.job import Job, job_of
from tfmot_swd.workflows.training import Training


def run(output, net=None, **options):
    return compress(net or ladder(), TRAIN, VALIDATION, output=output, epochs=2, verbose=0, measure=False, **options)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Returns the result of a real training of a Keras 3 model, and its folder."""
    folder = tmp_path_factory.mktemp("jobs") / "small"
    return run(folder, ladder(keras3), budget=0.5, batch_size=20, learning_rate=0.01, firmware=True), folder


def test_everything_is_in_the_folder_and_in_the_result(trained):
    found, folder = trained
    assert sorted(str(each.relative_to(folder)) for each in folder.rglob("*") if each.is_file()) == [
        "files/dense_float32.tflite",
        "files/dense_int8.tflite",
        "files/model_float32.tflite",
        "files/model_int8.tflite",
        "firmware/CMakeLists.txt",
        "firmware/README.md",
        "firmware/golden.c",
        "firmware/golden.h",
        "firmware/main.cc",
        "firmware/model.c",
        "firmware/model.h",
        "model.keras",
        "report.html",
        "report.json",
        "result.json",
        "trials/journal.jsonl",
        "trials/pruned.keras",
    ]
    small = keras3.models.load_model(folder / "model.keras")
    np.testing.assert_allclose(small(VALIDATION[0]), found.model(VALIDATION[0]), rtol=1e-6)
    assert found.costs["parameters"] == (72, small.count_params())
    assert small.count_params() <= 36
    error = float(np.abs(np.asarray(small(VALIDATION[0])) - 36).mean())
    assert (found.met, found.metric, found.baseline) == (True, "mae", 0.0)
    assert found.value == pytest.approx(error, rel=1e-3)
    for each in found.files:
        path = folder / "files" / f"model_{each.recipe}.tflite"
        assert (each.path, each.bytes) == (str(path), path.stat().st_size)
        assert each.dense_bytes == (folder / "files" / f"dense_{each.recipe}.tflite").stat().st_size
        assert not each.failure
    assert found.files[0].metric == pytest.approx(error, rel=1e-3)


def test_the_result_and_the_report_say_the_same(trained):
    found, folder = trained
    assert json.loads((folder / "result.json").read_text()) == json.loads(json.dumps(found.to_dict()))
    report = json.loads((folder / "report.json").read_text())
    assert report["metric"] == "mae"
    assert report["small_score"] == pytest.approx(found.value, rel=1e-3)
    # Curves of the training that was made.
    assert report["panels"]
    text = str(found)
    assert "model_int8.tflite" in text
    # How wide a column is depends on the length of the folder's name.
    assert re.search(rf"│ validation mae +│ +0\.0000 │ +{found.value:.4f} │", text)


def test_the_firmware_runs_the_int8_file_on_validation_samples(trained):
    found, folder = trained
    project = found.firmware
    assert (str(project.folder), project.samples, found.firmware_failure) == (str(folder / "firmware"), 4, "")
    assert project.model_bytes == (folder / "files" / "model_int8.tflite").stat().st_size
    assert "golden data, 4 samples" in str(found)


def classifier(metrics=("accuracy",), **options):
    """Returns a net of two classes, not trained, and samples of which it names the class of 30 of 40."""
    inputs = keras.Input((8,), name="x")
    hidden = keras.layers.Dense(8, use_bias=False, name="hidden")(inputs)
    net = keras.Model(inputs, keras.layers.Dense(2, use_bias=False, activation="softmax", name="head")(hidden))
    net.set_weights([np.eye(8), np.stack([np.ones(8), -np.ones(8)], axis=1)])
    net.compile("sgd", "sparse_categorical_crossentropy", metrics=list(metrics), **options)
    x = np.random.default_rng(1).uniform(0.5, 1.0, (40, 8)).astype("float32")
    return net, x, np.repeat([0, 1], [30, 10])


def test_the_loss_is_no_accuracy_of_a_file(monkeypatch, tmp_path):
    monkeypatch.setattr(Job, "trained_to", Cut())
    net, x, y = classifier()
    found = compress(
        net, (x, y), (x, y), output=tmp_path, budget=0.5, metric="loss", recipes=["float32"], measure=False, verbose=0
    )
    assert found.metric == "loss"
    assert found.value > 1.0
    assert found.files[0].bytes
    assert found.files[0].metric is None


def test_a_recipe_that_its_inputs_rule_out_is_refused_before_any_training(monkeypatch, tmp_path):
    made = Cut()
    monkeypatch.setattr(Job, "trained_to", made)
    net = keras.Sequential([keras.layers.Conv2D(2, 3, input_shape=(None, None, 1)), keras.layers.GlobalMaxPooling2D()])
    net.compile("sgd", "mse", metrics=["mae"])
    data = np.ones((4, 5, 5, 1), "float32"), np.ones((4, 2), "float32")
    with pytest.raises(ValueError, match="'int8_pruned' is for TFLite Micro"):
        compress(net, data, data, output=tmp_path, budget=0.5, recipes=["float32", "int8_pruned"], verbose=0)
    assert made.goals == []


def test_a_value_error_of_one_recipe_costs_no_other(monkeypatch, tmp_path):
    monkeypatch.setattr(Job, "trained_to", Cut())
    whole = Exporter._export

    def fails(self, model, path, recipe):
        if recipe == "float16" or (recipe == "dynamic" and path.name.startswith("dense")):
            raise ValueError("no such sizes")
        return whole(self, model, path, recipe)

    monkeypatch.setattr(Exporter, "_export", fails)
    found = run(tmp_path, budget=0.5, recipes=["float16", "float32", "dynamic"])
    assert [each.failure for each in found.files] == ["no such sizes", "", ""]
    assert [bool(each.dense_bytes) for each in found.files] == [False, True, False]


@pytest.mark.parametrize("is_weighted", [True, False])
def test_files_have_no_metric_where_sample_weights_count_in_it(is_weighted, monkeypatch, tmp_path):
    monkeypatch.setattr(Job, "trained_to", Cut())
    kind = "weighted_metrics" if is_weighted else "metrics"
    net, x, y = classifier(**{"metrics": (), kind: ["accuracy"]})
    # The samples that it gets right count a third of the others.
    data = x, y, np.where(y == 0, 1.0, 3.0)
    found = compress(net, data, data, output=tmp_path, budget=0.5, recipes=["float32"], measure=False, verbose=0)
    assert found.baseline == pytest.approx(0.5 if is_weighted else 0.75)
    assert found.files[0].metric == (None if is_weighted else pytest.approx(found.value))
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["metric"] == ("accuracy without sample weights" if is_weighted else "accuracy")
    assert ("weighted by the samples' weights" in " ".join(str(found).split())) == is_weighted
    # Not even by the measuring of it.
    assert found.model.optimizer is None


def test_a_file_larger_than_its_budget_is_said_first_and_is_not_met(monkeypatch, tmp_path):
    monkeypatch.setattr(Job, "trained_to", lambda job, goal, backup_dir: Cut()(job, Goal("structured", rate=0.1)))
    found = run(tmp_path, budget=Budget(bytes=0.9, recipe="float32"), recipes=["float32"])
    file = found.files[0]
    assert file.bytes > int(0.9 * file.dense_bytes)
    assert not found.met
    words = f"the float32 file has {file.bytes:,} bytes of {int(0.9 * file.dense_bytes):,}"
    assert words in found.budget_failure
    assert " ".join(str(found).split()).startswith(f"The budget was not met: {words}")


def test_a_model_over_its_budget_is_said_first_and_is_not_met(monkeypatch, tmp_path):
    # As a training with a frozen base ends.
    monkeypatch.setattr(Job, "trained_to", lambda job, goal, backup_dir: Cut()(job, Goal("structured", rate=0.1)))
    found = run(tmp_path, budget=0.5, recipes=["float32"])
    words = "The budget was not met: the model has parameters=63 and was to have 36 at most."
    assert not found.met
    assert found.budget_failure.startswith(words)
    assert " ".join(str(found).split()).startswith(words)


def test_a_floor_is_the_worst_value_of_the_metric(monkeypatch, tmp_path):
    monkeypatch.setattr(Job, "trained_to", Cut())
    found = run(tmp_path, floor=4.0, recipes=["float32"])
    # As `smallest` finds it: six channels are left, and the error of the two weakest, 1 + 2.
    assert (found.met, found.search.floor, found.search.trial.cost) == (True, 4.0, 54)
    assert found.value == pytest.approx(3.0, abs=1e-4)


@pytest.mark.parametrize("options", [{"budget": "latency"}, {"floor": 4.0, "by": "latency"}])
def test_a_job_goes_on_with_the_latency_table_that_it_began_with_and_no_other(options, monkeypatch, tmp_path):
    def cost(start):
        # 2 + start µs a dense layer and 1 µs a MAC, in a file of another date.
        times = (OperatorTime("int8", "dense", start, 1.0, 0.0),)
        return LatencyCost(LatencyTable(times, device="a device", date="2027-01-31"))

    def compressed(start):
        monkeypatch.setitem(costs._COSTS, "latency", cost(start))
        budget = {"budget": Budget(latency=0.5)} if "budget" in options else {}
        return run(tmp_path, recipes=["float32"], **{**options, **budget})

    monkeypatch.setattr(Job, "trained_to", Cut())
    monkeypatch.setattr(Exporter, "pruned", None)
    with pytest.raises(TypeError):
        compressed(2.0)
    monkeypatch.undo()
    monkeypatch.setattr(Job, "trained_to", None)
    with pytest.raises(ValueError, match="of another job, with another cost of latency: choose another path"):
        compressed(3.0)
    assert compressed(2.0).costs["parameters"][0] == 72


def test_curves_of_a_resumed_training_begin_where_it_was_resumed(monkeypatch, tmp_path):
    monkeypatch.setattr(
        Job, "trained_to", lambda job, goal, backup_dir: dataclasses.replace(Cut()(job, goal), first_epoch=3)
    )
    run(tmp_path, budget=0.5, recipes=["float32"])
    panels = json.loads((tmp_path / "report.json").read_text())["panels"]
    lines = {panel["title"]: panel["series"] for panel in panels}
    assert [lines["loss"][0][axis] for axis in ("x", "y")] == [[1, 2, 3, 4, 5], [None, None, None, 1.0, 0.5]]
    assert lines["mae"][0]["y"] == [None, None, None, 2.0, 1.0]


def test_files_of_an_earlier_start_do_not_stay_beside_another_result(monkeypatch, tmp_path):
    monkeypatch.setattr(Job, "trained_to", Cut())
    # What another start has left, once result.json was removed, as the message of a finished folder advises.
    for name in ("trials", "files", "firmware"):
        (tmp_path / name).mkdir()
    for name in ("model_float16.tflite", "dense_float16.tflite", "mine.tflite", "model_mine.tflite"):
        (tmp_path / "files" / name).write_text("old")
    for name in ("main.cc", "model.h"):
        (tmp_path / "firmware" / name).write_text("// Written by tfmot_swd")
    run(tmp_path, budget=0.5, recipes=["float32"])
    assert sorted(each.name for each in (tmp_path / "files").iterdir()) == [
        "dense_float32.tflite",
        "mine.tflite",
        "model_float32.tflite",
        "model_mine.tflite",
    ]
    assert not (tmp_path / "firmware").exists()


def test_firmware_that_micro_cannot_run_costs_nothing_else(monkeypatch, tmp_path):
    def fails(*_, **__):
        raise ExportError("TFLite Micro has no kernel for it. Received: TANH")

    monkeypatch.setattr(firmware, "write_firmware_project", fails)
    monkeypatch.setattr(Job, "trained_to", Cut())
    found = run(tmp_path / "small", budget=0.5, recipes=["float32"], firmware=True)
    assert (found.firmware, found.firmware_failure) == (None, "TFLite Micro has no kernel for it. Received: TANH")
    assert found.files[0].bytes
    assert "No firmware: TFLite Micro has no kernel for it." in str(found)


def test_firmware_wants_a_file_that_micro_runs(tmp_path):
    with pytest.raises(ValueError, match=r"add one of int8_pruned, .* to the recipes. Received: float16, dynamic"):
        run(tmp_path / "small", budget=0.5, recipes=["float16", "dynamic"], firmware=True)
    assert not (tmp_path / "small").exists()


def test_a_finished_folder_is_left_alone(trained):
    _, folder = trained
    with pytest.raises(FileExistsError, match=r"holds a finished result.*remove result.json"):
        run(folder, ladder(keras3), budget=0.5)


def test_a_crash_behind_the_training_does_not_train_again(monkeypatch, tmp_path):
    made = Cut()
    monkeypatch.setattr(Job, "trained_to", made)
    with monkeypatch.context() as broken:
        broken.setattr(Exporter, "dense", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run(tmp_path, budget=Budget(macs=0.5), recipes=["float32"])
    assert {each.name for each in tmp_path.iterdir()} == {"trials", "files", "model.keras"}
    with pytest.raises(ValueError, match="another job, with another budget"):
        run(tmp_path, budget=Budget(macs=0.4), recipes=["float32"])
    found = run(tmp_path, budget=Budget(macs=0.5), recipes=["float32"])
    assert len(made.goals) == 1
    assert found.costs["MACs"] == (72, 36)


def test_with_a_drop_the_search_leads_and_a_floor_that_is_missed_comes_first(monkeypatch, tmp_path):
    monkeypatch.setattr(Job, "trained_to", Cut())
    net = ladder()
    # An error of 0 has no tenth: here it is 4.
    net.layers[-1].set_weights([np.full((8, 1), 10 / 9)])
    found = run(tmp_path, net, max_drop=0.5, max_trials=1, recipes=["float32"])
    assert not found.met
    assert str(found).lstrip().startswith("The floor was not met")
    assert found.costs["parameters"][1] == found.search.trial.cost
    assert found.to_dict()["search"]["met"] is False


@dataclasses.dataclass
class Proof:
    accuracy: float | None
    keras_accuracy: float | None = 0.9
    path: str = ""


@pytest.mark.parametrize(
    ("plain", "aware", "is_aware"),
    [(0.896, None, False), (0.85, 0.89, True), (0.85, 0.84, False), (None, 0.89, True), (0.85, None, False)],
)
def test_int8_files_that_lose_are_trained_for_their_rounding_and_the_better_one_stays(
    plain, aware, is_aware, monkeypatch, tmp_path
):
    job = job_of(ladder(), TRAIN, VALIDATION, Training(), verbose=0)
    exporter, trained = Exporter(job, tmp_path, 2), []

    def export(self, model, path, recipe):
        accuracy = aware if model == "aware" else plain
        if accuracy is None:
            raise ExportError("it failed its proof")
        path.write_text(str(model))
        return Proof(accuracy)

    monkeypatch.setattr(Exporter, "_export", export)
    monkeypatch.setattr(Exporter, "_trained_aware", lambda self, model: trained.append(model) or "aware")
    monkeypatch.setattr(file_exports.dataclasses, "replace", lambda found, path: found)
    (whole, files) = exporter.pruned("small", ["float32", "int8"])
    # Rounding is of integers alone.
    assert not whole.is_aware
    assert files.is_aware == is_aware
    assert trained == ([] if plain == 0.896 else ["small"])
    content = (tmp_path / "model_int8.tflite").read_text()
    assert content == ("aware" if is_aware else "small")
    assert not list(tmp_path.glob("*.tmp")) + list(tmp_path.glob(".*"))


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({}, ValueError, "in one way: budget=.*Received: none of them"),
        ({"budget": 0.5, "max_drop": 1.0}, ValueError, "Received: budget=0.5 and max_drop=1.0"),
        ({"budget": 0.5, "floor": 4.0}, ValueError, "Received: budget=0.5 and floor=4.0"),
        ({"max_drop": 1.0, "floor": 4.0}, ValueError, "Received: max_drop=1.0 and floor=4.0"),
        ({"floor": float("inf")}, ValueError, "floor must be finite"),
        ({"budget": 1.5}, ValueError, r"share .* must be in \(0, 1\)"),
        ({"budget": "half"}, TypeError, "A target is"),
        ({"budget": 0.5, "by": "macs"}, ValueError, "by goes with max_drop"),
        ({"budget": Budget(macs=0.5), "method": "swd"}, ValueError, "share of the weights to remove"),
        ({"max_drop": -1}, ValueError, "above 0. Received: max_drop=-1"),
        ({"budget": 0.5, "recipes": ["int4"]}, ValueError, "recipe must be one of"),
        ({"budget": 0.5, "recipes": []}, ValueError, "names what to export"),
        ({"budget": 0.5, "recipes": "int8"}, TypeError, "must be a list of names"),
        ({"budget": 0.5, "quantize_aware_epochs": -1}, ValueError, "quantize_aware_epochs must be a whole number"),
    ],
)
def test_bad_input_is_refused_before_any_work(changes, error, message, tmp_path):
    with pytest.raises(error, match=message):
        run(tmp_path / "new", **changes)
    assert not list(tmp_path.iterdir())


def test_a_folder_with_other_files_is_left_alone(tmp_path):
    (tmp_path / "model.keras").write_text("mine")
    with pytest.raises(FileExistsError, match="nothing is overwritten: choose another one.*model.keras"):
        run(tmp_path, budget=0.5)
    assert (tmp_path / "model.keras").read_text() == "mine"
