"""One training by Selective Weight Decay on whole channels."""

from __future__ import annotations

from tfmot_swd.selective_run import SelectiveRun
from tfmot_swd.structured.channel_pool import ChannelPool
from tfmot_swd.structured.monitor import ChannelMonitor
from tfmot_swd.structured.wrapper import PruneStructuredDecay


class StructuredRun(SelectiveRun):
    """As `SelectiveRun`, with channels in the place of weights."""

    wrapper_class = PruneStructuredDecay
    pool_class = ChannelPool
    monitor_class = ChannelMonitor
