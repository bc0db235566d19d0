"""Selective Weight Decay on a Keras model: the entry functions that put the wrappers on."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from tfmot_swd.keras2.compat import PruningPolicy
from tfmot_swd.keras2.layer_choice import LayerChoice
from tfmot_swd.keras2.layer_weights import kernels_of
from tfmot_swd.pruning.blocks import Blocks
from tfmot_swd.pruning.wrapped_models import check_can_wrap, collect_wrappers
from tfmot_swd.pruning.wrapping import wrap_prunable_layers
from tfmot_swd.swd.schedules import SelectiveDecay
from tfmot_swd.swd.structured.entry import wrap_channels
from tfmot_swd.swd.structured.schedule import StructuredDecay
from tfmot_swd.swd.weight_pool import kept_floors
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
    """Returns a copy of `model` that trains with Selective Weight Decay; the original stays as it is.

    Layers that own prunable weights are wrapped, the others are copied; a layer that cannot be pruned
    stays whole and is listed in the log (`plan_pruning` shows the list beforehand). Compile the result,
    fit it with `tfmot_swd.UpdatePruningStep`, then call `tfmot_swd.strip_pruning`.

    Of a custom layer the layers inside are pruned, each by its own class, wherever they are held: in attributes,
    lists, dictionaries, other custom layers. The weights that it owns itself are not known: a `PruningWarning` names
    the layers and their share of all kernel weights, where that is a hundredth or more. Derive the class from
    `tfmot.sparsity.keras.PrunableLayer` to have them pruned, or name the layer in `skip`. Whole channels inside a
    custom layer stay, unless it has a channel rule (`register_layer`).

    Frozen layers are wrapped too, and take no part while they are frozen: a rate is a share of the weights that are
    trained, and a budget is of all channels. So transfer learning needs one call, and one schedule for both phases:

        base.trainable = False
        model = prune_selective_decay(net, SelectiveDecay(0.8, begin_step=first, end_step=first + second))
        model.compile(...)
        model.fit(..., callbacks=[UpdatePruningStep(partial_fit=True)])  # `first` updates
        model.get_layer(base.name).trainable = True
        model.compile(...)
        model.fit(..., callbacks=[UpdatePruningStep()])  # `second` updates

    Layers that are frozen at the final pruning step stay whole, with a warning unless `skip` names them. With
    `prune_progressive_gradient` the epochs of the schedule are those of the second phase, where the first trains
    nothing that can be pruned.

    With a `StructuredDecay` whole channels are decayed, until the net without them is within a budget, and
    `strip_pruning` returns that net; `plan_channels(model, layers="all")` shows which channels are ranked.

    With a `block_size` matrices are decayed and cut in blocks, as with TFMOT's `prune_low_magnitude`, but under the one
    threshold of the whole model: each weight of a block is ranked by the block's pooled |w|, and counts as one. In
    blocks of (4, 1), 4 inputs of one output, a dense layer whose inputs are a multiple of 4 runs on TFLite's own sparse
    kernel when its file is stored sparse in float32: faster at batch 1, slower at larger ones. Weights of two axes are
    in blocks (kernels of dense and recurrent layers, embeddings), and those with only axes of length 1 before the last
    two (pointwise convolutions). Larger convolutions and biases go one by one, where TFMOT refuses the model. The share
    that is cut may fall short of the rate by less than one block.
    `strip_pruning` keeps the channels along which there are blocks: the next one would be torn.

    Args:
      model: a built tf_keras Sequential or Functional model, nested models included.
      schedule: a `SelectiveDecay`, or a `StructuredDecay`.
      skip: names of layers to leave whole, or of models inside the model; with a `StructuredDecay` they keep the
        channels that they make or act on.
      only: names of the layers that may be pruned, None for all; with a `StructuredDecay` those whose channels may
        leave, see `plan_channels`.
      pruning_policy: a TFMOT `PruningPolicy`; layers it does not allow are left whole. Not with a `StructuredDecay`.
      block_size: (height, width) of the blocks, in inputs and outputs of a dense kernel. Not with a `StructuredDecay`.
      block_pooling_type: "AVG" or "MAX": a block's magnitude is the mean or the maximum of its weights'.

    Returns:
      An uncompiled tf_keras model with the same weights and predictions.

    Raises:
      TypeError: `model` is no tf_keras model, or `schedule` none of the two.
      ValueError: the model is subclassed, not built, already wrapped, holds NaN, or has nothing to
        prune; `skip` or `only` names a layer that does not exist; the blocks are not those of TFMOT; the
        budget cannot be met, with what could be.

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
        check_can_wrap(model)
        if blocks.size != (1, 1):
            raise ValueError(
                "A StructuredDecay removes whole channels, which leaves no blocks to choose: leave block_size out, or "
                f"use a SelectiveDecay. Received: block_size={block_size!r} with a StructuredDecay"
            )
        if pruning_policy is not None:
            raise ValueError(
                "A pruning policy says which layers may have zeros, not which channels may leave: name layers to leave "
                f"whole with skip. Received: pruning_policy={pruning_policy!r} with a StructuredDecay"
            )
        return wrap_channels(model, schedule, LayerChoice(skip, only))
    pruned = wrap_prunable_layers(
        model,
        lambda layer: PruneSelectiveDecay(layer, schedule, blocks.size, blocks.pooling),
        targets=schedule.targets,
        skip=skip,
        only=only,
        pruning_policy=pruning_policy,
    )
    # Whether the floors can be kept shows only with the sizes of the weights, and now is early.
    wrappers = collect_wrappers(pruned, PruneSelectiveDecay)
    counted = [each for wrapper in wrappers for each in wrapper.prunable_weights[: wrapper.counted]]
    kept_floors(schedule, counted, {id(each) for wrapper in wrappers for each in kernels_of(wrapper)})
    return pruned
