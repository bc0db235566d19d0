"""What a file is said to gain from pruning, against what its bytes, its shapes and its form allow."""

from __future__ import annotations

import gzip
import json

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from tfmot_swd.tflite.advice import advise
from tfmot_swd.tflite.file_facts import read_facts
from tfmot_swd.tflite.graph import read_graph
from tfmot_swd.tflite.micro import encode_pruned
from tfmot_swd.tflite.micro.operators import micro_problems

L = keras.layers
SPARSE, DEFAULT = tf.lite.Optimize.EXPERIMENTAL_SPARSITY, tf.lite.Optimize.DEFAULT


def build(filters=64, sparsity=0.0, block=1, activation="relu", flat=False):
    """Returns a net that XNNPACK's sparse kernels take if it is sparse enough, or its head alone on flat inputs."""
    keras.utils.set_random_seed(1)
    inputs = x = L.Input((64,) if flat else (16, 16, 3), batch_size=1)
    if not flat:
        x = L.Conv2D(8, 3, strides=2, activation="relu")(L.ZeroPadding2D(1)(x))
        x = L.Conv2D(filters, 1, activation=activation)(x)
        x = L.GlobalAveragePooling2D()(L.Conv2D(filters, 1, activation="tanh")(x))
    model = keras.Model(inputs, L.Dense(64)(x))
    generator = np.random.default_rng(0)
    for weight in model.weights:
        if weight.shape.rank > 1:
            side = block if weight.shape.rank == 2 else 1
            kept = generator.random((weight.shape[0] // side, *weight.shape[1:])) >= sparsity
            weight.assign(weight * np.repeat(kept, side, axis=0))
    return model


def convert(model, *optimizations, half=False, integers=False):
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = list(optimizations)
    if half:
        converter.target_spec.supported_types = [tf.float16]
    if integers:
        data = np.random.default_rng(0).normal(size=(4, *model.inputs[0].shape)).astype(np.float32)
        converter.representative_dataset = lambda: ([each] for each in data)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.int8
    return converter.convert()


@pytest.fixture(scope="module")
def files():
    """Returns one net in all its forms, at 85 % zeros but for the one called dense."""
    pruned = build(sparsity=0.85)
    return {
        "dense": convert(build()),
        "float32": convert(pruned),
        "sparse": convert(pruned, SPARSE),
        "float16": convert(pruned, DEFAULT, half=True),
        "dynamic": convert(pruned, DEFAULT),
        "int8": convert(pruned, DEFAULT, integers=True),
        "dense int8": convert(build(), DEFAULT, integers=True),
    }


def verdicts(advice):
    return {each.topic: each.verdict for each in advice.advice}


@pytest.mark.parametrize(
    ("name", "form", "download", "rest", "phone", "flash", "npu"),
    [
        ("dense", "float32", "does not help", "does not help", "does not help", "does not help", "does not help"),
        ("float32", "float32", "helps", "does not help", "does not help", "does not help", "does not help"),
        ("sparse", "float32", "helps", "helps", "helps", "fails", "does not help"),
        ("float16", "float16", "helps", "does not help", "does not help", "fails", "does not help"),
        ("dynamic", "dynamic", "helps", "does not help", "does not help", "fails", "does not help"),
        ("int8", "int8", "helps", "does not help", "does not help", "helps", "helps"),
        ("dense int8", "int8", "does not help", "does not help", "unknown", "does not help", "does not help"),
    ],
)
def test_the_verdict_on_each_form(files, name, form, download, rest, phone, flash, npu):
    advice = advise(files[name])
    assert advice.form == form
    got = verdicts(advice)
    assert (got["download size"], got["size at rest"], got["speed on a phone"]) == (download, rest, phone)
    assert (got["microcontroller flash"], got["NPU"]) == (flash, npu)
    assert got["speed on x86"] == got["microcontroller RAM"] == "unknown"
    assert got["memory"] == ("does not help" if name == "sparse" else "unknown")
    # Beside a dense file of the same shapes it is known that no channels were removed.
    got = verdicts(advise(files[name], files["dense int8" if form == "int8" else "dense"]))
    assert got["channels"] == got["speed on x86"] == got["microcontroller RAM"] == got["memory"] == "does not help"


def test_remedies_name_what_there_is(files):
    import re

    import tfmot_swd.tflite.micro

    for content in files.values():
        for each in advise(content).advice:
            for name in re.findall(r"[\w.]*micro\.\w+", each.remedy):
                assert name.startswith("tfmot_swd.tflite.micro.")
                assert hasattr(tfmot_swd.tflite.micro, name.rpartition(".")[2])


def test_removed_channels_are_not_asked_for_again(files):
    for before, after in (("dense", convert(build(filters=32))), ("dense int8", None)):
        after = after or convert(build(filters=32), DEFAULT, integers=True)
        alone, beside = advise(after), advise(after, files[before])
        assert "remove channels" not in " ".join(each.remedy for each in alone.advice)
        said = {each.topic: {row.verdict for row in beside.on(each.topic)} for each in beside.advice}
        for topic in ("channels", "size at rest", "speed on x86", "memory", "microcontroller flash"):
            assert said[topic] == {"helps"}
        assert not any(each.remedy.startswith("remove channels:") for each in beside.advice)


def test_models_tell_whether_channels_were_removed_where_no_dense_file_does(files):
    for content in (files["dense"], files["dense int8"]):
        removed, kept = (advise(content, channels_removed=each) for each in (True, False))
        said = verdicts(removed)
        # How much of memory goes depends on which channels did.
        assert said.pop("microcontroller RAM") == "unknown"
        if removed.form == "float32":
            assert said.pop("NPU") == "does not help"
        assert set(said.values()) == {"helps"}
        assert set(verdicts(kept).values()) == {"does not help"}
        for each in removed.advice:
            assert "removed is not known" not in each.reason or each.topic == "microcontroller RAM"
            assert not each.remedy.startswith("remove channels")


def test_an_open_size_has_no_memory_and_does_not_run_on_a_microcontroller():
    image = L.Input((None, None, 3))
    content = convert(keras.Model(image, L.Dense(3)(L.GlobalAveragePooling2D()(L.Conv2D(4, 3)(image)))))
    advice = advise(content, target="microcontroller")
    (ram,), (flash,) = advice.on("microcontroller RAM"), advice.on("microcontroller flash")
    assert (ram.verdict, flash.verdict) == ("unknown", "fails")
    assert "the size of an input is open (1x?x?x3)" in flash.reason
    assert "fix the size" in ram.remedy


def test_numbers_are_those_of_the_file(files):
    advice = advise(files["int8"])
    weights = 8 * 27 + 8 * 64 + 64 * 64 + 64 * 64
    assert (advice.bytes, advice.weights) == (len(files["int8"]), weights)
    assert advice.gzip_bytes == len(gzip.compress(files["int8"], 9, mtime=0))
    assert 0.84 < advice.zeros / weights < 0.88
    (flash,) = advice.on("microcontroller flash")
    saved = len(files["int8"]) - len(encode_pruned(files["int8"]).content)
    assert flash.reason.startswith(f"{saved:,} of {len(files['int8']):,} bytes are saved once 4 kernels")
    zeros = [kernel.size - kernel.nonzeros for kernel in read_graph(files["int8"]).kernels()]
    assert f"64x1x1x64: 4,096 → {4096 // 8 + 4096 - zeros[2] + 16:,} bytes" in flash.where
    # The 8x8 maps of 64 channels go in and out of the second 1x1 convolution.
    (ram,) = advice.on("microcontroller RAM")
    assert f"{2 * 8 * 8 * 64:,} bytes" in ram.reason
    assert ram.where.startswith("operator ")
    assert "CONV_2D -> 1x8x8x64" in ram.where
    assert advise(files["float32"]).zeros == advise(files["sparse"]).zeros == advise(files["float16"]).zeros


def test_sparse_files_name_what_they_unpack(files):
    (memory,) = advise(files["sparse"]).on("memory")
    assert f"{4 * (8 * 27 + 8 * 64 + 2 * 64 * 64):,} bytes beside the file" in memory.reason


def test_removed_channels_are_told_from_zeroed_ones(files):
    removed = advise(convert(build(filters=32)), files["dense"])
    zeroed = advise(files["float32"], files["dense"])
    (channels,) = removed.on("channels")
    assert channels.verdict == "helps"
    assert channels.where == "CONV_2D 64x1x1x8 → 32x1x1x8, CONV_2D 64x1x1x64 → 32x1x1x32, FULLY_CONNECTED 64x64 → 64x32"
    assert verdicts(removed)["microcontroller RAM"] == verdicts(removed)["memory"] == "helps"
    assert [each.verdict for each in removed.on("speed on x86")] == ["helps"]
    (channels,) = zeroed.on("channels")
    assert channels.verdict == "does not help"
    assert channels.reason.startswith("every kernel has the shape it had")
    assert verdicts(zeroed)["memory"] == "does not help"


def test_dead_channels_are_counted():
    model = build()
    kernel, bias = model.layers[3].get_weights()
    kernel[..., :5] = 0
    model.layers[3].set_weights([kernel, bias])
    (channels,) = advise(convert(model)).on("channels")
    assert channels.reason.startswith("5 of 200 output channels are zero throughout")


def test_a_file_that_goes_wrong_on_phones_only():
    inputs = L.Input((16, 16, 3), batch_size=1)
    x = L.Conv2D(8, 3, strides=2, activation="relu")(L.ZeroPadding2D(1)(inputs))
    x = L.MaxPool2D()(L.Conv2D(16, 1, activation="relu")(x))
    x = L.GlobalAveragePooling2D()(L.Conv2D(16, 1, activation="relu")(x))
    model = keras.Model(inputs, L.Dense(4)(x))
    for weight in model.weights:
        weight.assign(np.where(np.random.default_rng(0).random(weight.shape) < 0.8, 0, weight))
    first, second = advise(convert(model, SPARSE), target="phone").on("speed on a phone")
    assert first.verdict == "fails"
    assert "does not load, or computes something else" in first.reason
    assert first.where == second.where
    assert "MAX_POOL_2D" in first.where
    assert second.verdict == "does not help"


@pytest.mark.parametrize(("half", "verdict"), [(False, "helps"), (True, "fails")])
def test_dense_layers_in_blocks(half, verdict):
    content = convert(build(flat=True, sparsity=0.8, block=4), SPARSE, *([DEFAULT] if half else []), half=half)
    got = verdicts(advise(content, target="desktop"))
    assert got["size at rest"] == verdict
    assert got["speed of dense layers"] == ("does not help" if half else "helps")


def test_sparse_integers_are_refused():
    advice = advise(convert(build(sparsity=0.85), DEFAULT, SPARSE, integers=True))
    (rest,) = advice.on("size at rest")
    assert rest.verdict == "fails"
    assert 'recipe="int8"' in rest.remedy


@pytest.mark.parametrize(
    ("name", "rules"),
    [("int8", set()), ("float32", set()), ("float16", {"float16"}), ("dynamic", {"hybrid"}), ("sparse", {"sparse"})],
)
def test_what_keeps_a_microcontroller_from_running_a_file(files, name, rules):
    assert {problem.rule for problem in micro_problems(read_graph(files[name]))} == rules


def test_an_operator_that_microcontrollers_lack():
    content = convert(build(activation="gelu"))
    (flash,) = advise(content, target="microcontroller").on("microcontroller flash")
    assert flash.verdict == "fails"
    assert "GELU -> 1x8x8x64" in flash.where


def test_encoded_files_lost_no_channels_and_restore_their_kernels_in_ram(files):
    encoded = encode_pruned(files["int8"])
    facts, plain = read_facts(encoded.content), read_facts(files["int8"])
    assert (facts.weights, facts.zeros, facts.kernels) == (plain.weights, plain.zeros, plain.kernels)
    assert facts.decoded_bytes == max(each.plain_bytes for each in encoded.tensors)
    advice = advise(encoded.content, files["int8"])
    (channels,) = advice.on("channels")
    assert channels.verdict == "does not help"
    assert "every kernel has the shape it had" in channels.reason
    (ram,) = advice.on("microcontroller RAM")
    assert f"the largest takes {facts.decoded_bytes:,} bytes" in ram.reason
    (flash,) = advise(files["int8"]).on("microcontroller flash")
    assert f"the largest takes {facts.decoded_bytes:,} bytes" in flash.remedy


def test_encoded_files_run_on_microcontrollers_only(files):
    encoded = encode_pruned(files["int8"]).content
    got = verdicts(advise(encoded))
    assert got["microcontroller flash"] == "helps"
    assert got["speed on a phone"] == got["speed on x86"] == "fails"


def test_a_target_leaves_the_rest_out(files):
    topics = {target: set(verdicts(advise(files["int8"], target=target))) for target in ("phone", "microcontroller")}
    assert topics["microcontroller"] - {"channels"} == {"microcontroller flash", "microcontroller RAM", "NPU"}
    large = {"download size", "size at rest", "speed on a phone", "speed of dense layers", "memory"}
    assert topics["phone"] - {"channels"} == large


def test_it_prints_and_becomes_plain_data(files, tmp_path):
    path = tmp_path / "net [1].tflite"
    path.write_bytes(files["int8"])
    advice = advise(path)
    text = str(advice)
    assert "int8, " in text
    assert "net [1].tflite" in text
    assert max(map(len, text.splitlines())) <= 110
    plain = json.loads(json.dumps(advice.to_dict()))
    assert plain["path"] == str(path)
    assert plain["advice"][0] == {**vars(advice.advice[0])}
    assert advise(str(path)) == advice


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((b"PK\x03\x04", None, None), ValueError, "not a TFLite file"),
        (
            (None, None, None),
            TypeError,
            "file must be the bytes of a TFLite file, or its path.*Received: file=NoneType",
        ),
        ((b"", 3, "phone"), ValueError, "not a TFLite file"),
        ((b"", None, "fridge"), ValueError, "one of 'phone', 'desktop'.*Received: target='fridge'"),
        (("missing.tflite", None, None), FileNotFoundError, "no such file.*Received: file='missing.tflite'$"),
    ],
)
def test_wrong_arguments(arguments, error, message):
    with pytest.raises(error, match=message):
        advise(*arguments)


def test_facts_of_a_net_without_kernels():
    inputs = L.Input((4,), batch_size=1)
    facts = read_facts(convert(keras.Model(inputs, L.ReLU()(inputs))))
    assert (facts.weights, facts.sparsity, facts.channels, facts.form) == (0, 0.0, 0, "float32")
    assert facts.most_bytes == 2 * 4 * 4
