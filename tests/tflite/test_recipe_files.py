"""Every recipe on the same small nets: what is in the file, how large it is, and by which names it is run."""

import json
import zlib

import numpy as np
import pytest
import tf_keras as keras
from ai_edge_litert.interpreter import Interpreter

from tfmot_swd.tflite import RECIPES, ExportError, export_tflite, file_bytes
from tfmot_swd.tflite.graph import read_graph
from tfmot_swd.tflite.micro import run_micro
from tfmot_swd.tflite.micro.operators import DECODE

L = keras.layers


def _prune(model, rate=0.8, block=1):
    """Sets weights to zero at random, in blocks of so many inputs."""
    generator = np.random.default_rng(0)
    for weight in model.trainable_weights:
        if len(weight.shape) > 1:
            rows = int(np.prod(weight.shape[:-1]))
            cut = np.repeat(generator.random((-(-rows // block), weight.shape[-1])) < rate, block, axis=0)[:rows]
            weight.assign(np.where(cut.reshape(weight.shape), 0, weight.numpy()))
    return model


@pytest.mark.parametrize("recipe", list(RECIPES))
def test_every_recipe_gives_a_proven_file(conv_net, images, tmp_path, recipe):
    classes = conv_net.predict(images, verbose=0).argmax(axis=1)
    classes[:30] = (classes[:30] + 1) % 4  # a quarter wrong, so that an accuracy of 1 is a bug
    path = tmp_path / "new" / "net.tflite"
    result = export_tflite(conv_net, path, recipe, images, check_data=(images, classes))
    content = path.read_bytes()
    assert (result.recipe, result.path) == (recipe, str(path))
    assert result.bytes == len(content)
    # 216 weights in the convolution, too few for the dynamic recipe, and 2,048 in the dense layer; none is zero.
    stored = {"float32": 4 * 2264, "float16": 2 * 2264, "dynamic": 4 * 216 + 2048}
    weights = stored.get(recipe.removeprefix("sparse_"), 2264)
    assert weights < result.bytes < weights + 2300
    assert len(zlib.compress(content, 9)) < result.gzip_bytes < result.bytes  # gzip's header is longer
    assert result.keras_accuracy == 0.75
    assert abs(result.accuracy - 0.75) < 0.05
    assert result.agreement > 0.95
    assert result.mean_difference <= result.worst_difference < 0.05
    assert result.samples == 120
    assert result.interpreter == ("tflite_micro" if recipe == "int8_pruned" else "ai_edge_litert")
    assert (result.weights, result.keras_zeros) == (2264, 0)
    assert json.loads(json.dumps(result.to_dict())) == result.to_dict()
    assert [each.name for each in path.parent.iterdir()] == ["net.tflite"]


@pytest.mark.parametrize(
    ("recipe", "plain", "share"),
    [("sparse_float32", "float32", 0.5), ("sparse_float16", "float16", 0.7), ("int8_pruned", "int8", 0.7)],
)
def test_files_without_zeros_are_smaller_and_have_as_many_of_them(conv_net, images, tmp_path, recipe, plain, share):
    _prune(conv_net)
    dense, sparse = (export_tflite(conv_net, tmp_path / name, name, images) for name in (plain, recipe))
    assert sparse.bytes < share * dense.bytes
    kernels = [weight.numpy() for weight in conv_net.trainable_weights if len(weight.shape) > 1]
    assert sparse.keras_zeros == dense.keras_zeros == sum(np.count_nonzero(kernel == 0) for kernel in kernels)
    assert sparse.zeros == dense.zeros >= dense.keras_zeros
    assert sparse.worst_difference == pytest.approx(dense.worst_difference, abs=1e-2)


def test_large_kernels_can_stay_out_of_the_arena(conv_net, images, tmp_path):
    _prune(conv_net)
    arenas, restored = {}, {}
    for largest in (None, 2048, 2047):
        path = tmp_path / f"{largest}.tflite"
        export_tflite(conv_net, path, "int8_pruned", images, max_encoded_weights=largest)
        arenas[largest] = run_micro(path, {"image": images[:1]}).arena_bytes
        graph = read_graph(path.read_bytes())
        restored[largest] = [graph.tensors[each.outputs[0]].size for each in graph.operators if each.name == DECODE]
    # 216 weights in the convolution, too few to gain by it, and 2,048 in the dense layer.
    assert restored[None] == restored[2048]
    assert 2048 in restored[None]
    assert 2048 not in restored[2047]
    assert arenas[2047] < arenas[None] - 1000
    assert arenas[2048] == arenas[None]


@pytest.mark.parametrize(
    ("recipe", "largest", "message"),
    [
        ("int8", 100, "bounds the kernels that are encoded.*Received: max_encoded_weights=100 with recipe='int8'$"),
        ("int8_pruned", 0, "max_encoded_weights must be a positive.*Received: max_encoded_weights=0$"),
        ("int8_pruned", 1.5, "max_encoded_weights must be a positive.*Received: max_encoded_weights=1.5$"),
    ],
)
def test_bounds_that_bound_nothing(conv_net, images, tmp_path, recipe, largest, message):
    with pytest.raises(ValueError, match=message):
        export_tflite(conv_net, tmp_path / "a", recipe, images, max_encoded_weights=largest)
    assert not list(tmp_path.iterdir())


def test_file_bytes_are_those_of_the_export(conv_net, images, tmp_path):
    _prune(conv_net)
    assert file_bytes(conv_net, "int8_pruned") == export_tflite(conv_net, tmp_path / "a", "int8_pruned", images).bytes


def test_float16_dense_layers_in_sparse_blocks_do_not_pass(tmp_path):
    model = keras.Sequential([L.Input((64,), name="x"), L.Dense(32, activation="relu"), L.Dense(16)])
    _prune(model, block=4)
    with pytest.raises(ExportError, match=r"not finite: try another recipe, float32 first.*values NaN"):
        export_tflite(model, tmp_path / "a", "sparse_float16", tolerance=1e9)
    assert not list(tmp_path.iterdir())
    assert export_tflite(model, tmp_path / "b", "sparse_float32").worst_difference < 1e-5


@pytest.mark.parametrize("recipe", list(RECIPES))
def test_several_inputs_and_outputs_keep_their_names(two_by_two, pairs, tmp_path, recipe):
    path = tmp_path / "net.tflite"
    result = export_tflite(two_by_two, path, recipe, pairs, pairs)
    runner = Interpreter(model_path=str(path)).get_signature_runner()
    given, got = runner.get_input_details(), runner.get_output_details()
    assert {name: each["shape"].tolist() for name, each in given.items()} == {"left-hand": [1, 2], "right": [1, 5]}
    assert {name: each["shape"].tolist() for name, each in got.items()} == {"ant": [1, 3], "zebra": [1, 4]}
    ends = {"int8": np.int8, "int8_pruned": np.int8, "int16x8": np.int16}.get(recipe, np.float32)
    assert {each["dtype"] for each in (*given.values(), *got.values())} == {ends}
    bound = 0.1 if RECIPES[recipe].measure == "mean" else 1e-2 if "16" in recipe else 1e-5
    assert result.worst_difference < bound
    assert result.agreement is None
    assert result.accuracy is None


def test_dicts_of_inputs_and_outputs_take_the_names_of_their_layers(tmp_path):
    first, second = L.Input((5,), name="first"), L.Input((2,), name="second")
    outputs = {"wide": L.Dense(4, name="four")(first), "narrow": L.Dense(3, name="three")(second)}
    model = keras.Model({"b": first, "a": second}, outputs)
    generator = np.random.default_rng(0)
    data = {"b": generator.normal(size=(9, 5)).astype("float32"), "a": generator.normal(size=(9, 2)).astype("float32")}
    path = tmp_path / "net.tflite"
    export_tflite(model, path, check_data=data)
    runner = Interpreter(model_path=str(path)).get_signature_runner()
    assert set(runner.get_input_details()) == {"first", "second"}
    wanted = model.predict(data, verbose=0)
    got = runner(first=data["b"][:1], second=data["a"][:1])
    np.testing.assert_allclose(got["four"], wanted["wide"][:1], atol=1e-6)
    np.testing.assert_allclose(got["three"], wanted["narrow"][:1], atol=1e-6)


def test_a_sparse_file_that_is_right_here_and_wrong_on_arm_is_refused(tmp_path):
    # It begins as XNNPACK's sparse kernels want it; max pooling then reads what they left channels first.
    layers = keras.layers
    net = keras.Sequential(
        [
            layers.Input((16, 16, 3)),
            layers.ZeroPadding2D(1),
            layers.Conv2D(8, 3, strides=2, activation="relu"),
            layers.Conv2D(16, 1, activation="tanh"),
            layers.MaxPool2D(),
            layers.Conv2D(16, 1, activation="tanh"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(4),
        ]
    )
    generator = np.random.default_rng(0)
    for weight in net.weights:
        if len(weight.shape) > 1:
            weight.assign(weight * (generator.random(weight.shape) > 0.8))
    with pytest.raises(ExportError, match="on ARM"):
        export_tflite(net, tmp_path / "net.tflite", "sparse_float32")
    assert not list(tmp_path.iterdir())
    export_tflite(net, tmp_path / "net.tflite", "float32")
