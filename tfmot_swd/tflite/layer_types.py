"""Layers of an int8 file in another type: their check, and the error of those without an operator of the file."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence

import tensorflow as tf

from tfmot_swd.keras2.compat import keras
from tfmot_swd.keras2.graph import GraphCall, has_graph, propagate
from tfmot_swd.tflite.recipes import Recipe
from tfmot_swd.tflite.result import ExportError

# Of a tensor: the nearest layers before it that have an operator, and the wanted ones since then that have none.
_Nearest = tuple[frozenset[str], frozenset[str]]


def check_layers(float_layers: Sequence[str], int16_layers: Sequence[str], model: keras.Model, recipe: Recipe) -> None:
    """Raises on layers for another type that the model has not, that are named twice, or for a recipe not in int8."""
    names = {each.name for each in model.submodules if isinstance(each, keras.layers.Layer)}
    for argument, layers in (("float_layers", float_layers), ("int16_layers", int16_layers)):
        if isinstance(layers, str) or not all(isinstance(each, str) for each in layers):
            raise TypeError(f"{argument} must be a list of names of layers. Received: {argument}={layers!r}")
        if layers and not takes_layers(recipe):
            raise ValueError(
                f"{argument} is for recipes in int8: leave it out, or use recipe='int8'. "
                f"Received: {argument}={list(layers)!r} with recipe={recipe.name!r}"
            )
        unknown = [each for each in layers if each not in names]
        if unknown:
            raise ValueError(
                f"{argument} must be names of the model's layers: {', '.join(sorted(names)[:10])}, ... "
                f"Received: {', '.join(map(repr, unknown))}"
            )
    both = [each for each in int16_layers if each in float_layers]
    if both:
        raise ValueError(
            "A layer is in float or in int16: name it in float_layers or in int16_layers. "
            f"Received: {', '.join(map(repr, both))} in both"
        )
    if int16_layers and not has_quantizer():
        raise ImportError(
            "int16_layers needs AI Edge Quantizer, which is missing: pip install 'tfmot_swd[quantizer]'. "
            "Received: no package ai_edge_quantizer"
        )


def takes_layers(recipe: Recipe) -> bool:
    """Returns whether single layers can have another type in files of a recipe."""
    return recipe.supported_ops == (tf.lite.OpsSet.TFLITE_BUILTINS_INT8,)


def has_quantizer() -> bool:
    """Returns whether AI Edge Quantizer is installed."""
    return importlib.util.find_spec("ai_edge_quantizer") is not None


def no_operator(
    model: keras.Model, argument: str, missing: Sequence[str], operators: Mapping[str, tuple[int, str]]
) -> ExportError:
    """Returns the error of layers that the file has no operator for: which operators they may be folded into.

    A batch normalization, for one, becomes a factor of the kernel of the convolution before it.

    Args:
      model: a Sequential or Functional model.
      argument: that named them.
      missing: names of the layers.
      operators: number and name of the operator of each layer that has one, by the layer's name.

    >>> layers = [keras.layers.Dense(2, name="a"), keras.layers.Dropout(0.5, name="b"), keras.layers.Dense(2, name="c")]
    >>> net = keras.Sequential([keras.layers.Input((2,)), *layers])
    >>> error = no_operator(net, "float_layers", ["b"], {"a": (0, "CONV_2D"), "c": (1, "ADD")})
    >>> str(error).partition("computes: ")[2].partition(".")[0]
    "b is folded into CONV_2D of 'a' before it, into ADD of 'c' behind it, or does nothing"
    """
    before: dict[str, set[str]] = {name: set() for name in missing}
    behind: dict[str, set[str]] = {name: set() for name in missing}

    def visit(call: GraphCall, known: dict[int, _Nearest]) -> list[_Nearest]:
        given = [known[id(tensor)] for tensor in call.inputs if id(tensor) in known]
        if has_graph(call.layer):
            return propagate(call.layer, given, visit)
        nearest = frozenset[str]().union(*(each for each, _ in given))
        waiting = frozenset[str]().union(*(each for _, each in given))
        name = call.layer.name
        if name in operators:
            for each in waiting:
                behind[each].add(name)
            return [(frozenset({name}), frozenset())] * len(call.outputs)
        if name in before:
            before[name] |= nearest
            waiting |= {name}
        return [(nearest, waiting)] * len(call.outputs)

    start: _Nearest = frozenset(), frozenset()
    propagate(model, [start] * len(model.inputs), visit)

    def said(name: str) -> str:
        around = {operators[each] for each in before[name]} & {operators[each] for each in behind[name]}
        if around:
            layers = sorted(each for each in before[name] | behind[name] if operators[each] in around)
            return f"{name} is folded into {' and '.join(kind for _, kind in sorted(around))} of {_quoted(layers)}"
        places = [
            f"into {' and '.join(f'{operators[each][1]} of {each!r}' for each in sorted(found))} {where}"
            for found, where in ((before[name], "before it"), (behind[name], "behind it"))
            if found
        ]
        return f"{name} is folded {', '.join(places)}, or does nothing" if places else f"{name} does nothing there"

    return ExportError(
        f"{argument} must name layers that the file computes: {'; '.join(map(said, missing))}. Name the layers of "
        f"those operators instead, or leave it out. Received: {', '.join(missing)}"
    )


def _quoted(names: Sequence[str]) -> str:
    return " and ".join(map(repr, names))
