"""Removal of channels in place: between two training steps of a fit or a custom loop."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator
from typing import Any

import tensorflow as tf

from tfmot_swd.channels.rebuild import rebuild
from tfmot_swd.channels.removal import Keep, RemovalPlan, plan_removal
from tfmot_swd.io.collection import collection_paused
from tfmot_swd.io.deprecation import renamed_arguments
from tfmot_swd.keras2.compat import keras, variables_of
from tfmot_swd.keras2.gradients import forget_gradients
from tfmot_swd.keras2.graph import (
    calls_of,
    carry_trainable_state,
    edit_compile_config,
    input_layers,
    layers_inside,
    renew_functions,
    renew_tuner,
    replace_graph,
)
from tfmot_swd.keras2.optimizer_state import Slicing, sliced_optimizer, slots_of
from tfmot_swd.keras2.optimizers import HeldOptimizer, held_optimizers, trains, unwrap
from tfmot_swd.keras3.door import is_keras3_model


@dataclasses.dataclass(frozen=True)
class Shrunk:
    """Result of `shrink_model`.

    Args:
      plan: the channels that were removed, and why others were kept. It cannot be applied again.
      slicings: the kept slices of each variable, for what else depends on the variables: the optimizer of a custom
        loop, averages of weights. They keep the larger variables in memory.
    """

    plan: RemovalPlan
    slicings: tuple[Slicing, ...] = dataclasses.field(repr=False)


@renamed_arguments(protect="skip")
def shrink_model(model: Any, keep: Keep, *, round_to: int = 1, minimum: int = 1, skip: Collection[str] = ()) -> Shrunk:
    """Removes channels from `model` itself, whose training continues.

    `model` stays the same object, with its class, name, loss, metrics and history; its layers, nested models included,
    are replaced by smaller ones of the same names. Its optimizer, and others in its attributes, are replaced by ones
    with sliced slots (`sliced_optimizer`). A running fit trains the smaller model from its next step on, after one
    retrace; so do evaluate and predict. Dropout draws from a new random stream, and states of stateful RNNs start at
    zero. Call it between steps, for example in a callback's `on_train_batch_end` or `on_epoch_end`.

    Update what else holds layers, variables or shapes of the larger model:

    - an optimizer outside the model: `optimizer = sliced_optimizer(optimizer, shrunk.slicings)`;
    - `UpdatePruningStep`, where the model is wrapped for pruning: call its `on_train_begin` again;
    - your `tf.function`s, and the `train_function` of a model around this one: create them again;
    - `EarlyStopping(restore_best_weights=True)` and earlier weights files: they no longer fit;
    - models that share layers with this one: they keep the larger layers.

    If no channel is removed, nothing changes and `slicings` is empty.

    Args:
      model: a built Sequential or Functional tf_keras model, compiled or not.
      keep, round_to, minimum, skip: as for `plan_removal`.

    Raises:
      TypeError, ValueError: as `plan_removal` and `sliced_optimizer`; the model is then unchanged.
      TypeError: a Keras 3 model, whose training cannot continue with other layers.
      RuntimeError: called inside a tf.function.

    >>> import tf_keras as keras
    >>> net = keras.Sequential([keras.layers.Dense(3, input_shape=(4,), name="hidden"), keras.layers.Dense(2)])
    >>> net.compile("adam", "mse")
    >>> shrunk = shrink_model(net, {"hidden": [True, False, True]})
    >>> net.get_layer("hidden").units, shrunk.plan.removed_channels
    (2, 1)
    """
    if is_keras3_model(model):
        raise TypeError(
            "Only a tf_keras model can lose channels in the middle of its training: tfmot_swd.channels.remove_channels "
            "returns a smaller copy of a Keras 3 model, and tfmot_swd.prune_progressive_gradient trains one that loses "
            f"channels. Received: the Keras 3 model {model.name!r}"
        )
    return shrink_to(plan_removal(model, keep, round_to=round_to, minimum=minimum, skip=skip))


def shrink_to(plan: RemovalPlan, *, trained_by: Any = None) -> Shrunk:
    """Applies a plan, once, to the very model that it was made for, as `shrink_model` does.

    A plan of `plan_dead_removal` may create a bias to fold constants into. The optimizer of a running training has no
    slots for it: the plan is then refused.

    Args:
      plan: the plan, of a tf_keras model.
      trained_by: the model around it that holds the optimizer and the training step; by default the model itself.

    Raises:
      TypeError: the plan is for a Keras 3 model.
      ValueError: the model has been shrunk since the plan was made; the plan creates a bias while the optimizer is in
        use; as `sliced_optimizer`.
      RuntimeError: called inside a tf.function.
    """
    if not tf.executing_eagerly():
        raise RuntimeError(
            "A model is made smaller between two steps, in a callback for example. "
            "Received: a call of shrink_model inside a tf.function"
        )
    model = plan.groups.model
    if plan.groups.keras3 is not None:
        raise TypeError(
            "Only a tf_keras model can lose channels in the middle of its training: plan.apply() returns a smaller "
            f"copy of a Keras 3 model. Received: a plan for the Keras 3 model {model.name!r}"
        )
    if any(id(tensor) not in plan.groups.trace.labels for tensor in model.outputs):
        raise ValueError(
            "The model is another one since this plan was made for it: make a new one. "
            f"Received: {model.name!r} and a plan that has been carried out, or made before another was"
        )
    if not plan.removed_channels:
        return Shrunk(plan, ())
    trainer = model if trained_by is None else trained_by
    # All that can fail comes first: from the graft on, nothing does.
    with collection_paused(), model.distribute_strategy.scope():
        rebuilt = rebuild(model, plan.groups.trace, plan.stays, plan.added_bias)
        slicings = rebuilt.slicings + _outside(trainer, rebuilt.slicings)
        trainers = list({id(model): model, id(trainer): trainer}.values())
        held = _held(trainer, trainers, slicings)
        _check_all_known(held, rebuilt.model, slicings)
        successors = {id(each.optimizer): sliced_optimizer(each.optimizer, slicings) for each in held}
        twins = dict(_twins(model, rebuilt.model))
        _graft(model, rebuilt.model, twins)
        _succeed_optimizers(trainers, held, successors)
        for each in trainers:
            carry_trainable_state(each, twins)
            renew_functions(each)
        forget_gradients(each.source for each in slicings if each.source is not each.target)
    return Shrunk(plan, slicings)


def _held(trainer: Any, models: list[Any], slicings: tuple[Slicing, ...]) -> list[HeldOptimizer]:
    """Returns the optimizers to slice: the trainer's, and others that train replaced variables."""
    replaced = [each.source for each in slicings if each.source is not each.target]
    return [
        each
        for each in held_optimizers(trainer, *models)
        if (each.owner is trainer and each.attribute == "optimizer") or _knows(each.optimizer, replaced)
    ]


def _knows(optimizer: Any, variables: list[Any]) -> bool:
    return bool(trains(optimizer, variables)) or any(slots_of(optimizer, variables).values())


def _check_all_known(held: list[HeldOptimizer], smaller: Any, slicings: tuple[Slicing, ...]) -> None:
    known = {id(each.target) for each in slicings}
    made = [weight.name for weight in variables_of(smaller) if id(weight) not in known]
    if made and any(hasattr(unwrap(each.optimizer), "_index_dict") for each in held):
        raise ValueError(
            "The optimizer of a training under way cannot take up a new bias: skip the layers whose constants it "
            "would take over, or finish the training and call plan.apply(). "
            f"Received: a plan that makes {', '.join(made)}"
        )


def _outside(model: Any, slicings: tuple[Slicing, ...]) -> tuple[Slicing, ...]:
    """Returns slicings of the variables outside the layer graph that shrinks, which are unchanged."""
    known = {id(each.source) for each in slicings}
    return tuple(Slicing(each, each, {}) for each in variables_of(model) if id(each) not in known)


def _graft(model: Any, smaller: Any, twins: dict[int, Any]) -> None:
    """Replaces the graph of `model` by that of `smaller`, and the layers in attributes of `model`."""
    replace_graph(model, smaller, lambda each: not _mentions(each, twins))
    for name, value in list(vars(model).items()):
        if not name.startswith("_self_") and _mentions(value, twins):
            setattr(model, name, _with_twins(value, twins))


def _twins(larger: Any, smaller: Any) -> Iterator[tuple[int, Any]]:
    """Yields the identity of each layer inside a layer, and its counterpart in the smaller one."""
    if not isinstance(larger, keras.Model):
        inside = (layers_inside(each, itself=False) for each in (larger, smaller))
        yield from ((id(before), after) for before, after in zip(*inside, strict=True))
        return
    for before, after in zip(input_layers(larger), input_layers(smaller), strict=True):
        yield id(before), after
    by_name = {call.layer.name: call.layer for call in calls_of(smaller)}
    for call in calls_of(larger):
        twin = by_name[call.layer.name]
        yield id(call.layer), twin
        yield from _twins(call.layer, twin)


def _mentions(value: Any, twins: dict[int, Any]) -> bool:
    """Returns whether an attribute is or holds a layer that has been replaced."""
    if isinstance(value, list | tuple):
        return any(_mentions(each, twins) for each in value)
    if isinstance(value, dict):
        return any(_mentions(each, twins) for each in value.values())
    return id(value) in twins


def _with_twins(value: Any, twins: dict[int, Any]) -> Any:
    if isinstance(value, list | tuple):
        return [_with_twins(each, twins) for each in value]
    if isinstance(value, dict):
        return {key: _with_twins(each, twins) for key, each in value.items()}
    return twins.get(id(value), value)


def _succeed_optimizers(models: list[Any], held: list[HeldOptimizer], successors: dict[int, Any]) -> None:
    # A file of the model holds what was given to compile, which is without the scaling of the loss.
    inner = {id(unwrap(each.optimizer)): unwrap(successors[id(each.optimizer)]) for each in held}
    for model in models:
        # One optimizer may be in several attributes.
        for name, value in list(vars(model).items()):
            if not name.startswith("_self_") and _mentions(value, successors):
                setattr(model, name, _with_twins(value, successors))
        edit_compile_config(model, lambda given: _with_twins(given, {**inner, **successors}))
        renew_tuner(model)
