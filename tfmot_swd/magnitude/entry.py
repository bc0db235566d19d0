"""Entry function, training run and registration of magnitude pruning on a schedule of TFMOT."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from tfmot_swd.keras2.compat import PolynomialDecay, PruningPolicy, PruningSchedule
from tfmot_swd.magnitude.pool import MagnitudePool
from tfmot_swd.magnitude.wrapper import PruneMagnitude
from tfmot_swd.pruning.mask_run import MaskRun, MaskStatus
from tfmot_swd.pruning.methods import PruningMethod, Target, register_method
from tfmot_swd.pruning.plan import plan_pruning
from tfmot_swd.pruning.wrapping import wrap_prunable_layers

# Share of the updates in which the sparsity grows; the others fine-tune.
_PRUNING_SHARE = 2 / 3
# Updates between two choices of masks, the default of TFMOT.
_FREQUENCY = 100


def prune_magnitude(
    model: Any,
    schedule: PruningSchedule,
    *,
    scope: str = "layer",
    skip: Collection[str] = (),
    only: Collection[str] | None = None,
    pruning_policy: PruningPolicy | None = None,
    block_size: tuple[int, int] = (1, 1),
    block_pooling_type: str = "AVG",
    sparsity_m_by_n: tuple[int, int] | None = None,
) -> Any:
    """Returns a copy of `model` that is pruned by magnitude while it trains; the original is not changed.

    The masks are those of TFMOT's `prune_low_magnitude`, chosen also where the schedule ends, which TFMOT misses if its
    frequency does not divide the end; the rest is that of this package: steps are optimizer updates,
    validation sees the pruned model, `strip_pruning` removes channels that are zero, and backup, report and export work
    as for any other method. To port a script of TFMOT's use `prune_low_magnitude`.

    Source: Zhu and Gupta, "To prune, or not to prune", arXiv 1710.01878.

    Args:
      model: a built tf_keras or Keras 3 Sequential or Functional model, nested models included.
      schedule: a TFMOT schedule, such as `tfmot.sparsity.keras.PolynomialDecay`.
      scope: "layer" prunes each weight to the sparsity of the schedule, as TFMOT does; "global" compares all weights of
        the model under one threshold, which keeps more accuracy at high rates.
      skip, only: names of layers that stay dense, or of those that alone may be pruned.
      pruning_policy: a TFMOT `PruningPolicy`; layers that it does not allow are left dense.
      block_size, block_pooling_type: blocks that are pruned together, as in `prune_low_magnitude`.
      sparsity_m_by_n: (2, 4) sets the smallest two of each four consecutive weights to zero at the first update,
        regardless of the schedule.

    Returns:
      An uncompiled tf_keras model with the same weights and predictions, of a Keras 3 model too.

    Raises:
      TypeError: `model` is not a model of tf_keras or Keras 3, or `schedule` not a TFMOT schedule.
      ValueError: the model is subclassed, not built, already wrapped, holds NaN, or has nothing to prune; an argument
        is malformed; an m by n pattern with a shape that it does not divide.

    >>> import tf_keras as keras, tensorflow_model_optimization as tfmot
    >>> net = keras.Sequential([keras.layers.Dense(2, input_shape=(3,))])
    >>> pruned = prune_magnitude(net, tfmot.sparsity.keras.ConstantSparsity(0.5, 0), scope="global")
    >>> [type(layer).__name__ for layer in pruned.layers]
    ['PruneMagnitude']
    """
    return wrap_prunable_layers(
        model,
        lambda layer: PruneMagnitude(layer, schedule, block_size, block_pooling_type, sparsity_m_by_n, scope),
        skip=skip,
        only=only,
        pruning_policy=pruning_policy,
    )


class MagnitudeRun(MaskRun):
    """A `MaskRun` on a schedule of TFMOT."""

    wrapper_class = PruneMagnitude
    pool_class = MagnitudePool


def _wrap_to(model: Any, target: Target, **layers: Any) -> Any:
    end = max(round(_PRUNING_SHARE * target.steps), 1)
    schedule = PolynomialDecay(0.0, target.rate, 0, end, frequency=min(_FREQUENCY, max(end // 10, 1)))
    return prune_magnitude(model, schedule, **layers)


METHOD = register_method(
    PruningMethod(
        name="magnitude",
        title="magnitude pruning",
        wrapper=PruneMagnitude,
        run=MagnitudeRun,
        status=MaskStatus,
        schedules=(PruningSchedule,),
        wrap=prune_magnitude,
        wrap_layer=PruneMagnitude,
        wrap_to=_wrap_to,
        plan=plan_pruning,
        rate_of="the weights of each layer",
        takes_budget=False,
        summary="the smallest weights of each layer become zero, as in TFMOT",
    )
)
