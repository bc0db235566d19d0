"""Groups of coupled channels: found, ranked and removed on any graph model of Keras."""

from tfmot_swd.channels.criteria import ChannelCriterion, register_criterion, slices_of
from tfmot_swd.channels.dead import plan_dead_removal, remove_dead_channels
from tfmot_swd.channels.groups import Barrier, ChannelGroup, ChannelGroups, Member, channel_groups
from tfmot_swd.channels.plan import ChannelPlan, plan_channels
from tfmot_swd.channels.removal import RemovalPlan, plan_removal, remove_channels
from tfmot_swd.channels.scores import channel_scores
from tfmot_swd.channels.shrink import Shrunk, shrink_model
from tfmot_swd.keras2.optimizer_state import sliced_optimizer
from tfmot_swd.layers.registry import register_channel_rule

__all__ = [
    "Barrier",
    "ChannelCriterion",
    "ChannelGroup",
    "ChannelGroups",
    "ChannelPlan",
    "Member",
    "RemovalPlan",
    "Shrunk",
    "channel_groups",
    "channel_scores",
    "plan_channels",
    "plan_dead_removal",
    "plan_removal",
    "register_channel_rule",
    "register_criterion",
    "remove_channels",
    "remove_dead_channels",
    "shrink_model",
    "sliced_optimizer",
    "slices_of",
]
