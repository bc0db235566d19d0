"""Selective Weight Decay inside TensorFlow Model Optimization, from a Keras model to a TFLite file."""

# First, as it chooses Keras 2 before anything imports TensorFlow.
from tfmot_swd.keras2 import compat as _compat  # noqa: F401

# isort: split
from tfmot_swd import magnitude as _magnitude  # noqa: F401  (registers the method)
from tfmot_swd._version import __version__ as __version__
from tfmot_swd.channels import (
    ChannelGroup,
    ChannelGroups,
    RemovalPlan,
    channel_groups,
    plan_dead_removal,
    plan_removal,
    register_channel_rule,
    register_layer,
    remove_channels,
    remove_dead_channels,
    shrink_model,
    sliced_optimizer,
)
from tfmot_swd.channels.plan import ChannelPlan, plan_channels
from tfmot_swd.costs.budget import Budget
from tfmot_swd.costs.limits import BudgetFit, fit_budget
from tfmot_swd.costs.profile import Profile, profile
from tfmot_swd.io.deprecation import deprecated_names
from tfmot_swd.keras2.pruning_warning import PruningWarning
from tfmot_swd.pgp import ChannelCriterion, ProgressiveRate, PruneProgressiveGradient, prune_progressive_gradient
from tfmot_swd.pruning.after_pruning import AfterPruning
from tfmot_swd.pruning.callbacks import UpdatePruningStep
from tfmot_swd.pruning.finish import prune_now
from tfmot_swd.pruning.low_magnitude import prune_low_magnitude
from tfmot_swd.pruning.plan import PruningPlan, plan_pruning
from tfmot_swd.pruning.sparsity import SparsityReport, sparsity_report
from tfmot_swd.pruning.statistics import reestimate_batch_norm
from tfmot_swd.pruning.strip import strip_pruning
from tfmot_swd.pruning.summaries import PruningSummaries
from tfmot_swd.report import DeviceReport, device_report
from tfmot_swd.swd.entry import prune_selective_decay
from tfmot_swd.swd.schedules import SelectiveDecay
from tfmot_swd.swd.structured import PruneStructuredDecay, StructuredDecay, channel_scores
from tfmot_swd.swd.wrapper import PruneSelectiveDecay
from tfmot_swd.tflite import ExportError, ExportResult, export_tflite
from tfmot_swd.tflite.advice import FileAdvice, advise
from tfmot_swd.tflite.interpreter import run_tflite
from tfmot_swd.tflite.measure import FileMeasure, measure_files
from tfmot_swd.tflite.micro import run_micro, write_c_source
from tfmot_swd.tflite.quantize_aware import quantize_aware

__all__ = [
    "AfterPruning",
    "Budget",
    "BudgetFit",
    "ChannelCriterion",
    "ChannelGroup",
    "ChannelGroups",
    "ChannelPlan",
    "DeviceReport",
    "ExportError",
    "ExportResult",
    "FileAdvice",
    "FileMeasure",
    "Profile",
    "ProgressiveRate",
    "PruneProgressiveGradient",
    "PruneSelectiveDecay",
    "PruneStructuredDecay",
    "PruningPlan",
    "PruningSummaries",
    "PruningWarning",
    "RemovalPlan",
    "SelectiveDecay",
    "SparsityReport",
    "StructuredDecay",
    "UpdatePruningStep",
    "advise",
    "channel_groups",
    "channel_scores",
    "device_report",
    "export_tflite",
    "fit_budget",
    "measure_files",
    "plan_channels",
    "plan_dead_removal",
    "plan_pruning",
    "plan_removal",
    "profile",
    "prune_low_magnitude",
    "prune_now",
    "prune_progressive_gradient",
    "prune_selective_decay",
    "quantize_aware",
    "reestimate_batch_norm",
    "register_channel_rule",
    "register_layer",
    "remove_channels",
    "remove_dead_channels",
    "run_micro",
    "run_tflite",
    "shrink_model",
    "sliced_optimizer",
    "sparsity_report",
    "strip_pruning",
    "write_c_source",
]

__getattr__ = deprecated_names(
    __name__,
    {
        "cut_now": "tfmot_swd.prune_now",
    },
)
