"""Frame of all pruning methods: wrappers, pools, runs, callbacks, backups and stripping.

A new method is a class derived from `MaskWrapper`, `MaskPool` and `MaskRun` each (or from their bases
`PruningWrapper`, `PruningPool` and `PruningRun`), and one call of `register_method`.
"""

from tfmot_swd.pruning.after_pruning import AfterPruning
from tfmot_swd.pruning.callbacks import UpdatePruningStep
from tfmot_swd.pruning.low_magnitude import prune_low_magnitude
from tfmot_swd.pruning.mask_pool import MaskPool
from tfmot_swd.pruning.mask_run import MaskRun, MaskStatus
from tfmot_swd.pruning.mask_wrapper import MaskWrapper
from tfmot_swd.pruning.methods import (
    PruningMethod,
    Target,
    method_for,
    method_named,
    register_method,
    registered_methods,
)
from tfmot_swd.pruning.plan import PlanRow, PruningPlan, plan_pruning
from tfmot_swd.pruning.pool import PruningPool
from tfmot_swd.pruning.run import PruningRun, RunOptions
from tfmot_swd.pruning.sparsity import SparsityReport, sparsity_report
from tfmot_swd.pruning.statistics import reestimate_batch_norm
from tfmot_swd.pruning.status import Chart, ChartLine, Status
from tfmot_swd.pruning.strip import prune_now, strip_pruning
from tfmot_swd.pruning.summaries import PruningSummaries
from tfmot_swd.pruning.wrapper import PruningWrapper
from tfmot_swd.pruning.wrapping import wrap_prunable_layers

__all__ = [
    "AfterPruning",
    "Chart",
    "ChartLine",
    "MaskPool",
    "MaskRun",
    "MaskStatus",
    "MaskWrapper",
    "PlanRow",
    "PruningMethod",
    "PruningPlan",
    "PruningPool",
    "PruningRun",
    "PruningSummaries",
    "PruningWrapper",
    "RunOptions",
    "SparsityReport",
    "Status",
    "Target",
    "UpdatePruningStep",
    "method_for",
    "method_named",
    "plan_pruning",
    "prune_low_magnitude",
    "prune_now",
    "reestimate_batch_norm",
    "register_method",
    "registered_methods",
    "sparsity_report",
    "strip_pruning",
    "wrap_prunable_layers",
]
