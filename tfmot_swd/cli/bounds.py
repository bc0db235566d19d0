"""Flags on how far a file may be from its model, for the commands that run both."""

from __future__ import annotations

from absl import flags


def define_bound_flags(values: flags.FlagValues) -> None:
    """Defines --min_agreement and --max_accuracy_loss; `export.proof.Bounds` has the defaults."""
    flags.DEFINE_float(
        "min_agreement",
        None,
        "share of the samples on which file and model must name the same class; 0.7, and a warning below 0.9",
        0.0,
        1.0,
        flag_values=values,
    )
    flags.DEFINE_float(
        "max_accuracy_loss",
        None,
        "by how much the accuracy of the file may be lower, 0.05 for five points; 0.1, and a warning above 0.02",
        0.0,
        1.0,
        flag_values=values,
    )
