"""`report`: what prune and export have written comes together on one page."""

import json
from pathlib import Path

import numpy as np
import pytest
import tf_keras as keras

from tests.cli.conftest import make_net
from tfmot_swd.channels import remove_channels
from tfmot_swd.cli.commands.report import _advice, _dense_of, _references
from tfmot_swd.tflite import export_tflite


@pytest.fixture
def small(tmp_path):
    path = tmp_path / "small.keras"
    remove_channels(make_net(), {"hidden": [True] * 8 + [False] * 8}).save(path)
    return path


def test_a_page_from_what_the_other_commands_wrote(run, net, small, train, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run("export", small, "--output=files", f"--data={train}", "--json=export.json")[0] == 0
    training = {"history": {"loss": [2.0, 1.0], "val_metric": [0.5, 0.75]}, "statuses": [], "seed": 7}
    (tmp_path / "prune.json").write_text(json.dumps(training))
    code, out, err = run(
        *("report", small, f"--dense={net}", "--training=prune.json", "--exports=export.json"),
        *("--output=page.html", "--json=page.json", "--nomeasure", "--title=A net of ours"),
    )
    assert code == 0, err
    page, content = (tmp_path / "page.html").read_text(), json.loads((tmp_path / "page.json").read_text())
    assert page.startswith("<!")
    assert "A net of ours" in page
    assert content["seed"] == 7
    (hidden, _) = content["layers"]
    assert (hidden["channels_before"], hidden["channels_after"]) == (16, 8)
    (file,) = content["files"]
    assert file["recipe"] == "float32"
    assert file["accuracy"] == json.loads((tmp_path / "export.json").read_text())["results"][0]["accuracy"]
    assert [panel["title"] for panel in content["panels"]] == ["metric", "loss"]
    assert len(content["advice"]) == 1
    assert "page.html" in out


def test_models_and_files_are_measured_on_the_same_data(run, net, small, train, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, model in (("net", make_net()), ("own", keras.models.load_model(small))):
        export_tflite(model, f"{name}.tflite")
    # What older versions of prune wrote: their metric had no name of its own.
    (tmp_path / "prune.json").write_text(
        json.dumps({"history": {"loss": [1.0], "val_metric": [0.5]}, "loss": {"metric": "accuracy"}})
    )
    code, out, err = run(
        *("report", small, f"--dense={net}", "--dense_file=net.tflite", "--files=own.tflite", "--nomeasure"),
        *(f"--data={train}", "--training=prune.json", "--output=page.html", "--json=page.json"),
    )
    assert code == 0, err
    assert "Measuring the accuracy of both models and all files on 320 samples" in err
    content = json.loads((tmp_path / "page.json").read_text())
    x, y = (np.load(train)[name] for name in "xy")
    models = {"dense_score": make_net(), "small_score": keras.models.load_model(small)}
    for name, model in models.items():
        assert content[name] == pytest.approx((model.predict(x, verbose=0).argmax(axis=1) == y).mean())
    assert (content["metric"], content["samples"]) == ("accuracy", 320)
    assert [panel["title"] for panel in content["panels"]] == ["accuracy", "loss"]
    assert "accuracy on 320 samples" in out


def test_files_are_compared_with_the_dense_one_of_their_form(net, small, train, tmp_path):
    paths = {}
    for name, model in (("net", make_net()), ("own", keras.models.load_model(small))):
        for recipe in ("float32", "float16"):
            paths[f"{name}_{recipe}"] = str(tmp_path / f"{name}_{recipe}.tflite")
            export_tflite(model, paths[f"{name}_{recipe}"], recipe)
    models = make_net(), keras.models.load_model(small)
    dense = _dense_of(paths, None, [], *models)
    assert dense == ("net_float32", "net_float16")
    # Wherever they stand: a dense file that is taken for a small one would be told that its channels were removed.
    assert _dense_of(dict(reversed(paths.items())), None, [], *models) == ("net_float16", "net_float32")
    references = _references(paths, dense)
    assert references == {
        **{name: name for name in dense},
        "own_float32": "net_float32",
        "own_float16": "net_float16",
    }
    # What is not there is not made up: the first one stands in, for times alone.
    del paths["net_float16"]
    assert _references(paths, ("net_float32",))["own_float16"] == "net_float32"
    found = {Path(each.path).stem: each for each in _advice(paths, _references(paths, ("net_float32",)), True)}
    assert set(found) == {"own_float32", "own_float16"}
    assert [each.verdict for each in found["own_float16"].on("channels")] == ["helps"]
    assert "is not known" in found["own_float16"].on("channels")[0].reason
    assert "50% of the weights are left" in found["own_float32"].on("channels")[0].reason


def test_files_are_measured_against_the_first(run, net, small, tmp_path):
    for name, model in (("dense", make_net()), ("small", make_net())):
        export_tflite(model, tmp_path / f"{name}.tflite")
    code, _, err = run(
        *("report", small, f"--dense={net}", f"--output={tmp_path / 'page.html'}", f"--json={tmp_path / 'page.json'}"),
        f"--files={tmp_path / 'dense.tflite'},{tmp_path / 'small.tflite'}",
    )
    assert code == 0, err
    assert "Measuring dense, small" in err
    files = json.loads((tmp_path / "page.json").read_text())["files"]
    assert [file["name"] for file in files] == ["dense", "small"]
    assert files[0]["latency"][0]["ratio"] == 1.0
    assert {each["reference"] for file in files for each in file["latency"]} == {"dense"}


def ratios(path):
    return {each["ratio"] for file in json.loads(path.read_text())["files"] for each in file["latency"]}


def test_the_first_of_several_files_of_the_small_model_is_not_taken_for_the_dense_one(run, net, small, tmp_path):
    # No record of an export says so, but they have half of the weights of the dense model.
    for name in ("one", "two"):
        export_tflite(keras.models.load_model(small), tmp_path / f"{name}.tflite")
    flags = (f"--dense={net}", f"--output={tmp_path / 'page.html'}", f"--json={tmp_path / 'page.json'}")
    several = f"--files={tmp_path / 'one.tflite'},{tmp_path / 'two.tflite'}"
    code, _, err = run("report", small, *flags, several)
    assert code == 0, err
    assert ratios(tmp_path / "page.json") == {None}


def test_the_dense_file_is_named_and_measured_first(run, net, small, tmp_path):
    for name, model in (("own", keras.models.load_model(small)), ("dense", make_net())):
        export_tflite(model, tmp_path / f"{name}.tflite")
    flags = (f"--dense={net}", f"--output={tmp_path / 'page.html'}", f"--json={tmp_path / 'page.json'}")
    dense = f"--dense_file={tmp_path / 'dense.tflite'}"
    for files in (f"{tmp_path / 'own.tflite'}", f"{tmp_path / 'own.tflite'},{tmp_path / 'dense.tflite'}"):
        code, _, err = run("report", small, *flags, dense, f"--files={files}")
        assert code == 0, err
        content = json.loads((tmp_path / "page.json").read_text())
        assert [file["name"] for file in content["files"]] == ["dense", "own"]
        assert content["files"][0]["latency"][0]["ratio"] == 1.0
        assert content["files"][1]["latency"][0]["reference"] == "dense"
        # Both are of one form, and the advice on the small file knows the other; on the dense one there is none.
        (advice,) = content["advice"]
        (channels,) = (row for row in advice["advice"] if row["topic"] == "channels")
        assert (channels["verdict"], channels["where"].partition(",")[0]) == ("helps", "FULLY_CONNECTED 16x6 → 8x6")


def test_models_with_as_many_weights_need_the_dense_file_named(run, net, tmp_path):
    for name in ("one", "two"):
        export_tflite(make_net(), tmp_path / f"{name}.tflite")
    flags = (f"--dense={net}", f"--output={tmp_path / 'page.html'}", f"--json={tmp_path / 'page.json'}")
    several = f"--files={tmp_path / 'one.tflite'},{tmp_path / 'two.tflite'}"
    code, _, err = run("report", net, *flags, several)
    assert code == 2
    assert "name it as --dense_file, or give --dense_file= where there is none. Received: --files=" in err
    assert not (tmp_path / "page.html").exists()
    assert run("report", net, *flags, several, "--dense_file=")[0] == 0
    assert ratios(tmp_path / "page.json") == {None}
    assert run("report", net, *flags, several, f"--dense_file={tmp_path / 'two.tflite'}")[0] == 0
    assert json.loads((tmp_path / "page.json").read_text())["files"][0]["name"] == "two"
    assert 1.0 in ratios(tmp_path / "page.json")


def test_files_of_the_small_model_are_not_taken_for_the_dense_one(run, net, small, train, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run("export", small, "--recipes=float32,float16", "--output=files", "--json=export.json")[0] == 0
    flags = (f"--dense={net}", "--output=page.html", "--json=page.json")
    for more in ("--exports=export.json", "--files=files/small_float32.tflite"):
        assert run("report", small, *flags, more)[0] == 0
        content = json.loads((tmp_path / "page.json").read_text())
        assert {each["ratio"] for file in content["files"] for each in file["latency"]} == {None}
        said = {row["verdict"] for each in content["advice"] for row in each["advice"] if row["topic"] == "channels"}
        # Both models tell that channels were removed; beside the first file as the dense one it would be denied.
        assert said == {"helps"}
        assert "how much smaller the file is for that is not known" in str(content["advice"])
    code, _, err = run("report", small, *flags, "--exports=export.json", "--dense_file=files/small_float32.tflite")
    assert code == 2
    assert "--exports has this one of the small one. Received: 'files/small_float32.tflite'" in err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--output=page.html"], "--dense names the model"),
        (["--dense=NET", "--output=page.pdf"], "must end in .html"),
        (["--dense=NET", "--output=page.html", "--files=a.tflite"], "There is no such file. Received: 'a.tflite'"),
        (["--dense=NET", "--output=page.html", "--dense_file=a.tflite"], "There is no such file. Received: 'a.tflite'"),
        (["--dense=NET", "--output=page.html", "--training=a.json"], "--training names no file"),
        (["--dense=NET", "--output=page.html", "--exports=NET"], "what --json of another command wrote"),
        (["--dense=NET", "--output=page.html", "--data=a.npz"], "--data names no file"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_any_work(flags, message, run, net, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = run("report", net, *(flag.replace("NET", str(net)) for flag in flags))
    assert (code, out) == (2, "")
    assert message in err
    assert not list(tmp_path.iterdir())
