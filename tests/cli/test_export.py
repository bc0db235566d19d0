"""`export`: files by recipe, each proven, and what was not is said and not there."""

import json
import re

import numpy as np
import pytest
import tf_keras as keras

from tests.cli.conftest import make_net


def test_each_recipe_makes_a_file_in_the_folder(run, net, train, tmp_path):
    folder, record = tmp_path / "files", tmp_path / "export.json"
    code, out, err = run(
        "export", net, "--recipes=float32,int8", f"--data={train}", f"--output={folder}", f"--json={record}"
    )
    assert code == 0, err
    assert sorted(path.name for path in folder.iterdir()) == ["net_float32.tflite", "net_int8.tflite"]
    results = json.loads(record.read_text())["results"]
    assert [each["recipe"] for each in results] == ["float32", "int8"]
    assert results[0]["accuracy"] == results[0]["keras_accuracy"]
    # A fifth of the samples that int8 is calibrated on is kept for its proof.
    assert [each["samples"] for each in results] == [320, 64]
    assert results[1]["accuracy"] is not None
    assert f"{results[1]['bytes']:,}" in out


def test_one_recipe_may_name_its_file_and_needs_no_data(run, net, tmp_path):
    target = tmp_path / "own.tflite"
    target.write_text("older")
    assert run("export", net, f"--output={target}")[0] == 0
    assert target.read_bytes()[4:8] == b"TFL3"


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--recipes=int7", "--output=files"], "'float32'.*int7"),
        (["--recipes=", "--output=files"], "names what to export"),
        (["--recipes=int8", "--output=files"], "give --data"),
        (["--recipes=float32,float16", "--output=a.tflite"], "give a folder"),
        ([], "says where the files go"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_any_work(flags, message, run, net, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = run("export", net, *flags)
    assert (code, out) == (2, "")
    assert re.search(message, err)
    assert not list(tmp_path.iterdir())


def test_a_file_that_fails_its_proof_is_said_and_not_there(run, tmp_path):
    model = make_net()
    model.set_weights([weight * np.nan for weight in model.get_weights()])
    model.save(tmp_path / "net.keras")
    code, out, err = run("export", tmp_path / "net.keras", f"--output={tmp_path / 'files'}")
    assert (code, out) == (1, "")
    assert "NaN" in err
    assert not (tmp_path / "files").exists()


def test_the_files_that_pass_stay_when_another_fails(run, tmp_path):
    # Half precision ends at 65,504.
    model = keras.Sequential([keras.layers.Input((2,)), keras.layers.Dense(2, kernel_initializer="ones")])
    model.set_weights([np.full((2, 2), 1e6, "float32"), np.zeros(2, "float32")])
    model.save(tmp_path / "net.keras")
    code, out, err = run("export", tmp_path / "net.keras", "--recipes=float32,float16", f"--output={tmp_path}")
    assert code == 1
    assert "net_float32.tflite" in out
    assert "1 of 2 files failed. float16:" in err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["net.keras", "net_float32.tflite"]


def test_a_firmware_project_of_the_samples_beside_the_file(run, net, train, tmp_path):
    folder, record = tmp_path / "firmware", tmp_path / "export.json"
    flags = [f"--data={train}", f"--output={tmp_path / 'net.tflite'}", f"--firmware={folder}", f"--json={record}"]
    code, out, err = run("export", net, "--recipes=float32", "--firmware_samples=2", *flags)
    assert code == 0, err
    # Two samples of 6 inputs and 3 outputs.
    assert "golden data, 2 samples" in out
    assert json.loads(record.read_text())["firmware"]["golden_bytes"] == 2 * 4 * (6 + 3)
    assert "#define MODEL_GOLDEN_SAMPLES 2\n" in (folder / "golden.h").read_text()
    assert (folder / "main.cc").exists()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--recipes=float32,int8", "--data=train"], "one recipe that TFLite Micro runs.*--recipes=float32,int8"),
        (["--recipes=dynamic", "--data=train"], "one recipe that TFLite Micro runs.*--recipes=dynamic"),
        (["--recipes=float32"], "give --data"),
        (["--firmware_samples=2"], "give --firmware too"),
    ],
)
def test_firmware_that_cannot_be_written_is_refused_before_any_work(flags, message, run, net, train, tmp_path):
    given = [f"--data={train}" if each == "--data=train" else each for each in flags]
    if flags != ["--firmware_samples=2"]:
        given.append(f"--firmware={tmp_path / 'firmware'}")
    code, out, err = run("export", net, f"--output={tmp_path / 'files'}", *given)
    assert (code, out) == (2, "")
    assert re.search(message, err)
    assert not list(tmp_path.iterdir())


def test_a_firmware_folder_of_other_files_is_refused_before_any_work(run, net, train, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    code, _, err = run("export", net, f"--data={train}", f"--output={tmp_path / 'a.tflite'}", f"--firmware={tmp_path}")
    assert code != 0
    assert "choose a new folder" in err
    assert [each.name for each in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize(
    ("output", "firmware", "record", "flag"),
    [
        ("both", "both", None, "output"),
        ("both/net.tflite", "./both", None, "output"),
        ("fw/files", "fw", None, "output"),
        ("net.tflite", "net.tflite", None, "output"),
        ("net.tflite", "net.tflite/fw", None, "output"),
        ("files", "fw", "fw/export.json", "json"),
    ],
)
def test_a_firmware_folder_with_other_results_in_it_is_refused_before_any_work(
    output, firmware, record, flag, run, net, train, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    given = [f"--output={output}", f"--firmware={firmware}", *([f"--json={record}"] if record else [])]
    code, out, err = run("export", net, "--recipes=float32", f"--data={train}", *given)
    assert (code, out) == (2, "")
    assert re.search(rf"without the file of --{flag}: choose another one. Received: --firmware='{firmware}' and", err)
    assert not list(tmp_path.iterdir())


def test_a_project_that_cannot_be_written_leaves_the_record(run, net, train, tmp_path, monkeypatch):
    def full(*_: object, **__: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("tfmot_swd.workflows.firmware.write_firmware_project", full)
    # A folder for files may hold that of the project.
    files, record = tmp_path / "files", tmp_path / "export.json"
    flags = [f"--data={train}", f"--output={files}", f"--firmware={files / 'firmware'}", f"--json={record}"]
    code, _, err = run("export", net, "--recipes=float32", *flags)
    assert code == 1
    assert "no space left" in err
    written = json.loads(record.read_text())
    assert written["failures"] == {"firmware": "no space left"}
    assert [each["recipe"] for each in written["results"]] == ["float32"]


def test_layers_that_are_named_stay_in_float_in_files_of_int8(run, net, train, tmp_path):
    flags = [f"--data={train}", f"--output={tmp_path}", "--recipes=float32,int8"]
    code, _, err = run("export", net, *flags, "--float_layers=head")
    assert code == 0, err
    record = tmp_path / "check.json"
    code, out, err = run(
        "check",
        tmp_path / "net_int8.tflite",
        f"--model={net}",
        f"--data={train}",
        "--quantization_error",
        f"--json={record}",
    )
    assert code == 0, err
    assert "against its model by layer" in out
    found = json.loads(record.read_text())["quantization_error"]
    assert [(each["layers"], each["limits"] is None) for each in found["layers"]] == [
        (["hidden"], False),
        (["head"], True),
    ]
    assert (found["first"], found["reason"]) == (None, "")


@pytest.mark.parametrize(
    ("command", "flags", "message"),
    [
        ("export", ["--recipes=float32", "--float_layers=head"], "--float_layers is for files of int8"),
        ("export", ["--recipes=int8", "--float_layers=tail"], "--float_layers must be names of the model's layers"),
        ("export", ["--recipes=int8", "--int16_layers=head", "--float_layers=head"], "Received: 'head' in both"),
        ("check", ["--quantization_error"], "Received: --quantization_error without --model and --data"),
    ],
)
def test_what_cannot_be_compared_by_layer_or_left_in_float_is_refused(
    command, flags, message, run, net, train, tmp_path
):
    more = [f"--data={train}", f"--output={tmp_path / 'files'}"] if command == "export" else []
    code, out, err = run(command, net, *flags, *more)
    assert (code, out) == (2, "")
    assert message in err
    assert not list(tmp_path.iterdir())
