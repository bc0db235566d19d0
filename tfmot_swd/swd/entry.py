"""Entry function of Selective Weight Decay, and the registration of its two methods."""

from __future__ import annotations

import functools
from collections.abc import Collection
from typing import Any

from tfmot_swd.channels.plan import plan_channels
from tfmot_swd.keras2.compat import PruningPolicy
from tfmot_swd.keras2.layer_choice import LayerChoice
from tfmot_swd.keras2.layer_weights import kernels_of
from tfmot_swd.keras3.door import opened
from tfmot_swd.pruning.blocks import Blocks
from tfmot_swd.pruning.methods import PruningMethod, Target, register_method
from tfmot_swd.pruning.plan import plan_pruning
from tfmot_swd.pruning.wrapped_models import check_can_wrap, collect_wrappers, mark_origin
from tfmot_swd.pruning.wrapping import wrap_prunable_layers
from tfmot_swd.swd.monitor import PruningStatus
from tfmot_swd.swd.run import SelectiveRun
from tfmot_swd.swd.schedules import SelectiveDecay
from tfmot_swd.swd.structured.entry import wrap_channels
from tfmot_swd.swd.structured.monitor import StructuredStatus
from tfmot_swd.swd.structured.run import StructuredRun
from tfmot_swd.swd.structured.schedule import StructuredDecay
from tfmot_swd.swd.structured.wrapper import PruneStructuredDecay
from tfmot_swd.swd.weight_pool import threshold_selection
from tfmot_swd.swd.wrapper import PruneSelectiveDecay


def prune_selective_decay(
    model: Any,
    schedule: SelectiveDecay | StructuredDecay,
    *,
    skip: Collection[str] = (),
    only: Collection[str] | None = None,
    pruning_policy: PruningPolicy | None = None,
    block_size: tuple[int, int] = (1, 1),
    block_pooling_type: str = "AVG",
) -> Any:
    """Returns a copy of `model` that trains with Selective Weight Decay; the original is not changed.

    Compile the result, fit it with `tfmot_swd.UpdatePruningStep`, then call `tfmot_swd.strip_pruning`. Layers with
    prunable weights are wrapped and the others copied. A layer that cannot be pruned stays dense and is listed in the
    log; `plan_pruning` shows the list beforehand.

    In a custom layer the layers inside are pruned by their own classes, wherever they are held: in attributes, lists,
    dictionaries or other custom layers. Weights that the custom layer owns itself are of no known kind: a
    `PruningWarning` names such layers and their share of all kernel weights, if that is a hundredth or more. Derive the
    class from `tfmot.sparsity.keras.PrunableLayer` to prune them, or name the layer in `skip`. Channels inside a custom
    layer are kept, unless it has a rule (`register_layer`).

    Frozen layers are wrapped too and take no part while they are frozen: a rate is a share of the trained weights, and
    a budget covers all channels. So transfer learning needs one call, and one schedule for both phases:

        base.trainable = False
        model = prune_selective_decay(net, SelectiveDecay(0.8, begin_step=first, end_step=first + second))
        model.compile(...)
        model.fit(..., callbacks=[UpdatePruningStep(partial_fit=True)])  # `first` updates
        model.get_layer(base.name).trainable = True
        model.compile(...)
        model.fit(..., callbacks=[UpdatePruningStep()])  # `second` updates

    Layers that are frozen at the final pruning step stay dense, with a warning unless `skip` names them. With
    `prune_progressive_gradient` the epochs of the schedule are those of the second phase, where the first trains
    nothing that can be pruned.

    With a `StructuredDecay` whole channels are decayed until the network without them is within a budget, and
    `strip_pruning` returns that network; `plan_channels(model, layers="all")` shows which channels are ranked.

    With a `block_size` matrices are decayed and pruned in blocks, as with TFMOT's `prune_low_magnitude` but under the
    one threshold of the whole model: each weight of a block is ranked by the pooled |w| of the block and counts as one.
    With blocks of (4, 1), 4 inputs of one output, a dense layer whose inputs are a multiple of 4 runs on TFLite's
    sparse kernel when its file is stored sparse in float32: faster at batch 1, slower at larger batches. Blocks apply
    to weights of two axes (kernels of dense and recurrent layers, embeddings) and to those with only axes of length 1
    before the last two (pointwise convolutions). Larger convolutions and biases are pruned weight by weight, where
    TFMOT refuses the model. The pruned share may fall short of the rate by less than one block. `strip_pruning` keeps
    the channels along which there are blocks, as removing one would shift the blocks behind it.

    Args:
      model: a built tf_keras or Keras 3 Sequential or Functional model, nested models included.
      schedule: a `SelectiveDecay`, or a `StructuredDecay`.
      skip: names of layers to leave dense, or of models inside the model; with a `StructuredDecay` they keep the
        channels that they make or act on.
      only: names of the layers that may be pruned, None for all; with a `StructuredDecay` those whose channels may be
        removed, see `plan_channels`.
      pruning_policy: a TFMOT `PruningPolicy`; layers that it does not allow are left dense. Not with a
        `StructuredDecay`.
      block_size: (height, width) of the blocks, in inputs and outputs of a dense kernel. Not with a `StructuredDecay`.
      block_pooling_type: "AVG" or "MAX": the magnitude of a block is the mean or the maximum of its |w|.

    Returns:
      An uncompiled tf_keras model with the same weights and predictions, of a Keras 3 model too.

    Raises:
      TypeError: `model` is not a model of tf_keras or Keras 3, or `schedule` is neither a `SelectiveDecay` nor a
        `StructuredDecay`.
      ValueError: the model is subclassed, not built, already wrapped, holds NaN, or has nothing to prune; `skip` or
        `only` names a layer that does not exist; the block arguments are malformed; the budget cannot be met (the
        message has the smallest costs that can).

    >>> import tf_keras as keras
    >>> net = keras.Sequential([keras.layers.Dense(2, input_shape=(3,))])
    >>> pruned = prune_selective_decay(net, SelectiveDecay(final_sparsity=0.5, end_step=10))
    >>> [type(layer).__name__ for layer in pruned.layers]
    ['PruneSelectiveDecay']
    """
    if not isinstance(schedule, SelectiveDecay | StructuredDecay):
        raise TypeError(
            "schedule must be a tfmot_swd.SelectiveDecay, for example "
            "SelectiveDecay(final_sparsity=0.9, end_step=steps), or a tfmot_swd.StructuredDecay. "
            f"Received: {type(schedule).__name__}"
        )
    blocks = Blocks(block_size, block_pooling_type)
    if isinstance(schedule, StructuredDecay):
        given, model = model, opened(model)
        check_can_wrap(model)
        if blocks.size != (1, 1):
            raise ValueError(
                "A StructuredDecay removes whole channels and takes no blocks: leave block_size out, or "
                f"use a SelectiveDecay. Received: block_size={block_size!r} with a StructuredDecay"
            )
        if pruning_policy is not None:
            raise ValueError(
                "A pruning policy selects layers that may have zeros, not channels that may be removed: name the "
                "layers whose channels stay in skip. "
                f"Received: pruning_policy={pruning_policy!r} with a StructuredDecay"
            )
        pruned = wrap_channels(model, schedule, LayerChoice(skip, only))
        mark_origin(pruned, given)
        return pruned
    pruned = wrap_prunable_layers(
        model,
        lambda layer: PruneSelectiveDecay(layer, schedule, blocks.size, blocks.pooling),
        targets=schedule.targets,
        skip=skip,
        only=only,
        pruning_policy=pruning_policy,
    )
    # Raises now, before a training, where minimum_kept exceeds what the rate leaves.
    wrappers = collect_wrappers(pruned, PruneSelectiveDecay)
    counted = [each for wrapper in wrappers for each in wrapper.prunable_weights[: wrapper.counted]]
    threshold_selection(schedule, counted, {id(each) for wrapper in wrappers for each in kernels_of(wrapper)})
    return pruned


def _wrap_weights_to(model: Any, target: Target, **layers: Any) -> Any:
    return prune_selective_decay(model, SelectiveDecay(target.rate, target.steps), **layers)


WEIGHTS = register_method(
    PruningMethod(
        name="swd",
        title="Selective Weight Decay",
        wrapper=PruneSelectiveDecay,
        run=SelectiveRun,
        status=PruningStatus,
        schedules=(SelectiveDecay,),
        wrap=prune_selective_decay,
        wrap_layer=PruneSelectiveDecay,
        wrap_to=_wrap_weights_to,
        plan=plan_pruning,
        rate_of="the weights",
        takes_budget=False,
        summary="single weights become zero",
    )
)


def _wrap_channels_to(model: Any, target: Target, **layers: Any) -> Any:
    schedule = StructuredDecay(target.as_budget(), target.steps, round_to=target.round_to)
    return prune_selective_decay(model, schedule, **layers)


CHANNELS = register_method(
    PruningMethod(
        name="structured",
        title="Selective Weight Decay of channels",
        wrapper=PruneStructuredDecay,
        run=StructuredRun,
        status=StructuredStatus,
        schedules=(StructuredDecay,),
        wrap=prune_selective_decay,
        wrap_layer=None,
        wrap_to=_wrap_channels_to,
        plan=functools.partial(plan_channels, layers="all"),
        rate_of="the parameters",
        takes_budget=True,
        summary="whole channels are decayed until the rest is within a budget",
        rate_is_budget=True,
    )
)
