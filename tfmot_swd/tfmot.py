"""TFMOT's namespace with the pruning of this package: `from tfmot_swd import tfmot` in the place of TFMOT's import.

A script that says `tfmot.sparsity.keras.prune_low_magnitude` goes on as it is; with a schedule of this package it
prunes by that schedule's method. Clustering and quantization are TFMOT's own.

>>> from tfmot_swd import tfmot
>>> tfmot.sparsity.keras.prune_low_magnitude.__module__
'tfmot_swd.pruning.low_magnitude'
>>> tfmot.sparsity.keras.PolynomialDecay.__module__.partition(".")[0]
'tensorflow_model_optimization'
"""

from __future__ import annotations

import sys
import types

import tensorflow_model_optimization as _tfmot

from tfmot_swd.pruning.callbacks import UpdatePruningStep
from tfmot_swd.pruning.low_magnitude import prune_low_magnitude
from tfmot_swd.pruning.strip import strip_pruning
from tfmot_swd.pruning.summaries import PruningSummaries

__version__ = _tfmot.__version__
clustering = _tfmot.clustering
experimental = _tfmot.experimental
quantization = _tfmot.quantization

_theirs = _tfmot.sparsity.keras
_ours = {
    "PruningSummaries": PruningSummaries,
    "UpdatePruningStep": UpdatePruningStep,
    "prune_low_magnitude": prune_low_magnitude,
    "strip_pruning": strip_pruning,
}
# Modules, as `from tfmot_swd.tfmot.sparsity import keras` is an import that scripts have.
sparsity = types.ModuleType(f"{__name__}.sparsity", "TFMOT's sparsity API, with this package's pruning.")
sparsity.keras = types.ModuleType(f"{__name__}.sparsity.keras", sparsity.__doc__)  # type: ignore[attr-defined]
vars(sparsity.keras).update({name: getattr(_theirs, name) for name in dir(_theirs) if name[0] != "_"} | _ours)
__path__: list[str] = []
sparsity.__path__ = []
sys.modules |= {each.__name__: each for each in (sparsity, sparsity.keras)}
