"""Selective Weight Decay inside TensorFlow Model Optimization, from a Keras model to a TFLite file."""

# First, as it chooses Keras 2 before anything imports TensorFlow.
from tfmot_swd import _compat as _compat
from tfmot_swd._version import __version__ as __version__
from tfmot_swd.after_pruning import AfterPruning
from tfmot_swd.budget import Budget
from tfmot_swd.callbacks import UpdatePruningStep
from tfmot_swd.channel_plan import ChannelPlan, plan_channels
from tfmot_swd.channels import (
    ChannelGroup,
    ChannelGroups,
    RemovalPlan,
    channel_groups,
    plan_dead_removal,
    plan_removal,
    register_channel_rule,
    remove_channels,
    remove_dead_channels,
    shrink_model,
    sliced_optimizer,
)
from tfmot_swd.cost_limits import BudgetFit, fit_budget
from tfmot_swd.cutting import cut_now
from tfmot_swd.export import ExportError, ExportResult, export_tflite
from tfmot_swd.export.advice import FileAdvice, advise
from tfmot_swd.export.interpreter import run_tflite
from tfmot_swd.export.measure import FileMeasure, measure_files
from tfmot_swd.export.micro import run_micro, write_c_source
from tfmot_swd.plan import PruningPlan, plan_pruning
from tfmot_swd.profile import Profile, profile
from tfmot_swd.progressive import (
    ChannelCriterion,
    ProgressiveRate,
    PruneProgressiveGradient,
    prune_progressive_gradient,
)
from tfmot_swd.pruning_warning import PruningWarning
from tfmot_swd.quantization import quantize_aware
from tfmot_swd.report import DeviceReport, device_report
from tfmot_swd.schedules import SelectiveDecay
from tfmot_swd.selective_decay import prune_selective_decay
from tfmot_swd.sparsity import SparsityReport, sparsity_report
from tfmot_swd.statistics import reestimate_batch_norm
from tfmot_swd.stripping import strip_pruning
from tfmot_swd.structured import PruneStructuredDecay, StructuredDecay, channel_scores
from tfmot_swd.summaries import PruningSummaries
from tfmot_swd.wrappers import PruneSelectiveDecay

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
    "cut_now",
    "device_report",
    "export_tflite",
    "fit_budget",
    "measure_files",
    "plan_channels",
    "plan_dead_removal",
    "plan_pruning",
    "plan_removal",
    "profile",
    "prune_progressive_gradient",
    "prune_selective_decay",
    "quantize_aware",
    "reestimate_batch_norm",
    "register_channel_rule",
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
