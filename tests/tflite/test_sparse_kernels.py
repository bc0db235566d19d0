"""Which networks XNNPACK's sparse kernels run, which rule others break, and which go wrong there.

Every outcome is what LiteRT 2.3 did with the same network when AVX was hidden from it, which turns the sparse kernels
on: whether it made channels-first convolutions, and whether its output was still right.
"""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from tfmot_swd.tflite.graph import read_graph
from tfmot_swd.tflite.sparse_kernels import XNNPACK_RULES, block_sparse, xnnpack_sparse
from tfmot_swd.tflite.sparse_layout import xnnpack_outcome

L = keras.layers
SPARSE, DEFAULT = tf.lite.Optimize.EXPERIMENTAL_SPARSITY, tf.lite.Optimize.DEFAULT


def image(channels=3):
    return L.Input((16, 16, channels), batch_size=1)


def stem(x, kernel=3, strides=2, pad=1):
    return L.Conv2D(8, kernel, strides=strides, activation="relu")(L.ZeroPadding2D(pad)(x))


def pointwise(x, filters=16, activation="tanh", **keywords):
    return L.Conv2D(filters, 1, activation=activation, **keywords)(x)


def head(x):
    return L.Dense(10, activation="softmax")(L.GlobalAveragePooling2D()(x))


def squeeze_excite(x):
    """Returns x, weighted by what pools it, the axes kept throughout."""
    pooled = L.GlobalAveragePooling2D(keepdims=True)(x)
    return L.Multiply()([x, pointwise(pointwise(pooled, 4), activation="sigmoid")])


def branches(x, *ends):
    """Returns several outputs of one feature map."""
    return [end(x) for end in ends]


def depthwise(x, size=3, **keywords):
    return L.DepthwiseConv2D(size, **{"padding": "same", **keywords})(x)


def sparse_twin(function, sparsity=0.8, block=1, channels=3):
    """Returns the model of a function of its input, with random zeros; dense layers lose blocks of inputs."""
    x = image(channels)
    model = keras.Model(x, function(x))
    generator = np.random.default_rng(0)
    for weight in model.weights:
        if weight.shape.rank > 1:
            side = block if weight.shape.rank == 2 else 1
            kept = generator.random((weight.shape[0] // side, *weight.shape[1:])) >= sparsity
            weight.assign(weight * np.repeat(kept, side, axis=0))
    return model


def convert(model, *optimizations, supported_types=(), integers=False):
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = list(optimizations)
    converter.target_spec.supported_types = list(supported_types)
    if integers:
        shape = tuple(model.inputs[0].shape)
        converter.representative_dataset = lambda: [[np.random.default_rng(0).normal(size=shape).astype(np.float32)]]
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    return converter.convert()


VARIANTS = {
    "plain": (lambda x: head(pointwise(stem(x))), [], "sparse"),
    "deep": (
        lambda x: head(pointwise(depthwise(L.ZeroPadding2D(1)(depthwise(stem(x), 5)), strides=2, padding="valid"))),
        [],
        "sparse",
    ),
    "residual": (lambda x: head((lambda y: L.Add()([y, pointwise(y)]))(pointwise(stem(x)))), [], "sparse"),
    "squeeze and excite": (lambda x: head(squeeze_excite(pointwise(stem(x)))), [], "sparse"),
    "resize": (
        lambda x: tf.nn.depth_to_space(L.UpSampling2D(interpolation="bilinear")(pointwise(stem(x))), 2),
        [],
        "sparse",
    ),
    "anything before": (
        lambda x: head(pointwise(stem(L.Conv2D(3, 3, padding="same", activation="relu")(x)))),
        [],
        "sparse",
    ),
    "stem padded by TensorFlow": (
        lambda x: head(pointwise(L.Conv2D(8, 3, strides=2, padding="same", activation="relu")(x))),
        ["first layer"],
        "dense",
    ),
    "stem without stride": (lambda x: head(pointwise(stem(x, strides=1))), ["first layer"], "dense"),
    "stem of 5x5": (lambda x: head(pointwise(stem(x, kernel=5, pad=2))), ["first layer"], "dense"),
    "3x3 convolution": (
        lambda x: head(pointwise(L.Conv2D(8, 3, padding="same")(stem(x)))),
        ["convolution"],
        "dense",
    ),
    "1x1 with stride": (lambda x: head(pointwise(pointwise(stem(x)), strides=2)), ["convolution"], "wrong"),
    "depthwise 7x7": (lambda x: head(pointwise(depthwise(stem(x), 7))), ["depthwise"], "dense"),
    "depthwise with stride": (lambda x: head(pointwise(depthwise(stem(x), strides=2))), ["depthwise"], "dense"),
    "multiplier": (lambda x: head(pointwise(depthwise(stem(x), depth_multiplier=2))), ["depthwise"], "dense"),
    "pooling": (lambda x: head(pointwise(L.MaxPool2D()(stem(x)))), ["operator"], "dense"),
    "pooling later": (lambda x: head(pointwise(L.MaxPool2D()(pointwise(stem(x))))), ["operator"], "wrong"),
    "constant": (lambda x: head(pointwise(pointwise(stem(x)) + np.arange(16.0, dtype="f"))), ["operator"], "wrong"),
    "flat": (lambda x: L.Dense(10)(L.Flatten()(pointwise(stem(x)))), ["end"], "dense"),
    "feature map": (lambda x: pointwise(pointwise(stem(x))), ["end"], "dense"),
    "inner output": (
        lambda x: branches(pointwise(stem(x)), lambda y: head(pointwise(y)), tf.identity),
        ["end"],
        "wrong",
    ),
    "head of 1x1": (
        lambda x: L.Flatten()(pointwise(L.GlobalAveragePooling2D(keepdims=True)(pointwise(stem(x))), 10, None)),
        ["end"],
        "wrong",
    ),
    "activated head of 1x1": (
        lambda x: L.Flatten()(pointwise(L.GlobalAveragePooling2D(keepdims=True)(pointwise(stem(x))), 10)),
        [],
        "sparse",
    ),
    "no convolution": (lambda x: L.Dense(8)(L.Flatten()(x)), ["first layer"], "dense"),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_one_broken_rule_is_found(name):
    function, rules, outcome = VARIANTS[name]
    graph = read_graph(convert(sparse_twin(function), SPARSE))
    assert [finding.rule for finding in xnnpack_sparse(graph)] == rules
    assert xnnpack_outcome(graph) == outcome


@pytest.fixture(scope="module")
def plain():
    return VARIANTS["plain"][0]


@pytest.mark.parametrize(
    ("changes", "keywords", "rule"),
    [
        ({"channels": 4}, {}, "first layer"),
        ({"sparsity": 0.6}, {}, "zeros"),
        ({}, {"supported_types": (tf.float16,)}, None),
        ({}, {"optimizations": ()}, "stored sparse"),
        ({}, {"optimizations": (DEFAULT,), "integers": True}, "float"),
    ],
    ids=["four channels", "few zeros", "float16", "stored whole", "int8"],
)
def test_the_rest_of_the_rules(plain, changes, keywords, rule):
    optimizations = keywords.pop("optimizations", (SPARSE, *([DEFAULT] if keywords else [])))
    graph = read_graph(convert(sparse_twin(plain, **changes), *optimizations, **keywords))
    assert [finding.rule for finding in xnnpack_sparse(graph)] == [rule] * (rule is not None)
    assert xnnpack_outcome(graph) == ("sparse" if rule is None else "dense")


def test_findings_say_where_and_what():
    function = lambda x: head(pointwise(L.MaxPool2D()(L.Conv2D(8, 5, padding="same")(x))))  # noqa: E731
    graph = read_graph(convert(sparse_twin(function), SPARSE))
    first, second = xnnpack_sparse(graph)
    index = next(operator.index for operator in graph.operators if operator.name == "CONV_2D")
    assert (first.rule, first.operator, first.name) == ("first layer", index, "CONV_2D")
    assert first.where.startswith(f"operator {index} CONV_2D -> 1x16x16x8 (")
    assert first.found == "kernel 5x5, stride 1, padding 2, 3 input channels"
    assert first.remedy.startswith("begin with ZeroPadding2D(1)")
    assert (second.rule, second.name) == ("operator", "MAX_POOL_2D")


def test_zeros_of_a_dense_layer_after_the_pooling_do_not_count():
    model = sparse_twin(VARIANTS["plain"][0])
    model.layers[-1].kernel.assign(tf.random.normal(model.layers[-1].kernel.shape))
    assert xnnpack_sparse(read_graph(convert(model, SPARSE))) == ()


def test_each_rule_is_broken_by_a_variant():
    broken = {rule for _, rules, _ in VARIANTS.values() for rule in rules} | {"zeros", "stored sparse", "float"}
    assert broken == {rule.name for rule in XNNPACK_RULES}


@pytest.mark.parametrize(
    ("block", "optimizations", "found"),
    [
        (4, (SPARSE,), []),
        (1, (SPARSE,), ["weights that are stored sparse one by one, and unpacked at load"]),
        (4, (), ["weights that are stored whole"]),
    ],
)
def test_dense_layers_in_blocks(block, optimizations, found):
    model = sparse_twin(lambda x: L.Dense(32)(L.Flatten()(x)), block=block)
    findings = block_sparse(read_graph(convert(model, *optimizations)))
    assert [finding.found for finding in findings] == found
    assert all("block_size=(4, 1)" in finding.remedy for finding in findings)
