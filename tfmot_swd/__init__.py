"""Pruning of Keras models while they train, inside TensorFlow Model Optimization, up to files for devices.

The names here are what most scripts need; the rest is in the rooms of the package:

| room | holds |
|---|---|
| `tfmot_swd.channels` | groups of coupled channels, criteria, removal |
| `tfmot_swd.costs` | profile, costs, budgets |
| `tfmot_swd.pruning` | what all methods share; a method of your own |
| `tfmot_swd.swd`, `tfmot_swd.pgp`, `tfmot_swd.magnitude` | the methods |
| `tfmot_swd.tflite`, `tfmot_swd.tflite.micro` | export, measurement, microcontrollers |
| `tfmot_swd.report` | the device report |
| `tfmot_swd.workflows` | whole jobs: compression, the smallest model, sensitivity |
| `tfmot_swd.keras3` | Keras 3 models to tf_keras and back; what they train with |
| `tfmot_swd.tfmot` | TFMOT's namespace, with this package's pruning |
"""

# First, as it imports TFMOT in the only way that leaves `tf.keras` as it is.
from tfmot_swd.keras2 import compat as _compat  # noqa: F401

# isort: split
from tfmot_swd import channels, costs, keras3, layers, magnitude, pgp, pruning, report, swd, tflite, workflows
from tfmot_swd._version import __version__ as __version__
from tfmot_swd.channels.plan import plan_channels
from tfmot_swd.costs.budget import Budget
from tfmot_swd.costs.profile import profile
from tfmot_swd.io.deprecation import deprecated_modules, deprecated_names
from tfmot_swd.keras2.validation import PruningWarning
from tfmot_swd.layers.registry import register_layer
from tfmot_swd.pgp import ProgressiveRate, prune_progressive_gradient
from tfmot_swd.pruning import (
    AfterPruning,
    PruningSummaries,
    UpdatePruningStep,
    plan_pruning,
    prune_low_magnitude,
    prune_now,
    sparsity_report,
    strip_pruning,
)
from tfmot_swd.report import device_report
from tfmot_swd.swd import SelectiveDecay, StructuredDecay, prune_selective_decay
from tfmot_swd.tflite import export_tflite, quantize_aware
from tfmot_swd.workflows import compress

__all__ = [
    "AfterPruning",
    "Budget",
    "ProgressiveRate",
    "PruningSummaries",
    "PruningWarning",
    "SelectiveDecay",
    "StructuredDecay",
    "UpdatePruningStep",
    "channels",
    "compress",
    "costs",
    "device_report",
    "export_tflite",
    "keras3",
    "layers",
    "magnitude",
    "pgp",
    "plan_channels",
    "plan_pruning",
    "profile",
    "prune_low_magnitude",
    "prune_now",
    "prune_progressive_gradient",
    "prune_selective_decay",
    "pruning",
    "quantize_aware",
    "register_layer",
    "report",
    "sparsity_report",
    "strip_pruning",
    "swd",
    "tflite",
    "workflows",
]

_MOVED_MODULES = {
    "tfmot_swd.export": "tfmot_swd.tflite",
    "tfmot_swd.export.micro": "tfmot_swd.tflite.micro",
    "tfmot_swd.macs": "tfmot_swd.layers.macs",
    "tfmot_swd.progressive": "tfmot_swd.pgp",
    "tfmot_swd.prunable": "tfmot_swd.layers.prunable",
    "tfmot_swd.structured": "tfmot_swd.swd.structured",
}

# For one release: what has moved to a room, or has another name.
__getattr__ = deprecated_names(
    __name__,
    {
        "BudgetFit": "tfmot_swd.costs.BudgetFit",
        "ChannelCriterion": "tfmot_swd.channels.ChannelCriterion",
        "ChannelGroup": "tfmot_swd.channels.ChannelGroup",
        "ChannelGroups": "tfmot_swd.channels.ChannelGroups",
        "ChannelPlan": "tfmot_swd.channels.ChannelPlan",
        "DeviceReport": "tfmot_swd.report.DeviceReport",
        "ExportError": "tfmot_swd.tflite.ExportError",
        "ExportResult": "tfmot_swd.tflite.ExportResult",
        "FileAdvice": "tfmot_swd.tflite.FileAdvice",
        "FileMeasure": "tfmot_swd.tflite.FileMeasure",
        "Profile": "tfmot_swd.costs.Profile",
        "PruneProgressiveGradient": "tfmot_swd.pgp.PruneProgressiveGradient",
        "PruneSelectiveDecay": "tfmot_swd.swd.PruneSelectiveDecay",
        "PruneStructuredDecay": "tfmot_swd.swd.PruneStructuredDecay",
        "PruningPlan": "tfmot_swd.pruning.PruningPlan",
        "RemovalPlan": "tfmot_swd.channels.RemovalPlan",
        "SparsityReport": "tfmot_swd.pruning.SparsityReport",
        "advise": "tfmot_swd.tflite.advise",
        "channel_groups": "tfmot_swd.channels.channel_groups",
        "channel_scores": "tfmot_swd.channels.channel_scores",
        "fit_budget": "tfmot_swd.costs.fit_budget",
        "measure_files": "tfmot_swd.tflite.measure_files",
        "plan_dead_removal": "tfmot_swd.channels.plan_dead_removal",
        "plan_removal": "tfmot_swd.channels.plan_removal",
        "reestimate_batch_norm": "tfmot_swd.pruning.reestimate_batch_norm",
        "register_channel_rule": "tfmot_swd.channels.register_channel_rule",
        "remove_channels": "tfmot_swd.channels.remove_channels",
        "remove_dead_channels": "tfmot_swd.channels.remove_dead_channels",
        "run_micro": "tfmot_swd.tflite.micro.run_micro",
        "run_tflite": "tfmot_swd.tflite.run_tflite",
        "shrink_model": "tfmot_swd.channels.shrink_model",
        "sliced_optimizer": "tfmot_swd.channels.sliced_optimizer",
        "write_c_source": "tfmot_swd.tflite.micro.write_c_source",
        "cut_now": "tfmot_swd.prune_now",
        **{old.removeprefix("tfmot_swd."): new for old, new in _MOVED_MODULES.items() if old.count(".") == 1},
    },
)
deprecated_modules(_MOVED_MODULES)
