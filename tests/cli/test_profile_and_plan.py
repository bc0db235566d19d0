"""`profile` and `plan`: the library's own tables, and the same numbers as JSON."""

import json

import tf_keras as keras

from tests.cli.conftest import make_net


def test_profile_prints_the_costs_and_writes_them(run, net, tmp_path):
    code, out, err = run("profile", net, f"--json={tmp_path / 'costs.json'}", "--batch_size=2")
    assert (code, err) == (0, "")
    assert "batch of 2" in out
    costs = json.loads((tmp_path / "costs.json").read_text())
    assert (costs["parameters"], costs["macs"], costs["batch_size"]) == (163, 144, 2)
    assert [path.name for path in tmp_path.iterdir()] == ["costs.json"]


def test_profile_puts_a_model_beside_what_it_was(run, net, tmp_path):
    small = keras.Sequential([keras.layers.Input((6,)), keras.layers.Dense(4, name="hidden")])
    small.save(tmp_path / "small.keras")
    code, out, _ = run("profile", tmp_path / "small.keras", f"--against={net}", f"--json={tmp_path / 'both.json'}")
    assert code == 0
    assert "163 → 28" in out
    assert json.loads((tmp_path / "both.json").read_text())["ratios"]["macs"] == 24 / 144


def test_json_never_lands_on_the_model(run, tmp_path):
    path = tmp_path / "net.json"
    path.write_text("not a model")
    code, _, err = run("profile", path, f"--json={path}")
    assert code == 2
    assert "would overwrite what is read" in err
    assert path.read_text() == "not a model"


def test_plan_tells_what_goes_what_stays_and_what_is_dead(run, tmp_path):
    model = make_net()
    kernel, bias = model.get_layer("head").get_weights()
    kernel[:3] = 0
    model.get_layer("head").set_weights([kernel, bias])
    model.save(tmp_path / "net.keras")
    code, out, _ = run("plan", tmp_path / "net.keras")
    assert code == 0
    assert "16 channels are ranked" in out
    assert "model output" in out
    assert "3 channels contribute nothing and leave without a change: 3 of hidden." in out

    out = run("plan", tmp_path / "net.keras", "--method=swd", "--skip=head")[1]
    assert "left out by name" in out
    assert "112 prunable weights" in out


def test_plan_of_a_live_model_says_that_nothing_is_dead(run, net):
    assert "No channel is dead" in run("plan", net)[1]


def test_a_model_of_open_sizes_is_named(run, net, tmp_path):
    path = tmp_path / "open.keras"
    keras.Sequential([keras.layers.Input((None, None, 3)), keras.layers.Conv2D(2, 1)]).save(path)
    code, _, err = run("profile", net, f"--against={path}")
    assert code == 1
    assert "every size but the batch's is fixed" in err
    assert err.rstrip().endswith(f", from {str(path)!r}")


def test_sizes_that_a_model_leaves_open_are_given(run, tmp_path):
    path = tmp_path / "open.keras"
    keras.Sequential([keras.layers.Input((None, None, 3)), keras.layers.Conv2D(2, 1)]).save(path)
    code, _, err = run("profile", path, f"--json={tmp_path / 'costs.json'}", "--input_shape=5,4,3")
    assert (code, err) == (0, "")
    assert json.loads((tmp_path / "costs.json").read_text())["macs"] == 5 * 4 * 3 * 2
    code, _, err = run("profile", path, "--input_shape=five,4,3")
    assert code == 2
    assert "--input_shape takes whole numbers, as 224,224,3. Received: five,4,3" in err
