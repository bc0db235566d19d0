"""Graphs of Keras 3 models: the calls that outputs depend on, in topological order."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from tfmot_swd.keras3.compat import automatic_mask, calls_by_depth, functional_of, keras


@dataclasses.dataclass(frozen=True)
class Keras3Call:
    """One call of a layer or operation in the graph of a Keras 3 model.

    Args:
      operation: the layer, nested model or operation that is called.
      args: positional arguments, symbolic tensors among them.
      kwargs: keyword arguments, without `training`, and without masks that Keras has filled in by itself.
      outputs: symbolic tensors, flattened.
    """

    operation: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    outputs: tuple[Any, ...]

    def converted(self, convert: Callable[[Any], Any]) -> tuple[list[Any], dict[str, Any]]:
        """Returns the arguments with each symbolic tensor, and each variable, replaced by `convert` of it."""

        def swap(value: Any) -> Any:
            return convert(value) if isinstance(value, keras.KerasTensor | keras.Variable) else value

        return (
            list(keras.tree.map_structure(swap, list(self.args))),
            dict(keras.tree.map_structure(swap, self.kwargs)),
        )

    @property
    def inputs(self) -> list[Any]:
        """The symbolic tensors among the arguments, flattened."""
        flat = keras.tree.flatten((self.args, self.kwargs))
        return [each for each in flat if isinstance(each, keras.KerasTensor)]


def calls_of(model: Any) -> list[Keras3Call]:
    """Returns the calls that the outputs of a Sequential or Functional model depend on, inputs first.

    Keras 3 writes the masks that travel with tensors into the calls of the layers that take a mask, and so the
    operation that computes one (`NotEqual` of an embedding) into the graph. tf_keras computes them itself: they are
    left out here, and with them operations that nothing else needs.

    Args:
      model: a built Sequential or Functional Keras 3 model.
    """
    calls = [_without_masks(node) for node in calls_by_depth(model)]
    needed = {id(tensor) for tensor in functional_of(model).outputs}
    found = []
    for call in reversed(calls):
        if any(id(tensor) in needed for tensor in call.outputs):
            needed.update(id(tensor) for tensor in call.inputs)
            found.append(call)
    return found[::-1]


def _without_masks(node: Any) -> Keras3Call:
    args, kwargs = node.arguments.args, node.arguments.kwargs
    if isinstance(node.operation, keras.layers.Layer):
        flat = keras.tree.flatten((args, {key: value for key, value in kwargs.items() if not _names_mask(key)}))
        known = {id(automatic_mask(each)) for each in flat if automatic_mask(each) is not None}
        kwargs = {key: value for key, value in kwargs.items() if not (_names_mask(key) and _all_known(value, known))}
    # Keras 3 writes the default of a layer's `call` here, and overrules it, as what was written by hand, wherever the
    # model is told whether it trains: in fit, evaluate and predict.
    kwargs = {key: value for key, value in kwargs.items() if key != "training"}
    return Keras3Call(node.operation, tuple(args), dict(kwargs), tuple(node.outputs))


def _names_mask(argument: str) -> bool:
    return argument == "mask" or argument.endswith("_mask")


def _all_known(value: Any, known: set[int]) -> bool:
    masks = [each for each in keras.tree.flatten(value) if each is not None]
    return all(id(each) in known for each in masks)
