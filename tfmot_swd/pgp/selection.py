"""Selection of the weak filters of a model at the end of an epoch."""

from __future__ import annotations

import dataclasses
import zlib
from typing import Any

import numpy as np

from tfmot_swd.channels.criteria import ChannelCriterion
from tfmot_swd.channels.groups import ChannelGroup, ChannelGroups, channel_groups, parts_of
from tfmot_swd.channels.plan import is_frozen
from tfmot_swd.channels.scores import group_scores
from tfmot_swd.keras2.compat import master_variable
from tfmot_swd.keras2.layer_weights import weight_at
from tfmot_swd.pgp.pool import ScorePool
from tfmot_swd.pgp.ranking import Ranked, Selection, select_filters
from tfmot_swd.pgp.wrapper import ScoredWeight


@dataclasses.dataclass(frozen=True)
class Scores:
    """Scores of the filters of one weight."""

    scored: ScoredWeight
    values: np.ndarray


@dataclasses.dataclass(frozen=True)
class Decision:
    """The weak filters of the groups of one model.

    Args:
      groups: channel groups of the present model.
      selections: weak filters by name of the group, for ranked groups.
      threshold: the largest score among the weak filters; 0 without any.
    """

    groups: ChannelGroups
    selections: dict[str, Selection]
    threshold: float

    @property
    def hard(self) -> int:
        """Number of channels to remove."""
        return sum(len(each.hard) for each in self.selections.values())

    @property
    def soft(self) -> int:
        """Number of channels to set to zero and keep."""
        return sum(len(each.soft) for each in self.selections.values())

    def keep(self) -> dict[str, np.ndarray]:
        """Returns the keep-masks of the groups that lose channels."""
        masks = {}
        for name, selection in self.selections.items():
            if len(selection.hard):
                masks[name] = np.ones(self.groups[name].size, bool)
                masks[name][selection.hard] = False
        return masks


def decide(model: Any, pool: ScorePool, criterion: ChannelCriterion, epoch: int) -> Decision:
    """Returns the weak filters of `model` after `epoch` epochs of the schedule.

    Args:
      model: a wrapped Sequential or Functional model.
      pool: of its wrappers, with the scores of the epoch.
      criterion: ranks the filters.
      epoch: number of finished epochs.

    Raises:
      ValueError: a score is NaN or infinite, or the criterion does not return one score a filter.
    """
    schedule, settings = pool.schedule, pool.settings
    is_last = epoch >= schedule.epochs
    groups = channel_groups(model)
    scores = _scores(pool, criterion, epoch)
    parts = parts_of(groups)
    variables = {id(each): each for each in map(master_variable, model.trainable_weights)}
    ranked = []
    for group in groups.values():
        # A layer frozen after wrapping keeps its channels, so its whole group does.
        if not is_frozen(group, variables):
            found = _reduced(group, scores, settings.reduction)
            if found is not None:
                size, values = found
                if criterion.ranks_groups:
                    values = _checked(group_scores(group, variables, criterion), group.name, epoch)
                ranked.append(Ranked(group.name, size, values, tuple(parts.get(group.name, ()))))
    # Several epochs may have ended since filters were ranked last.
    removes = any(schedule.removes_after(each) for each in range(pool.epochs + 1, epoch + 1))
    hard_share = 1.0 if is_last else settings.hard_share if removes else 0.0
    selections = select_filters(
        ranked,
        schedule.share_left(epoch),
        hard_share,
        scope=settings.scope,
        round_to=settings.round_to,
        minimum=settings.minimum,
        final_left=schedule.share_left(schedule.epochs),
    )
    if is_last:
        # Filters that rounding keeps must not be zero.
        selections = {name: dataclasses.replace(each, soft=each.soft[:0]) for name, each in selections.items()}
    by_name = {each.name: each.scores for each in ranked}
    weak = [by_name[name][np.append(each.hard, each.soft)] for name, each in selections.items()]
    return Decision(groups, selections, max((float(each.max()) for each in weak if len(each)), default=0.0))


def _scores(pool: ScorePool, criterion: ChannelCriterion, epoch: int) -> dict[int, Scores]:
    """Returns the scores of each scored weight by the identity of its variable."""
    found = {}
    for wrapper in pool.wrappers:
        for scored in wrapper.scored:
            variable = weight_at(wrapper.layer, scored.path)
            name = f"{wrapper.layer.name}/{scored.path}"
            rng = np.random.default_rng([pool.settings.seed, epoch, zlib.crc32(name.encode())])
            start = None if scored.start is None else scored.start.numpy()
            values = criterion.scores(variable.numpy(), scored.total.numpy(), start, scored.axis, rng)
            if np.shape(values) != tuple(scored.mask.shape):
                raise ValueError(
                    f"{type(criterion).__name__}.scores must return one number a filter, of shape "
                    f"{tuple(scored.mask.shape)} for {name}. Received: shape {np.shape(values)}"
                )
            found[id(variable)] = Scores(scored, _checked(values, name, epoch))
    return found


def _checked(scores: np.ndarray, name: str, epoch: int) -> np.ndarray:
    if not np.isfinite(scores).all():
        raise ValueError(
            "Filters cannot be ranked by scores that are NaN or infinite: the training has diverged; lower "
            f"the learning rate or clip gradients. Received: such a score of {name} after epoch {epoch}"
        )
    return scores


def _reduced(group: ChannelGroup, scores: dict[int, Scores], reduction: str) -> tuple[float, np.ndarray] | None:
    """Returns (initial size, scores of the channels) of a group; None for a group that is not ranked."""
    initial, now, total, count = 0, 0, np.zeros(group.size), np.zeros(group.size)
    for member in group.producers:
        found = scores.get(member.variable_id)
        if found is None or found.scored.axis != member.axis:
            continue
        own = member.channels >= 0
        sizes = found.scored.initial.numpy()[own]
        if not sizes.any():
            continue
        initial, now = initial + int(sizes.max()), now + len(sizes)
        counted = own & found.scored.leads.numpy() if reduction == "leader" else own
        # A channel may have several filters, as in grouped convolutions.
        np.add.at(total, member.channels[counted], found.values[counted])
        count[np.unique(member.channels[counted])] += 1
    if not initial:
        return None
    # By filters: the number of channels of a grouped convolution changes with its groups.
    size = initial * group.size / now
    return size, total / np.maximum(count, 1) if reduction == "mean" else total
