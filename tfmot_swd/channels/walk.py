"""Propagation of channel labels through the graph of a model, nested models included."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

import numpy as np
import tensorflow as tf

from tfmot_swd.channels.function_sizes import follows_sizes, pins_channels
from tfmot_swd.keras2.compat import Functional, keras, variables_of
from tfmot_swd.keras2.function_graphs import NotTraced, graph_of
from tfmot_swd.keras2.graph import GraphCall, propagate, shape_of
from tfmot_swd.keras2.layer_weights import unwrapped
from tfmot_swd.keras2.overrides import check_is_its_graph, is_of_users
from tfmot_swd.layers.activations import name_of
from tfmot_swd.layers.call import LayerCall, labelled_arguments, pin_what_is_no_operand
from tfmot_swd.layers.constants import PerElement
from tfmot_swd.layers.labels import Classes, Labels, Shape, Sizes, Ties
from tfmot_swd.layers.own_calls import rule_or_own_call
from tfmot_swd.layers.record import ArgumentEdit, Cut, Kept, LayerRecord, NoRule, Product
from tfmot_swd.layers.registry import ChannelRule, constants_of, said_of


@dataclasses.dataclass(frozen=True)
class Trace:
    """Channel labels and couplings of a model.

    Args:
      cuts: every axis of a weight that belongs to channels, in the order of the graph.
      records: identity of a layer → declarations of its rule.
      labels: identity of a symbolic tensor → its labels.
      argument_edits: key of a `GraphCall` → edits of its arguments.
      products: key of a `GraphCall` → its products of tensors.
      classes: classes of coupled channels.
      failures: messages of failed rules, each also the reason of a barrier.
      inside: labels of the tensors inside functions of the user's.
      approximate: whether channels may leave where that changes more than what reads them.
    """

    cuts: tuple[Cut, ...]
    records: dict[int, LayerRecord]
    labels: dict[int, Labels]
    argument_edits: dict[int, list[ArgumentEdit]]
    products: dict[int, list[Product]]
    classes: Classes
    failures: list[str]
    inside: tuple[Labels, ...] = ()
    approximate: bool = False

    def tensors(self) -> Iterator[Labels]:
        """Yields the labels of all tensors, none of which must become empty."""
        yield from self.labels.values()
        yield from self.inside

    def parts(self) -> Iterator[np.ndarray]:
        """Yields the channels of each axis of a weight and of each tensor, `(count,)`, of which one must be left."""
        yield from (cut.ids for cut in self.cuts)
        yield from (labels.ids.reshape(-1) for labels in self.tensors())

    def is_all_of_a_tensor(self, ids: np.ndarray) -> np.ndarray:
        """Returns whether each channel is, with what leaves with it, all that a tensor or a weight has; bool."""
        return self._indispensable[self.classes.of(ids)]

    @cached_property
    def _indispensable(self) -> np.ndarray:
        found = np.zeros(len(self.classes.root), bool)
        for ids in self.parts():
            classes = self.classes.of(ids)
            if classes.size and (classes == classes[0]).all():
                found[classes[0]] = True
        return found


def trace_channels(model: Any, *, approximate: bool = False) -> Trace:
    """Propagates channel labels through a model, and returns which channels are coupled.

    Args:
      model: a Sequential or Functional model.
      approximate: whether channels may leave where that changes more than what reads them.
    """
    check_is_its_graph(model)
    walk = _Walk(approximate=approximate)
    inputs = [walk.stays(shape_of(tensor), "model input") for tensor in model.inputs]
    for labels in walk.model(model, inputs, ""):
        walk.ties.pin(labels.of.ids if isinstance(labels, Sizes) else labels.ids, "model output")
    check_paths_apart(walk.records)
    check_weights_have_one_layer(walk.records)
    cuts = tuple(cut for record in walk.records.values() for cut in record.cuts.values())
    classes = walk.ties.resolve()
    found = walk.argument_edits, walk.products, classes, walk.failures, tuple(walk.inside)
    return Trace(cuts, walk.records, walk.labels, *found, approximate)


class _Walk:
    def __init__(self, ties: Ties | None = None, *, approximate: bool = False) -> None:
        self.approximate = approximate
        self.ties = Ties() if ties is None else ties
        self.records: dict[int, LayerRecord] = {}
        self.labels: dict[int, Labels] = {}
        self.argument_edits: dict[int, list[ArgumentEdit]] = {}
        self.products: dict[int, list[Product]] = {}
        self.failures: list[str] = []
        self.inside: list[Labels] = []
        self._graphs: dict[str, tuple[Functional, Any]] = {}
        self._followed: dict[str, bool] = {}
        self._models: dict[int, tuple[list[Labels], list[Labels]]] = {}

    def stays(self, shape: Shape, reason: str) -> Labels:
        return Labels(self.ties.new_pinned(reason).reshape((1,) * len(shape)), shape)

    def model(self, model: Any, inputs: list[Labels], prefix: str) -> list[Labels]:
        """Propagates labels through one model; at further calls, ties its inputs to those of the first."""
        check_takes(model, inputs)
        inputs = [
            self._conformed(labels, shape_of(tensor), f"{prefix}: its input is given with an axis more or less")
            for labels, tensor in zip(inputs, model.inputs, strict=True)
        ]
        if id(model) in self._models:
            first, outputs = self._models[id(model)]
            for before, now in zip(first, inputs, strict=True):
                self.ties.tie(before.ids, now.ids)
            return outputs
        outputs = propagate(model, inputs, lambda call, _: self._call(call, prefix), known=self.labels)
        self._models[id(model)] = (inputs, outputs)
        return outputs

    def _call(self, made: GraphCall, prefix: str) -> list[Labels]:
        layer, path = made.layer, prefix + made.layer.name
        shapes = [shape_of(tensor) for tensor in made.outputs]
        tensors = made.operands()
        known = dict(self.labels)
        for tensor in tensors:
            if id(tensor) not in known:
                known[id(tensor)] = self.stays(shape_of(tensor), f"{path}: a constant")
        inputs = [known[id(tensor)] for tensor in tensors]
        pin_what_is_no_operand(made, known, self.ties, path)
        if isinstance(layer, keras.Model):
            check_is_its_graph(layer)
            found = self.model(layer, inputs, f"{path}/")
            reason = f"{path}: a tensor of unknown rank"
            return [self._conformed(labels, shape, reason) for labels, shape in zip(found, shapes, strict=True)]
        record = self.records.setdefault(id(layer), LayerRecord(path, layer))
        call = LayerCall(
            record, inputs, shapes, {}, self.ties, walk_function=self._through, approximate=self.approximate
        )
        rule = rule_or_own_call(layer)
        if record.blocked:
            return call.barrier("another call of it has no rule")
        if any(tensor.shape.rank is None for tensor in (*made.inputs, *made.outputs)):
            return call.barrier("a tensor of unknown rank")
        outputs = self._ruled(rule, call, made, known)
        if not record.blocked:
            self.argument_edits[made.key], self.products[made.key] = call.argument_edits, call.products
            record.met += [labels.ids for labels in (*inputs, *outputs)]
        return outputs

    def _through(
        self, record: LayerRecord, function: Any, inputs: Any, arguments: Mapping[str, Any], wholly: bool
    ) -> tuple[list[Labels], list[Product]]:
        """Propagates labels through what a function of the user's computes; see `LayerCall.through`."""
        dtype, name = record.layer.compute_dtype, name_of(function)
        specs = tf.nest.map_structure(lambda labels: tf.TensorSpec(labels.shape, dtype), inputs)
        key = f"{getattr(function, 'key', '') or id(function)} {specs} {arguments}"
        try:
            if key not in self._graphs:
                # An identity is one only as long as the function is alive.
                self._graphs[key] = graph_of(function, specs, arguments), function
        except NotTraced as error:
            raise NoRule(f"nothing is known of function {name}: {error}") from error
        (graph, _), prefix = self._graphs[key], f"{record.path}/{name}/"
        if wholly and pins_channels(inputs, lambda ties, labels: _Walk(ties).function(graph, labels, "")):
            raise NoRule(f"channels must stay in function {name}")
        inner = _Walk(self.ties, approximate=self.approximate)
        outputs = inner.function(graph, tf.nest.flatten(inputs), prefix)
        if any(variables_of(each.layer) for each in inner.records.values()):
            raise NoRule(f"function {name} makes layers with weights")
        if any(labels.varying for labels in tf.nest.flatten(inputs)) and not self._follows(
            function, inputs, arguments, dtype, key, graph
        ):
            raise NoRule(f"function {name} would not follow another number of channels")
        if all(isinstance(constants_of(each.layer), PerElement) for each in inner.records.values()):
            record.elementwise.add(id(function))
        for each in inner.records.values():
            record.approximations |= each.approximations
        self.inside += [*inner.labels.values(), *inner.inside]
        self.failures += inner.failures
        return outputs, [each for found in inner.products.values() for each in found]

    def function(self, graph: Functional, inputs: list[Labels], prefix: str) -> list[Labels]:
        """Propagates labels through the graph of a function of the user's.

        Nothing is known of the values inside, so nobody could tell when one of the factors of a product is zero: the
        channels that it sums over stay.
        """
        outputs = self.model(graph, inputs, prefix)
        for product in (each for found in self.products.values() for each in found):
            self.ties.pin(product.sums, f"{product.layer}: a function sums over channels of two tensors")
        return outputs

    def _follows(
        self, function: Any, inputs: Any, arguments: Mapping[str, Any], dtype: Any, key: str, graph: Functional
    ) -> bool:
        """Returns whether a function follows the number of channels, which is tried once for tensors of a kind."""
        flat = tf.nest.flatten(inputs)
        ids = np.unique(np.concatenate([labels.ids.reshape(-1) for labels in flat]), return_inverse=True)[1]
        kind = f"{key} {[labels.ids.shape for labels in flat]} {ids.tobytes().hex()}"
        if kind not in self._followed:
            self._followed[kind] = follows_sizes(
                function, inputs, arguments, dtype, lambda ties, labels: _Walk(ties).function(graph, labels, "")
            )
        return self._followed[kind]

    def _ruled(self, rule: ChannelRule, call: LayerCall, made: GraphCall, known: dict[int, Labels]) -> list[Labels]:
        """Applies a rule to a call; if it fails or leaves out a weight, the layer is a barrier with the reason."""
        before = call.record.before()
        try:
            call.arguments = labelled_arguments(made, known)
            returned = rule(call)
            found = checked([returned] if isinstance(returned, Labels) else list(returned), call)
            if _is_of_users(rule, call.record.layer):
                self._try_edits(call, made)
        except NoRule as error:
            call.record.forget(before)
            return call.barrier(str(error))
        except Exception as error:  # Users write rules, and an error in one must not stop the rest.
            call.record.forget(before)
            reason = f"its channel rule failed with {type(error).__name__}: {error}"
            self.failures.append(f"{call.record.path}: {reason}")
            return call.barrier(reason)
        unknown = [] if call.record.blocked else call.record.unknown_weights()
        if unknown:
            call.record.forget(before)
            return call.barrier(f"its channel rule knows nothing of {', '.join(unknown)}")
        return found

    def _try_edits(self, call: LayerCall, made: GraphCall) -> None:
        """Tries the edits of a user's rule with all channels kept, so that an error shows now."""
        everything = Kept(np.ones(self.ties.count, bool))
        config = call.record.layer.get_config() if call.record.edits else {}
        known = set(config)
        for edit in call.record.edits.values():
            edit(config, everything)
        if set(config) != known:
            raise ValueError(f"the layer's config has no such entry. Received: {sorted(set(config) - known)}")
        arguments = dict(made.bind().arguments)
        for change in call.argument_edits:
            change(arguments, everything)

    def _conformed(self, labels: Labels, shape: Shape, reason: str) -> Labels:
        """Returns labels of the same tensor inside and outside a nested model, where other sizes may be known.

        Where a model adds or drops a last axis of size one, or a rank is unknown, the channels must stay.
        """
        if labels.rank == len(shape):
            return Labels(labels.ids, shape)
        self.ties.pin(labels.ids, reason)
        return self.stays(shape, reason)


def _is_of_users(rule: ChannelRule, layer: Any) -> bool:
    """Returns whether a rule, or the class that it was registered for, is defined by a user."""
    kind, _ = said_of(type(unwrapped(layer)), "channels")
    homes = [rule.__module__] if kind is None else [rule.__module__, kind.__module__]
    return any(map(is_of_users, homes))


def check_takes(model: Any, inputs: list[Labels]) -> None:
    """Raises a ValueError if a nested model is called with a tensor of another rank than it was built for."""
    for labels, tensor in zip(inputs, model.inputs, strict=True):
        shapes = labels.shape, shape_of(tensor)
        longer = max(shapes, key=len)
        # Keras adds or drops a last axis of size one.
        if len(shapes[0]) != len(shapes[1]) and (abs(len(shapes[0]) - len(shapes[1])) > 1 or longer[-1] != 1):
            raise ValueError(
                "A model inside a model must be called with tensors of the rank that it was built for: make another "
                f"model for the other rank. Received: shape {shapes[0]} for {shapes[1]} of {model.name!r}"
            )


def check_paths_apart(records: dict[int, LayerRecord]) -> None:
    """Raises a ValueError if two layers have the same path, by which groups, errors and options name layers."""
    owner: dict[str, LayerRecord] = {}
    for record in records.values():
        if owner.setdefault(record.path, record) is not record:
            raise ValueError(
                "A layer whose name has a slash has the path of a layer in a nested model: rename one of them. "
                f"Received: two layers at {record.path!r}"
            )


def check_weights_have_one_layer(records: dict[int, LayerRecord]) -> None:
    """Raises a ValueError if two layers share a weight, which their smaller copies would not."""
    owner: dict[int, LayerRecord] = {}
    for record in records.values():
        for weight in variables_of(record.layer):
            first = owner.setdefault(id(weight), record)
            if first is not record:
                raise ValueError(
                    "A weight of two layers cannot stay one weight when both become smaller: call one layer twice "
                    f"instead. Received: {weight.name!r} in {first.path!r} and {record.path!r}"
                )


def checked(found: list[Labels], call: LayerCall) -> list[Labels]:
    """Returns the labels that a channel rule returned; raises a ValueError if they do not fit the outputs."""
    fits = len(found) == len(call.output_shapes) and all(
        isinstance(labels, Labels)
        and labels.ids.ndim == len(shape)
        and all(ids in (1, size) for ids, size in zip(labels.ids.shape, shape, strict=True))
        for labels, shape in zip(found, call.output_shapes, strict=True)
    )
    if not fits:
        raise ValueError(
            f"The channel rule of {type(call.layer).__name__} must return the labels of each output, of its rank and 1 "
            f"or its size on each axis. Received: {[getattr(each, 'ids', each) for each in found]} for outputs "
            f"of shapes {call.output_shapes} in {call.record.path!r}"
        )
    for labels in found:
        # Raises where they are no ids that were given out.
        call.ties.tie(labels.ids, labels.ids)
    return found
