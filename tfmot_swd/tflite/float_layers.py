"""Layers of an int8 file that stay in float: their check, and the error of those without an operator of the file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import tensorflow as tf

from tfmot_swd.keras2.compat import keras
from tfmot_swd.keras2.graph import GraphCall, has_graph, propagate
from tfmot_swd.tflite.recipes import Recipe
from tfmot_swd.tflite.result import ExportError

# Of a tensor: the nearest layers before it that have an operator, and the wanted ones since then that have none.
_Nearest = tuple[frozenset[str], frozenset[str]]


def check_float_layers(float_layers: Sequence[str], model: keras.Model, recipe: Recipe) -> None:
    """Raises on layers to keep in float that the model has not, or for a recipe that is not in int8."""
    if isinstance(float_layers, str) or not all(isinstance(each, str) for each in float_layers):
        raise TypeError(f"float_layers must be a list of names of layers. Received: float_layers={float_layers!r}")
    if not float_layers:
        return
    if not takes_float_layers(recipe):
        raise ValueError(
            "float_layers is for recipes in int8: leave it out, or use recipe='int8'. "
            f"Received: float_layers={list(float_layers)!r} with recipe={recipe.name!r}"
        )
    names = {each.name for each in model.submodules if isinstance(each, keras.layers.Layer)}
    unknown = [each for each in float_layers if each not in names]
    if unknown:
        raise ValueError(
            f"float_layers must be names of the model's layers: {', '.join(sorted(names)[:10])}, ... "
            f"Received: {', '.join(map(repr, unknown))}"
        )


def takes_float_layers(recipe: Recipe) -> bool:
    """Returns whether single layers can stay in float in files of a recipe."""
    return recipe.supported_ops == (tf.lite.OpsSet.TFLITE_BUILTINS_INT8,)


def no_operator(model: keras.Model, missing: Sequence[str], operators: Mapping[str, tuple[int, str]]) -> ExportError:
    """Returns the error of layers that the file has no operator for: which operators they may be folded into.

    A batch normalization, for one, becomes a factor of the kernel of the convolution before it.

    Args:
      model: a Sequential or Functional model.
      missing: names of the layers.
      operators: number and name of the operator of each layer that has one, by the layer's name.

    >>> layers = [keras.layers.Dense(2, name="a"), keras.layers.Dropout(0.5, name="b"), keras.layers.Dense(2, name="c")]
    >>> net = keras.Sequential([keras.layers.Input((2,)), *layers])
    >>> error = no_operator(net, ["b"], {"a": (0, "CONV_2D"), "c": (1, "ADD")})
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
        f"float_layers must name layers that the file computes: {'; '.join(map(said, missing))}. Name the layers of "
        f"those operators instead, or leave it out. Received: {', '.join(missing)}"
    )


def _quoted(names: Sequence[str]) -> str:
    return " and ".join(map(repr, names))
