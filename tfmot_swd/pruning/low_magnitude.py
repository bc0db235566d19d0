"""Drop-in replacement of TFMOT's `prune_low_magnitude`, with the method chosen by the class of the schedule."""

from __future__ import annotations

import inspect
from typing import Any

from tfmot_swd.keras2.compat import ConstantSparsity, PruneLowMagnitude, PruningPolicy, keras
from tfmot_swd.pruning.blocks import Blocks
from tfmot_swd.pruning.methods import PruningMethod, method_for
from tfmot_swd.pruning.wrapped_models import check_can_wrap


def prune_low_magnitude(
    to_prune: Any,
    pruning_schedule: Any = None,
    block_size: tuple[int, int] = (1, 1),
    block_pooling_type: str = "AVG",
    pruning_policy: PruningPolicy | None = None,
    sparsity_m_by_n: tuple[int, int] | None = None,
    **kwargs: Any,
) -> Any:
    """Wraps a model or layers as TFMOT's `prune_low_magnitude` does, for the method of the schedule.

    To port a script of TFMOT's, change its import and, for a better method, its schedule:

    | schedule | what is pruned |
    |---|---|
    | `SelectiveDecay` | single weights, by Selective Weight Decay |
    | `StructuredDecay` | whole channels, by Selective Weight Decay |
    | `ProgressiveRate` | whole filters during training, by Progressive Gradient Pruning |
    | TFMOT's `PolynomialDecay`, `ConstantSparsity` | single weights, by magnitude, with TFMOT's masks |
    | of a class registered with `register_method` | as that method does |

    Train the result with `tfmot_swd.UpdatePruningStep`, then call `tfmot_swd.strip_pruning`. Functions with more
    arguments are `prune_selective_decay`, `prune_progressive_gradient` and `tfmot_swd.magnitude.prune_magnitude`. The
    model is copied, where TFMOT shares its variables; layers that cannot be pruned stay dense with a warning, where
    TFMOT raises.

    Args:
      to_prune: a built tf_keras or Keras 3 model; or, for methods that prune single weights, a tf_keras layer or a list
        of them to build a model of.
      pruning_schedule: its class selects the method; None for TFMOT's default, `ConstantSparsity(0.5, 0)`: half of the
        weights of each layer, chosen at every 100th update.
      block_size: (height, width) of blocks of a dense kernel that are pruned together.
      block_pooling_type: "AVG" or "MAX", the magnitude of a block.
      pruning_policy: a TFMOT `PruningPolicy`; layers of a model that it does not allow are left dense.
      sparsity_m_by_n: (2, 4) for two zeros in each four consecutive weights; with a schedule of TFMOT's.
      kwargs: of the method, such as `skip` and `only`; of the wrapper, such as `input_shape`, if `to_prune` is a layer.

    Returns:
      An uncompiled model; or a wrapped layer, or a list of them.

    Raises:
      TypeError: the schedule has another class; `to_prune` is neither a model nor layers of tf_keras.
      ValueError: as the functions above; the method does not take one of the arguments.

    >>> import tf_keras as keras, tfmot_swd
    >>> net = keras.Sequential([keras.layers.Dense(2, input_shape=(3,))])
    >>> pruned = prune_low_magnitude(net, tfmot_swd.SelectiveDecay(final_sparsity=0.9, end_step=100))
    >>> [type(layer).__name__ for layer in pruned.layers]
    ['PruneSelectiveDecay']
    """
    schedule = ConstantSparsity(0.5, 0) if pruning_schedule is None else pruning_schedule
    method = method_for(schedule)
    blocks = Blocks(block_size, block_pooling_type)
    given = {
        name: value
        for name, value, default in (
            ("block_size", blocks.size, (1, 1)),
            ("block_pooling_type", block_pooling_type, "AVG"),
            ("sparsity_m_by_n", sparsity_m_by_n, None),
        )
        if value != default
    }
    if isinstance(to_prune, list | tuple):
        return [_wrapped_layer(each, method, schedule, given) for each in to_prune]
    if isinstance(to_prune, keras.layers.Layer) and not isinstance(to_prune, keras.Model):
        return _wrapped_layer(to_prune, method, schedule, given | kwargs)
    given |= kwargs
    if pruning_policy is not None:
        given["pruning_policy"] = pruning_policy
    _check_takes(method, method.wrap, given)
    return method.wrap(to_prune, schedule, **given)


def _wrapped_layer(layer: Any, method: PruningMethod, schedule: Any, given: dict[str, Any]) -> Any:
    if isinstance(layer, PruneLowMagnitude):
        return layer
    if isinstance(layer, keras.layers.InputLayer):
        return type(layer).from_config(layer.get_config())
    if not isinstance(layer, keras.layers.Layer) or method.wrap_layer is None:
        # Raises with advice if the method needs the whole model.
        check_can_wrap(layer)
        raise TypeError(f"to_prune must be a model, or layers. Received: {layer!r}")
    _check_takes(method, method.wrap_layer, given)
    return method.wrap_layer(layer, schedule, **given)


def _check_takes(method: PruningMethod, function: Any, given: dict[str, Any]) -> None:
    parameters = inspect.signature(function).parameters
    takes_all = any(each.kind is each.VAR_KEYWORD for each in parameters.values())
    tfmots = ("block_size", "block_pooling_type", "sparsity_m_by_n", "pruning_policy")
    unknown = [name for name in given if name not in parameters and (name in tfmots or not takes_all)]
    if unknown:
        raise ValueError(
            f"{method.title} does not take {', '.join(unknown)}: leave it out, or use a schedule of another method. "
            f"Received: {', '.join(f'{name}={given[name]!r}' for name in unknown)}"
        )
