"""Optimizer state for a smaller model: the same class and config, with slots sliced variable by variable."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfmot_swd.keras2.compat import keras
from tfmot_swd.keras2.optimizers import unwrap

Key = Hashable
_KINDS = (keras.optimizers.Optimizer, keras.optimizers.legacy.Optimizer)


@dataclasses.dataclass(frozen=True)
class Slicing:
    """The slices of one variable that are kept.

    Args:
      source: the variable of the larger model.
      target: that of the smaller one.
      masks: axis → bool array of its length, true where a slice is kept; other axes are kept whole.
      scale: what the kept slices are multiplied with; slots of optimizers are not.
    """

    source: Any
    target: Any
    masks: dict[int, np.ndarray]
    scale: float = 1.0

    def of(self, value: np.ndarray) -> np.ndarray:
        """Returns the kept slices of an array of the source's shape."""
        for axis, mask in self.masks.items():
            value = np.compress(mask, value, axis)
        return value

    def kept(self) -> tf.Tensor:
        """Returns the kept slices of the source as it is now, scaled; its own memory where all of them are kept."""
        value = self.source.read_value()
        for axis, mask in self.masks.items():
            if not mask.all():
                value = tf.gather(value, np.flatnonzero(mask), axis=axis)
        return value if self.scale == 1.0 else value * tf.cast(self.scale, value.dtype)


def sliced_optimizer(optimizer: Any, slicings: Iterable[Slicing]) -> Any:
    """Returns a new optimizer that continues on smaller variables with the state of `optimizer`, which is unchanged.

    Needed in a custom training loop after `shrink_model`, which replaces the optimizers of the model itself. The new
    one has the same class and config. Slots (momentum, second moments, moving averages of weights) keep the slices that
    their variable keeps, bit for bit; `iterations`, the last assigned learning rate or its schedule, the loss scale and
    the exclusions of `exclude_from_weight_decay` are carried over. If `optimizer` is not built, the new one is not.

    Args:
      optimizer: a tf_keras optimizer, a legacy one, or a LossScaleOptimizer around either; subclasses too,
        where `from_config(get_config())` recreates them.
      slicings: kept slices of each variable, as returned by `shrink_model` (`Shrunk.slicings`). Other variables of the
        optimizer are kept whole.

    Raises:
      TypeError: `optimizer` is not a tf_keras optimizer.
      ValueError: it wraps another optimizer; its state cannot be sliced (Adafactor keeps means over the channels that
        are removed); or its config does not recreate its variables.

    >>> import numpy as np, tensorflow as tf, tf_keras as keras
    >>> large, small = tf.Variable([1.0, 2.0, 3.0]), tf.Variable([1.0, 3.0])
    >>> optimizer = keras.optimizers.SGD(1.0, momentum=0.9)
    >>> step = optimizer.apply_gradients([(tf.constant([4.0, 5.0, 6.0]), large)])
    >>> sliced = sliced_optimizer(optimizer, [Slicing(large, small, {0: np.array([True, False, True])})])
    >>> sliced.momentums[0].numpy().tolist(), int(sliced.iterations)
    ([-4.0, -6.0], 1)
    """
    with _scope_of(optimizer):
        return _sliced(optimizer, tuple(slicings))


def slots_of(optimizer: Any, variables: Iterable[Any]) -> dict[int, list[Any]]:
    """Returns the slots of an optimizer for each of these variables, by the identity of the variable.

    Slots are momentum, second moments, moving averages. The list is empty for a variable that the optimizer does not
    train, and for an optimizer that is not built.

    >>> import tensorflow as tf, tf_keras as keras
    >>> variable, optimizer = tf.Variable([1.0, 2.0]), keras.optimizers.Adam()
    >>> optimizer.build([variable])
    >>> [slot.name.split("/")[-2] for slot in slots_of(optimizer, [variable])[id(variable)]]
    ['m', 'v']
    """
    inner = unwrap(optimizer)
    if isinstance(inner, keras.optimizers.legacy.Optimizer):
        return {id(each): list(inner._slots.get(each._unique_id, {}).values()) for each in variables}
    found: dict[int, list[Any]] = {id(each): [] for each in variables}
    index = getattr(inner, "_index_dict", None)
    if index is None:
        return found
    by_key = {inner._var_key(each): id(each) for each in variables}
    keys = sorted(index, key=lambda key: index[key])
    owners = _owners_in_lists(inner, keys) or _owners_in_probe(inner, keys)
    for slot, owner in zip(inner.variables, owners, strict=True):
        if owner in by_key:
            found[by_key[owner]].append(slot)
    return found


def _owners_in_lists(optimizer: Any, keys: list[Key]) -> list[Key | None] | None:
    """Returns the owner of each variable of an optimizer of Keras itself, or None; None in all where lists do not tell.

    Keras's own keep a list of each kind of slot, with one for each model variable in the order of its index.
    """
    if not type(optimizer).__module__.startswith("tf_keras."):
        return None
    owner_of: dict[int, Key] = {}
    for value in vars(optimizer).values():
        if isinstance(value, list) and value is not optimizer._variables and len(value) == len(keys):
            owner_of |= {id(slot): key for slot, key in zip(value, keys, strict=True)}
    alone = {id(optimizer.iterations), id(getattr(optimizer, "_learning_rate", None))}
    known = all(id(each) in owner_of or id(each) in alone for each in optimizer.variables)
    return [owner_of.get(id(each)) for each in optimizer.variables] if known else None


def _owners_in_probe(optimizer: Any, keys: list[Key]) -> list[Key | None]:
    """Returns the owners by a throwaway copy, built on scalars, which says for which model variable it makes a slot."""
    scalars = {key: _stand_in(key, (), tf.float32) for key in keys}
    probe = _unbuilt(optimizer)
    owners = _build(probe, scalars, scalars)
    _check_layout(optimizer.variables, probe.variables, optimizer)
    return owners


def _scope_of(optimizer: Any) -> Any:
    """Returns the distribution scope in which the optimizer created its variables, unless it is the current one."""
    strategy = getattr(unwrap(optimizer), "_distribution_strategy", None)
    if strategy is None or tf.distribute.has_strategy() or strategy is tf.distribute.get_strategy():
        return contextlib.nullcontext()
    return strategy.scope()


def _sliced(optimizer: Any, slicings: tuple[Slicing, ...]) -> Any:
    if isinstance(optimizer, keras.mixed_precision.LossScaleOptimizer):
        return _loss_scaled(optimizer, slicings)
    if not isinstance(optimizer, _KINDS):
        raise TypeError(f"An optimizer of tf_keras is needed. Received: {type(optimizer).__name__}")
    wrapped = [name for name, value in vars(optimizer).items() if isinstance(value, _KINDS)]
    if wrapped:
        raise ValueError(
            "The state of an optimizer inside another cannot be carried over; only LossScaleOptimizer may wrap one. "
            f"Received: {type(optimizer).__name__} with an optimizer in attribute {wrapped[0]!r}"
        )
    return (_legacy if isinstance(optimizer, keras.optimizers.legacy.Optimizer) else _current)(optimizer, slicings)


def _loss_scaled(optimizer: Any, slicings: tuple[Slicing, ...]) -> Any:
    inner = sliced_optimizer(optimizer.inner_optimizer, slicings)
    copy = type(optimizer).from_config({**optimizer.get_config(), "inner_optimizer": inner})
    if optimizer.dynamic:
        copy._loss_scale.current_loss_scale.assign(optimizer._loss_scale.current_loss_scale.numpy())
        copy.dynamic_counter.assign(optimizer.dynamic_counter.numpy())
    return copy


def _current(optimizer: Any, slicings: tuple[Slicing, ...]) -> Any:
    copy = _unbuilt(optimizer)
    by_key: dict[Key, Slicing] = {optimizer._var_key(each.source): each for each in slicings}
    if hasattr(optimizer, "_exclude_from_weight_decay"):
        copy._exclude_from_weight_decay = [
            copy._var_key(by_key[key].target) if key in by_key else key for key in optimizer._exclude_from_weight_decay
        ]
        copy._exclude_from_weight_decay_names = list(optimizer._exclude_from_weight_decay_names)
    index = getattr(optimizer, "_index_dict", None)
    owners: list[Key | None] = [None] * len(copy.variables)
    if index is not None:
        keys = sorted(index, key=lambda key: index[key])
        strangers = _strangers(optimizer, keys, by_key)
        owners = _build(copy, {key: by_key[key].target if key in by_key else strangers[key] for key in keys}, strangers)
    _check_layout(optimizer.variables, copy.variables, optimizer)
    for old, new, owner in zip(optimizer.variables, copy.variables, owners, strict=True):
        _carry(optimizer, old, new, by_key.get(owner))
    _carry_unlisted(optimizer, copy)
    return copy


def _unbuilt(optimizer: Any) -> Any:
    config = optimizer.get_config()
    rate = getattr(optimizer, "_learning_rate", None)
    if isinstance(rate, keras.optimizers.schedules.LearningRateSchedule):
        # The object itself: a schedule of the user's need not be registered to be deserialized.
        config["learning_rate"] = rate
    return type(optimizer).from_config(config)


def _build(optimizer: Any, variables: dict[Key, Any], strangers: dict[Key, Any]) -> list[Key | None]:
    """Builds the optimizer on model variables, given by the key that each had or has, and returns their slots' owners.

    The owner of a variable of the optimizer is the key of the model variable that it is a slot of, or None. The
    optimizer names it when it creates the slot; variable names and shapes are not used.
    """
    key_of = {id(variable): key for key, variable in variables.items()}
    stands_for = {id(variable): key for key, variable in strangers.items()}
    made: list[tuple[Any, Key | None]] = []
    add, var_key = optimizer.add_variable_from_reference, optimizer._var_key

    def recorded(model_variable: Any, *args: Any, **kwargs: Any) -> Any:
        slot = add(model_variable, *args, **kwargs)
        made.append((slot, key_of.get(id(model_variable))))
        return slot

    def known_key(variable: Any) -> Key:
        return stands_for[id(variable)] if id(variable) in stands_for else var_key(variable)

    with (
        _replaced(optimizer, "add_variable_from_reference", recorded),
        _replaced(optimizer, "_var_key", known_key),
    ):
        optimizer.build(list(variables.values()))
    owner_of = {id(slot): key for slot, key in made}
    return [owner_of.get(id(variable)) for variable in optimizer.variables]


@contextlib.contextmanager
def _replaced(target: Any, name: str, function: Callable[..., Any]) -> Iterator[None]:
    """Replaces a method of one object by a function for the duration of the block."""
    object.__setattr__(target, name, function)
    try:
        yield
    finally:
        object.__delattr__(target, name)


def _strangers(optimizer: Any, keys: list[Key], by_key: dict[Key, Slicing]) -> dict[Key, Any]:
    """Returns a placeholder for each variable that the optimizer trains and the slicings lack, by its key.

    The optimizer keeps only their keys. They have the shape of their slots; a throwaway copy, built on scalars in their
    place, tells which slots these are.
    """
    missing = [key for key in keys if key not in by_key]
    if not missing:
        return {}
    scalars = {key: _stand_in(key, (), tf.float32) for key in missing}
    probe = _unbuilt(optimizer)
    owners = _build(probe, {key: by_key[key].target if key in by_key else scalars[key] for key in keys}, scalars)
    _check_layout(optimizer.variables, probe.variables, optimizer)
    found = dict(scalars)
    for slot, owner in zip(optimizer.variables, owners, strict=True):
        if owner in found:
            found[owner] = _stand_in(owner, slot.shape, slot.dtype)
    return found


def _stand_in(key: Key, shape: Any, dtype: tf.DType) -> tf.Variable:
    return tf.Variable(tf.zeros(shape, dtype), name=str(key))


def _check_layout(old: Sequence[Any], new: Sequence[Any], optimizer: Any) -> None:
    if len(old) != len(new):
        raise ValueError(
            f"{type(optimizer).__name__} does not come back from its config with the variables that it has: its "
            "get_config must hold every argument, and its hyperparameters must not have been changed since it was "
            f"built. Received: {len(old)} variables, {len(new)} in the copy"
        )


def _carry(optimizer: Any, old: Any, new: Any, slicing: Slicing | None) -> None:
    value = old.numpy()
    if slicing is not None and old.shape == slicing.source.shape:
        value = slicing.of(value)
    if tuple(value.shape) != tuple(new.shape):
        raise ValueError(
            f"{type(optimizer).__name__} has state that is not of its variable's shape, so that nothing says which "
            "of its slices stay: give the model another optimizer before channels are removed. "
            f"Received: {old.name!r} of shape {tuple(old.shape)}, {tuple(new.shape)} for the smaller model"
        )
    new.assign(value)


def _carry_unlisted(optimizer: Any, copy: Any) -> None:
    """Carries over variables that the optimizer does not list: its learning rate, Nadam's product of momenta."""
    listed = {id(variable) for variable in optimizer.variables}
    for name, value in vars(optimizer).items():
        if isinstance(value, tf.Variable) and id(value) not in listed:
            twin = vars(copy).get(name)
            if not isinstance(twin, tf.Variable):
                raise ValueError(
                    f"{type(optimizer).__name__} does not come back from its config with all its state. "
                    f"Received: a variable in attribute {name!r} that the copy lacks"
                )
            if twin is not value:
                _carry(optimizer, value, twin, None)
    if isinstance(optimizer, keras.optimizers.Nadam) and hasattr(optimizer, "_u_product"):
        copy._u_product_counter = _nadam_counter(optimizer)


def _nadam_counter(optimizer: Any) -> int:
    """Returns the value from which Nadam's Python counter of its products of momenta must continue.

    In eager mode it counts updates. In a graph each trace counts through the variables once and bakes the values in as
    constants, so the smaller model must be traced from the same start as the larger one.
    """
    updates = int(optimizer.iterations.numpy())
    factors = optimizer.beta_1 * (1.0 - 0.5 * 0.96 ** np.arange(1, updates + 1))
    # In a graph it multiplies more often than once an update.
    if np.isclose(float(optimizer._u_product.numpy()), factors.prod(), rtol=1e-3, atol=0.0):
        return optimizer._u_product_counter
    return max(optimizer._u_product_counter - len(optimizer._index_dict), 1)


def _legacy(optimizer: Any, slicings: tuple[Slicing, ...]) -> Any:
    config = optimizer.get_config()
    # Schedules and functions as they are: a config would hold what they were made from, or what they said just now.
    config.update({name: value for name, value in optimizer._hyper.items() if callable(value)})
    copy = type(optimizer).from_config(config)
    copy.gradient_aggregator = optimizer.gradient_aggregator
    copy.gradient_transformers = list(optimizer.gradient_transformers)
    if optimizer._iterations is not None:
        copy.iterations.assign(optimizer._iterations.numpy())
    if optimizer._hypers_created:
        _carry_legacy_slots(optimizer, copy, {each.source._unique_id: each for each in slicings})
    return copy


def _carry_legacy_slots(optimizer: Any, copy: Any, by_key: dict[Key, Slicing]) -> None:
    targets = {}
    for key, slots in optimizer._slots.items():
        like = next(iter(slots.values()))
        targets[key] = by_key[key].target if key in by_key else _stand_in(key, like.shape, like.dtype)
    copy._create_all_weights(list(targets.values()))
    for key, slots in optimizer._slots.items():
        for name, old in slots.items():
            _carry(optimizer, old, copy.add_slot(targets[key], name), by_key.get(key))
        if key not in by_key:
            copy._slots[key] = copy._slots.pop(targets[key]._unique_id)
    own, copied = _without_slots(optimizer), _without_slots(copy)
    _check_layout(own, copied, optimizer)
    for old, new in zip(own, copied, strict=True):
        _carry(optimizer, old, new, None)


def _without_slots(optimizer: Any) -> list[Any]:
    slots = {id(slot) for by_name in optimizer._slots.values() for slot in by_name.values()}
    return [weight for weight in optimizer._weights if id(weight) not in slots]
