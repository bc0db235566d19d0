"""Channels that live and die together: found, removed, sliced out of optimizers, on any graph model of Keras."""

from tfmot_swd.channels.dead import plan_dead_removal, remove_dead_channels
from tfmot_swd.channels.groups import Barrier, ChannelGroup, ChannelGroups, Member, channel_groups
from tfmot_swd.channels.removal import RemovalPlan, plan_removal, remove_channels
from tfmot_swd.channels.shrink import Shrunk, shrink_model
from tfmot_swd.keras2.optimizer_state import sliced_optimizer
from tfmot_swd.layers.registry import register_channel_rule, register_layer

__all__ = [
    "Barrier",
    "ChannelGroup",
    "ChannelGroups",
    "Member",
    "RemovalPlan",
    "Shrunk",
    "channel_groups",
    "plan_dead_removal",
    "plan_removal",
    "register_channel_rule",
    "register_layer",
    "remove_channels",
    "remove_dead_channels",
    "shrink_model",
    "sliced_optimizer",
]
