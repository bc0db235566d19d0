"""The frame of every pruning method: wrappers, pools, runs, callbacks, backups, stripping."""

from tfmot_swd.pruning import channel_rule as _channel_rule  # noqa: F401  (registers the rule)
