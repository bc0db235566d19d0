import numpy as np
import pytest
import tf_keras as keras

from tfmot_swd import (
    ProgressiveRate,
    SelectiveDecay,
    StructuredDecay,
    plan_channels,
    plan_pruning,
    prune_progressive_gradient,
    prune_selective_decay,
)
from tfmot_swd.keras2.layer_choice import LayerChoice
from tfmot_swd.pruning.wrapped_models import collect_wrappers
from tfmot_swd.pruning.wrapper import PruningWrapper

layers = keras.layers


def nested() -> keras.Model:
    """A model "backbone" of two convolutions, and a head of two more."""
    backbone = keras.Sequential(
        [
            layers.Conv2D(4, 3, input_shape=(8, 8, 1), name="conv"),
            layers.ReLU(name="relu"),
            layers.Conv2D(6, 3, name="last"),
        ],
        name="backbone",
    )
    return keras.Sequential(
        [
            backbone,
            layers.Conv2D(8, 3, name="conv"),
            layers.Conv2D(2, 1, name="out"),
            layers.Flatten(name="flatten"),
        ]
    )


@pytest.mark.parametrize(
    ("skip", "only", "allowed"),
    [
        ((), None, ["backbone/conv", "backbone/last", "conv", "out"]),
        (["conv"], None, ["backbone/last", "out"]),
        (["backbone/conv"], None, ["backbone/last", "conv", "out"]),
        (["backbone"], None, ["conv", "out"]),
        ((), ["backbone"], ["backbone/conv", "backbone/last"]),
        ((), ["backbone/conv", "out"], ["backbone/conv", "out"]),
        (["last"], ["backbone"], ["backbone/conv"]),
        (["flatten"], None, ["backbone/conv", "backbone/last", "conv", "out"]),
    ],
)
def test_names_are_of_layers_of_paths_and_of_inner_models(skip, only, allowed):
    paths = ["backbone/conv", "backbone/last", "conv", "out"]
    chosen = LayerChoice(skip, only).of(nested())
    assert [path for path in paths if chosen.allows(path)] == allowed
    assert [row.layer for row in plan_pruning(nested(), skip=skip, only=only).pruned] == allowed


def slashed() -> keras.Model:
    """Names as those of DenseNet have a slash; "conv" is the end of one of them, and a layer by itself."""
    inputs = keras.Input((8, 8, 3))
    inner = layers.Conv2D(4, 3, name="conv")(layers.Conv2D(4, 3, name="conv1/conv")(inputs))
    outer = keras.Input((8, 8, 3))
    pooled = layers.GlobalAveragePooling2D()(keras.Model(inputs, inner, name="backbone")(outer))
    return keras.Model(outer, layers.Dense(2, name="head")(pooled))


def shared() -> keras.Model:
    """One layer in two models."""
    layer = layers.Dense(8, name="shared")
    parts = [keras.Sequential([keras.Input((8,)), layer], name=name) for name in ("one", "two")]
    inputs = keras.Input((8,))
    return keras.Model(inputs, layers.Dense(1, name="head")(layers.Add()([part(inputs) for part in parts])))


@pytest.mark.parametrize(
    ("net", "given", "pruned"),
    [
        (slashed, {"skip": ["conv1/conv"]}, ["backbone/conv", "head"]),
        (slashed, {"skip": ["conv"]}, ["backbone/conv1/conv", "head"]),
        (slashed, {"only": ["backbone/conv1/conv"]}, ["backbone/conv1/conv"]),
        (slashed, {"only": np.array(["conv1/conv"])}, ["backbone/conv1/conv"]),
        (shared, {"skip": ["two"]}, ["head"]),
        (shared, {"only": ["two"]}, ["one/shared"]),
        (shared, {"skip": ["two/shared"]}, ["head"]),
    ],
)
def test_names_with_slashes_and_layers_with_two_paths(net, given, pruned):
    assert [row.layer for row in plan_pruning(net(), **given).pruned] == pruned
    ranked = {row.group for row in plan_channels(net(), layers="all", **given).ranked}
    assert ranked == set(pruned) - {"head"}


def test_only_ranks_the_channels_that_the_named_layers_alone_make():
    inputs = keras.Input((8, 8, 2))
    first = layers.Conv2D(4, 1, name="first")(inputs)
    added = layers.Add()([layers.Conv2D(3, 1, name="left")(first), layers.Conv2D(3, 1, name="right")(first)])
    model = keras.Model(inputs, layers.Conv2D(2, 1, name="out")(added))
    ranked = {name: [row.group for row in plan_channels(model, only=[*name]).ranked] for name in ALONE}
    assert ranked == ALONE


# "left" and "right" are joined by the addition: neither alone may lose channels.
ALONE = {("first",): ["first"], ("left",): [], ("left", "right"): ["left"], ("out",): []}


@pytest.mark.parametrize(
    ("schedule", "wrapped"),
    [
        (SelectiveDecay(0.5, 10), ["conv"]),
        # What reads the channels is decayed with them.
        (StructuredDecay(0.1, 10), ["conv", "last"]),
        (ProgressiveRate(0.5, 10), ["conv"]),
    ],
)
def test_every_method_prunes_only_what_is_named(schedule, wrapped):
    is_progressive = isinstance(schedule, ProgressiveRate)
    prune = prune_progressive_gradient if is_progressive else prune_selective_decay
    model = prune(nested(), schedule, only=["backbone/conv"])
    assert [each.layer.name for each in collect_wrappers(model, PruningWrapper)] == wrapped


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"skip": "conv"}, TypeError, r"skip must be a list of names of layers.*Received: 'conv'$"),
        ({"only": "conv"}, TypeError, r"only must be a list of names of layers.*Received: 'conv'$"),
        (
            {"only": ["cnv"]},
            ValueError,
            r"only names layers that.*not have: did you mean conv\? Received: cnv$",
        ),
        ({"skip": ["nothing like it"]}, ValueError, r"skip names .* Received: nothing like it$"),
        ({"only": []}, ValueError, r"None for all. Received: an empty list$"),
        ({"only": ["flatten"]}, ValueError, r"Nothing in this model can be pruned"),
    ],
)
def test_unknown_names_and_choices_of_nothing(given, error, message):
    with pytest.raises(error, match=message):
        prune_selective_decay(nested(), SelectiveDecay(0.5, 10), **given)


@pytest.mark.parametrize("several", [False, True])
def test_a_layer_in_place_of_a_model_is_told_the_way(several):
    layer = layers.Dense(3, name="head")
    with pytest.raises(
        TypeError, match=r"wrap it, and name .* only=\['head'\]\. Received: head \(Dense\), not a model"
    ):
        prune_selective_decay([layer] if several else layer, SelectiveDecay(0.5, 10))
