import dataclasses

import numpy as np
import pytest

from examples.detection_data import DetectionData, Scenes
from examples.detection_decoding import decode, precision
from examples.detection_network import detector
from examples.detection_training import METHODS, DetectionJob, detect, train
from examples.filter_methods import narrow
from examples.job import Recipe
from tfmot_swd import export_tflite, profile
from tfmot_swd.channels import channel_groups
from tfmot_swd.tflite.interpreter import run_tflite

RECIPE = Recipe(epochs=1, batch_size=16, learning_rate=0.005, weight_decay=1e-4)
OUTPUTS = {"classes_8": 2, "boxes_8": 4, "classes_16": 2, "boxes_16": 4}


def scenes(count, seed):
    """One bright square on each image, small ones of class 0 and large ones of class 1."""
    rng = np.random.default_rng(seed)
    images, boxes = np.full((count, 32, 32, 1), 20, np.uint8), np.zeros((count, 1, 4), np.float32)
    labels = rng.integers(2, size=(count, 1))
    for index, label in enumerate(labels[:, 0]):
        side = 12 + 12 * label
        top, left = rng.integers(33 - side, size=2)
        images[index, top : top + side, left : left + side] = 230
        boxes[index, 0] = top, left, top + side, left + side
    return Scenes(images, boxes, labels)


@pytest.fixture(scope="module")
def data():
    return DetectionData("squares", ("small", "large"), scenes(192, 0), scenes(16, 1), scenes(16, 2))


def build():
    return detector((32, 32, 1), 2, RECIPE.weight_decay, width=4)


def test_stream_repeats_for_a_seed_and_is_standardized(data):
    first, again, other = (
        DetectionJob(build(), dataclasses.replace(RECIPE, seed=seed), 0.5, [], 1, data).stream for seed in (0, 0, 1)
    )
    (x, y), (x_again, y_again), (x_other, _) = (next(iter(each)) for each in (first, again, other))
    np.testing.assert_array_equal(x, x_again)
    assert not np.array_equal(x, x_other)
    assert {name: tuple(each.shape) for name, each in y.items()} == {
        "classes_8": (16, 4, 4),
        "boxes_8": (16, 4, 4, 4),
        "classes_16": (16, 2, 2),
        "boxes_16": (16, 2, 2, 4),
    }
    for name, each in y.items():
        np.testing.assert_array_equal(each, y_again[name])
    whole = np.concatenate([each for each, _ in first])
    np.testing.assert_allclose([whole.mean(), whole.std()], [0, 1], atol=1e-3)


def test_channels_end_within_the_cost_of_half_of_the_filters_with_every_output(data):
    run = train("structured", build, data, RECIPE, 0.5)
    assert {name: each.shape[-1] for name, each in run.model.output.items()} == OUTPUTS
    whole, left = profile(build()), profile(run.model)
    half = profile(narrow(build(), 0.5))
    assert left.parameters <= half.parameters
    assert left.macs <= half.macs
    assert run.channels[-1].costs == {"parameters": left.parameters, "macs": left.macs}
    assert run.final_step.before["loss"] > 0
    assert left.macs < 0.35 * whole.macs
    assert run.processor_seconds > 0
    assert np.isfinite(run.history["loss"]).all()


def test_narrow_halves_every_layer_but_the_outputs():
    model = narrow(build(), 0.5)
    assert {name: each.shape[-1] for name, each in model.output.items()} == OUTPUTS
    assert channel_groups(model).channels * 2 == channel_groups(build()).channels
    rounded = channel_groups(narrow(build(), 0.1, round_to=4))
    # Of 4, 8, 16 and 32 a tenth, in fours.
    assert {rounded[name].size for name in rounded} == {4}


def test_a_pruned_detector_finds_squares_and_so_does_its_int8_file(data, tmp_path):
    recipe = dataclasses.replace(RECIPE, epochs=4, batch_size=4, learning_rate=0.01, validation_freq=4)
    run = train("rpgp", lambda: detector((32, 32, 1), 2, width=8), data, recipe, 0.5)
    assert run.validation.at_half > 0.9
    assert run.filters[-1].channels == channel_groups(run.model).channels == 8 * 41 // 2

    path = tmp_path / "model.tflite"
    export_tflite(run.model, path, "int8", representative_data=data.to_float(data.train))
    outputs, _ = run_tflite(path.read_bytes(), {"image": data.to_float(data.test)})
    from_file, in_keras = decode(outputs, (32, 32)), detect(run.model, data, data.test)
    assert precision(from_file, data.test).at_half > 0.9
    # The surest box of each scene, within a pixel.
    np.testing.assert_allclose(from_file.boxes[:, 0], in_keras.boxes[:, 0], atol=1.0)


def test_an_unknown_method_is_refused(data):
    with pytest.raises(ValueError, match=f"{', '.join(METHODS)}. Received: 'magic'"):
        train("magic", build, data, RECIPE)
