"""Pushes channel labels through the graph of a model, call by call, nested models followed."""

from __future__ import annotations

import dataclasses
import inspect
from typing import Any

import numpy as np
import tensorflow as tf

from tfmot_swd._compat import keras
from tfmot_swd.channels.call import ArgumentEdit, Cut, Kept, LayerCall, LayerRecord
from tfmot_swd.channels.labels import Classes, Labels, Shape, Ties
from tfmot_swd.channels.registry import rule_of


@dataclasses.dataclass(frozen=True)
class Trace:
    """What a walk found.

    Args:
      cuts: every axis of a weight that channels own, in the order of the graph.
      records: identity of a layer → what its calls said.
      labels: identity of a symbolic tensor → its labels.
      argument_edits: identity of a node → how its arguments change.
      classes: the channels, joined.
    """

    cuts: tuple[Cut, ...]
    records: dict[int, LayerRecord]
    labels: dict[int, Labels]
    argument_edits: dict[int, list[ArgumentEdit]]
    classes: Classes

    def kept(self, stays: np.ndarray) -> Kept:
        """Returns what rules ask; `stays` says of each id whether it stays."""
        return Kept(stays)


def trace_channels(model: Any) -> Trace:
    """Walks the model once and returns what lives and dies with what."""
    walk = _Walk()
    inputs = [walk.stays(tensor, "model input") for tensor in model.inputs]
    for labels in walk.model(model, inputs, ""):
        walk.ties.pin(labels.ids, "model output")
    cuts = tuple(cut for record in walk.records.values() for cut in record.cuts.values())
    return Trace(cuts, walk.records, walk.labels, walk.argument_edits, walk.ties.resolve())


def nodes_of(model: Any) -> list[Any]:
    """Returns the calls of a graph model in the order in which Keras makes them."""
    by_depth = model._nodes_by_depth
    return [node for depth in sorted(by_depth, reverse=True) for node in by_depth[depth]]


def bound_arguments(node: Any) -> inspect.BoundArguments:
    """Returns the arguments of a call by name."""
    layer = node.layer
    function = layer.function if hasattr(layer, "symbol") and hasattr(layer, "function") else layer.call
    return inspect.signature(function).bind(*node.call_args, **node.call_kwargs)


class _Walk:
    def __init__(self) -> None:
        self.ties = Ties()
        self.records: dict[int, LayerRecord] = {}
        self.labels: dict[int, Labels] = {}
        self.argument_edits: dict[int, list[ArgumentEdit]] = {}
        self._models: dict[int, tuple[list[Labels], list[Labels]]] = {}

    def stays(self, tensor: Any, reason: str) -> Labels:
        shape = shape_of(tensor)
        return Labels(self.ties.new_pinned(reason).reshape((1,) * len(shape)), shape)

    def model(self, model: Any, inputs: list[Labels], prefix: str) -> list[Labels]:
        """Walks one model; called again, it ties its inputs to those of the first call."""
        if id(model) in self._models:
            first, outputs = self._models[id(model)]
            for before, now in zip(first, inputs, strict=True):
                self.ties.tie(before.ids, now.ids)
            return outputs
        for tensor, labels in zip(model.inputs, inputs, strict=True):
            self.labels[id(tensor)] = labels
        for node in nodes_of(model):
            if not node.is_input:
                outputs = self._call(node, prefix)
                for tensor, labels in zip(tf.nest.flatten(node.outputs), outputs, strict=True):
                    self.labels[id(tensor)] = labels
        outputs = [self.labels[id(tensor)] for tensor in model.outputs]
        self._models[id(model)] = (inputs, outputs)
        return outputs

    def _call(self, node: Any, prefix: str) -> list[Labels]:
        layer, path = node.layer, prefix + node.layer.name
        inputs = [self.labels[id(tensor)] for tensor in node.keras_inputs]
        if isinstance(layer, keras.Model):
            return self.model(layer, inputs, f"{path}/")
        record = self.records.setdefault(id(layer), LayerRecord(path, layer))
        shapes = [shape_of(tensor) for tensor in tf.nest.flatten(node.outputs)]
        arguments = {
            name: tf.nest.map_structure(lambda each: self.labels.get(id(each), each), value)
            for name, value in bound_arguments(node).arguments.items()
        }
        call = LayerCall(record, inputs, shapes, arguments, self.ties)
        rule = rule_of(layer)
        if rule is None:
            return call.barrier(f"no channel rule for {type(layer).__name__}")
        found = rule(call)
        self.argument_edits[id(node)] = call.argument_edits
        return [found] if isinstance(found, Labels) else list(found)


def shape_of(tensor: Any) -> Shape:
    """Returns the static shape of a symbolic tensor; of unknown rank, none."""
    shape = tensor.shape
    return () if shape.rank is None else tuple(shape.as_list())
