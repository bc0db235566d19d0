"""Scripts as people write them for Keras 3: with two lines changed they prune, and everything else stays as it was.

In `scripts/` a line that pruning adds ends in `# new`, and one that it changes in `# was:` and what stood there.
"""

import re
import runpy
import warnings
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import tfmot_swd
from tfmot_swd.tflite import run_tflite

SCRIPTS = Path(__file__).parent / "scripts"


def original(text: str) -> str:
    """Returns a script as it was before it pruned."""
    kept = [line for line in text.splitlines() if not line.endswith("  # new")]
    return "\n".join(re.sub(r"^(\s*\w+ ?= ?).*?(,?)  # was: (.*)$", r"\1\3\2", line) for line in kept)


def state_of(model: Any) -> Any:
    """Returns all that a user could miss of a model."""
    variables = [(each.path, each.trainable, each.numpy().tolist()) for each in model.variables]
    return model.get_config(), model.compiled, variables


@pytest.fixture
def given(monkeypatch):
    """Records the models that are wrapped, and what they were before."""
    found: list[tuple[Any, Any]] = []
    for name in ("prune_selective_decay", "prune_progressive_gradient"):
        wrap = getattr(tfmot_swd, name)

        def recorded(model, schedule, wrap=wrap):
            found.append((model, state_of(model)))
            return wrap(model, schedule)

        monkeypatch.setattr(tfmot_swd, name, recorded)
    return found


def run(name: str, folder: Path, monkeypatch: Any) -> dict[str, Any]:
    """Runs a script as it stands, in a folder of its own, and returns its names."""
    monkeypatch.chdir(folder)
    with warnings.catch_warnings():
        warnings.simplefilter("error", tfmot_swd.PruningWarning)
        return runpy.run_path(str(SCRIPTS / f"{name}.py"))


def check_model(model: Any, data: Any, given: list[tuple[Any, Any]]) -> np.ndarray:
    """Checks that a model is of Keras 3 and so is its file, that the user's is as it was; returns the predictions."""
    assert isinstance(model, keras.Model)
    ((before, state),) = given
    assert state_of(before) == state
    assert model.input_shape == before.input_shape
    predicted = model.predict(data, verbose=0)
    loaded = keras.models.load_model("model.keras")
    np.testing.assert_array_equal(loaded.predict(data, verbose=0), predicted)
    return predicted


def check_file(model: Any, data: Any) -> None:
    """Checks that the file for devices answers as the model does."""
    answers, _ = run_tflite(export(model, "float32", data), {model.inputs[0].name: data})
    (found,) = answers.values()
    np.testing.assert_allclose(found, model.predict(data, verbose=0), atol=1e-5)


def export(model: Any, recipe: str, data: Any) -> str:
    return str(tfmot_swd.export_tflite(model, f"{recipe}.tflite", recipe, representative_data=data).path)


@pytest.mark.parametrize("name", [each.stem for each in sorted(SCRIPTS.glob("*.py"))])
def test_a_script_was_one_of_keras_3_alone_and_two_lines_are_changed(name, tmp_path, monkeypatch):
    text = (SCRIPTS / f"{name}.py").read_text()
    assert text.count("  # was: ") == 2
    assert re.findall(r"^(\w+ \S+) .*# new$", text, re.MULTILINE) == ["import tfmot_swd", "rate =", "model ="]

    before = original(text)
    assert "tfmot_swd" not in before
    # That it runs is asked, not what it learns.
    (tmp_path / "before.py").write_text(re.sub(r"epochs=\d+", "epochs=1", before))
    monkeypatch.chdir(tmp_path)
    assert isinstance(runpy.run_path("before.py")["model"], keras.Model)


def test_transfer_learning(given, tmp_path, monkeypatch):
    names = run("transfer_learning", tmp_path, monkeypatch)
    model, base, images = names["model"], names["base"], names["images"]
    logits = check_model(model, images, given)
    assert np.mean((logits[:, 0] > 0) == names["labels"]) > 0.9
    # The base was frozen when it was wrapped, and the user's still is; of the other half of the filters have left.
    assert not any(weight.trainable for weight in base.weights)
    assert model.get_layer("base").count_params() < base.count_params() // 2
    assert [type(each).__name__ for each in model.get_layer("augmentation").layers] == [
        *("RandomFlip", "RandomRotation", "RandomContrast")
    ]
    check_file(model, images)
    export(model, "int8", images)


def test_tabular(given, tmp_path, monkeypatch):
    names = run("tabular", tmp_path, monkeypatch)
    model, columns = names["model"], names["columns"]
    rows = {name: keras.ops.convert_to_tensor(column[:, None]) for name, column in columns.items()}
    churned = check_model(model, rows, given)
    assert np.mean((churned[:, 0] > 0.5) == names["churned"]) > 0.9
    assert model.get_layer("city_index").get_vocabulary() == given[0][0].get_layer("city_index").get_vocabulary()
    assert tfmot_swd.profile(model).macs <= tfmot_swd.profile(given[0][0]).macs // 2

    with pytest.raises(ValueError, match=r"model.get_layer\(name\).output, model.output\).*Received: input 'city'"):
        export(model, "float32", rows)
    features = model.get_layer("features").output
    encoded = keras.Model(model.input, features).predict(rows, verbose=0)
    check_file(keras.Model(features, model.output), encoded)


def test_text_encoder(given, tmp_path, monkeypatch):
    names = run("text_encoder", tmp_path, monkeypatch)
    model, texts = names["model"], names["texts"]
    classes = check_model(model, texts, given)
    assert np.mean(classes.argmax(-1) == names["labels"]) > 0.9
    # The layers of the user's come back as themselves, and kernels inside them were pruned.
    assert isinstance(model.layers[1], names["PositionalEmbedding"])
    block = next(each for each in model.layers if isinstance(each, names["TransformerBlock"]))
    assert np.any(block.ffn.layers[0].kernel.numpy() == 0)
    report = tfmot_swd.sparsity_report(model)
    assert report.nonzero_prunable_weights == pytest.approx(0.4 * report.prunable_weights, abs=1)
    check_file(model, texts)


def test_unfreezing_the_base_that_went_in_is_answered_by_where_the_other_is():
    base = keras.Sequential([keras.Input((4,)), keras.layers.Dense(6)], name="base")
    base.trainable = False
    model = keras.Sequential([keras.Input((4,)), base, keras.layers.Dense(2)])
    pruned = tfmot_swd.prune_selective_decay(model, tfmot_swd.StructuredDecay(0.5, end_step=2))
    base.trainable = True
    pruned.compile(keras.optimizers.SGD(), "mse")
    with pytest.raises(ValueError, match=r"in the wrapped model \(model.get_layer\(name\).*Received: 1 of 2 layers"):
        pruned.fit(np.ones((2, 4)), np.ones((2, 2)), verbose=0, callbacks=[tfmot_swd.UpdatePruningStep()])
