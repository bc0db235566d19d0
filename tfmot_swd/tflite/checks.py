"""Which models can be exported, decided before any work is done."""

from __future__ import annotations

from typing import Any

from tfmot_swd.keras2.validation import check_keras_model
from tfmot_swd.pruning.wrapped_models import find_wrapped


def check_exportable(model: Any) -> None:
    """Refuses what is not a built tf_keras model with known inputs and without pruning wrappers.

    A wrapped model does convert, but to a file about 4 times slower, or to one that does not load.

    Raises:
        TypeError: a Keras 3 model, or no Keras model at all.
        ValueError: a model that is subclassed, not built, takes strings, or is still wrapped, at any depth.
    """
    check_keras_model(model)
    if not model.inputs:
        raise ValueError(
            "The inputs of the model are not known: give it an Input layer, or call it on data first. "
            f"Received: {model.name!r} without inputs"
        )
    for name, tensor in zip(model.input_names, model.inputs, strict=True):
        if tensor.dtype.name == "string":
            raise ValueError(
                "Files take no strings: export the model from the numbers on, and look words up in the program that "
                f"uses it, as StringLookup does. Received: input {name!r} of dtype string"
            )
    wrapped = find_wrapped(model)
    if wrapped:
        shown = ", ".join(wrapped[:5]) + (", ..." if len(wrapped) > 5 else "")
        raise ValueError(
            "The model still has its pruning wrappers: call tfmot_swd.strip_pruning(model) first and "
            f"export what it returns. Received: {len(wrapped)} wrapped layers ({shown})"
        )
