"""The notebooks: committed without outputs, and their cells run, on tiny data and without a kernel."""

import ast
import json
import warnings
from pathlib import Path

import numpy as np
import pytest
import tf_keras as keras

import tfmot_swd
from examples import datasets

FOLDER = Path(__file__).parents[2] / "examples" / "notebooks"
NAMES = ("detection", "microcontroller", "quickstart")


def cells_of(name):
    return json.loads((FOLDER / f"{name}.ipynb").read_text())["cells"]


def code_of(name):
    return ["".join(cell["source"]) for cell in cells_of(name) if cell["cell_type"] == "code"]


def run_notebook(name):
    """Runs the cells, and returns their variables and what the last lines of the cells show."""
    names, shown = {"__name__": "__main__"}, []
    for code in code_of(name):
        tree = ast.parse(code)
        last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, name, "exec"), names)
        value = None if last is None else eval(compile(ast.Expression(last.value), name, "eval"), names)
        if value is not None:
            shown.append(value)
    return names, shown


def tables_of(shown):
    return [each._repr_html_() for each in shown if hasattr(each, "_repr_html_")]


@pytest.fixture(autouse=True)
def _small(monkeypatch, tmp_path):
    monkeypatch.setenv("TFMOT_SWD_NOTEBOOK_SMALL", "1")
    # Reading all of Fashion-MNIST takes longer than to train on a part of it.
    monkeypatch.setattr(datasets, "load_images", lambda name: squares())
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(FOLDER.parents[1]))
    with warnings.catch_warnings():
        # Neither a training that goes wrong nor an old name.
        warnings.simplefilter("error", tfmot_swd.PruningWarning)
        warnings.filterwarnings("error", category=DeprecationWarning, module="__main__")
        yield


def squares():
    """Returns noisy images with a bright square each, whose place is the class."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 10, 500)
    x = rng.integers(0, 60, (500, 28, 28, 1), np.uint8)
    for image, label in zip(x, y, strict=True):
        row, column = divmod(label, 4)
        image[2 + 8 * row : 8 + 8 * row, 1 + 7 * column : 6 + 7 * column] += 190
    parts = np.split(x, [256, 300]), np.split(y, [256, 300])
    splits = [part for pair in zip(*parts, strict=True) for part in pair]
    return datasets.ImageData("squares", *splits, num_classes=10)


@pytest.mark.parametrize("name", NAMES)
def test_notebooks_are_short_and_committed_without_outputs(name):
    assert {path.stem for path in FOLDER.glob("*.ipynb")} == set(NAMES)
    cells = cells_of(name)
    assert 10 <= len(cells) <= 16
    for cell in cells:
        if cell["cell_type"] == "code":
            assert (cell["outputs"], cell["execution_count"], cell["metadata"]) == ([], None, {})
    # Links are those of a file in this folder.
    text = "".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    links = [part.partition(")")[0] for part in text.split("](")[1:]]
    assert links
    for link in links:
        assert (FOLDER / link).exists(), link


def test_quickstart_prunes_without_a_jump_and_writes_a_file():
    names, shown = run_notebook("quickstart")
    step = names["callback"].final_step
    assert step.before["accuracy"] == step.after["accuracy"] == pytest.approx(names["pruned_accuracy"])
    assert names["dense_accuracy"] > 0.5
    report, result = shown
    assert report.nonzero_kernels <= 0.02 * names["dense"].count_params()
    assert (result.bytes, result.samples) == (Path("output/quickstart.tflite").stat().st_size, 200)
    assert type(names["small"]).__module__.startswith("keras.")
    assert all("<table>" in each for each in tables_of(shown))


def test_microcontroller_makes_a_file_that_did_not_fit_fit():
    names, shown = run_notebook("microcontroller")
    _, whole, comparison, small = shown
    assert names["small_file"].accuracy > 0.3
    assert whole.flash_left < 0
    assert whole.ram_left < 0
    assert small.fits
    assert "before → after" in tables_of(shown)[2]
    assert comparison is not None
    assert tfmot_swd.profile(names["small"]).macs <= 0.35 * tfmot_swd.profile(names["whole"]).macs
    assert names["source"].arena_bytes == small.ram_bytes
    assert names["micro_accuracy"] == pytest.approx(names["small_file"].accuracy)
    assert "FASHION_ARENA_BYTES" in Path("output/model.h").read_text()


def test_detection_keeps_the_outputs_and_scores_the_file():
    names, shown = run_notebook("detection")
    plan, comparison, picture, result = shown
    assert "neck_fine, neck_coarse" in str(plan)
    assert comparison is not None
    assert tfmot_swd.profile(names["small"]).macs <= 0.4 * tfmot_swd.profile(names["whole"]).macs
    assert names["small"].output_shape == names["whole"].output_shape
    assert isinstance(names["small"], keras.Model)
    assert picture.size[0] > 500
    assert result.bytes == Path("output/detector.tflite").stat().st_size
    assert names["file_precision"].mean == pytest.approx(names["small_precision"].mean, abs=0.02)
    assert all("<table>" in each for each in tables_of(shown))
