"""Model files loaded without running code in them, unless asked to."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from absl import flags

from tfmot_swd.cli.command import Call, UsageError

if TYPE_CHECKING:
    from tfmot_swd.keras2.compat import keras


def define_loading_flags(values: flags.FlagValues) -> None:
    """Defines the flags of every command that loads a model."""
    flags.DEFINE_bool(
        "unsafe",
        False,
        "load files that hold code, Lambda layers for example, and run it: only for files whose author you trust",
        flag_values=values,
    )
    flags.DEFINE_list(
        "modules",
        [],
        "your own Python modules to import first, which define custom layers or methods",
        flag_values=values,
    )


@dataclasses.dataclass(frozen=True)
class Loaded:
    """A model from a file.

    Args:
      model: the tf_keras model, not compiled; of a file of Keras 3 one that computes the same.
      is_keras3: whether Keras 3 wrote the file.
    """

    model: keras.Model
    is_keras3: bool


def load_model(call: Call, path: str) -> keras.Model:
    """Returns the model that is saved at `path`, as `load` does."""
    return load(call, path).model


def load(call: Call, path: str) -> Loaded:
    """Returns the model that is saved at `path`, and which Keras wrote it.

    Raises:
      UsageError: there is nothing at `path`; a module of `--modules` cannot be imported.
      TypeError, ValueError: it is not a model that can be pruned, or it holds code and `--unsafe` was not given.
    """
    from tfmot_swd.cli.load_limits import check_outputs
    from tfmot_swd.cli.model_copy import private_copy, stored_bytes
    from tfmot_swd.keras2.validation import check_keras_model
    from tfmot_swd.keras3.door import from_keras3, is_keras3_model

    place = Path(path)
    if not place.exists():
        raise UsageError(f"There is no such file. Received: {path!r}")
    import_modules(call.flags.modules)
    with contextlib.ExitStack() as stack, _told(path) as copies:
        if call.flags.unsafe:
            copies.append(place)
        else:
            copies.append(stack.enter_context(private_copy(place)))
        found = _checked_model(copies[0], path, call.flags.modules, call.flags.unsafe)
        stored = stored_bytes(copies[0])
    with named(path):
        if is_keras3_model(found) and not call.flags.unsafe:
            # The conversion is proven by running the model.
            check_outputs(found, stored)
        model = from_keras3(found) if is_keras3_model(found) else found
        check_keras_model(model)
    return Loaded(model, model is not found)


@contextlib.contextmanager
def named(path: str) -> Iterator[None]:
    """Appends the path of the model to errors in the block, as a command may be given several."""
    try:
        yield
    except (TypeError, ValueError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"{error}, from {path!r}") from error


def _checked_model(place: Path, path: str, modules: Sequence[str], unsafe: bool) -> Any:
    """Returns the model of a private copy, of either Keras, once it is known to be harmless or is trusted."""
    from tfmot_swd.cli.load_limits import limited_weights
    from tfmot_swd.cli.model_copy import stored_bytes
    from tfmot_swd.cli.safety import code_in, register_counterparts, saved_by_keras3

    register_counterparts(place)
    found = [] if unsafe else code_in(place, modules)
    if found:
        raise ValueError(
            f"This file may run code or touch other files when it is loaded: {', '.join(found[:20])}. If you trust "
            "its author, add --unsafe; layers that are yours are trusted with --modules=your_module. "
            f"Received: {path!r}"
        )
    with contextlib.nullcontext() if unsafe else limited_weights(stored_bytes(place)):
        if saved_by_keras3(place):
            return _keras3_model(place, modules, unsafe)
        return _keras2_model(place, unsafe)


def _keras2_model(place: Path, unsafe: bool) -> keras.Model:
    import tensorflow_model_optimization as tfmot

    from tfmot_swd.keras2.compat import keras

    with contextlib.ExitStack() as stack:
        # Classes of TFMOT, for formats that name no modules.
        stack.enter_context(tfmot.quantization.keras.quantize_scope())
        stack.enter_context(tfmot.sparsity.keras.prune_scope())
        stack.enter_context(tfmot.clustering.keras.cluster_scope())
        return keras.models.load_model(str(place), compile=False, safe_mode=not unsafe)


def _keras3_model(place: Path, modules: Sequence[str], unsafe: bool) -> Any:
    import keras

    from tfmot_swd.cli.load_limits import limited_calls
    from tfmot_swd.cli.safety import objects_of, tensors_in

    own = objects_of(place, modules)
    with contextlib.nullcontext() if unsafe else limited_calls(tensors_in(place)):
        return keras.saving.load_model(str(place), own, compile=False, safe_mode=not unsafe)


@contextlib.contextmanager
def _told(path: str) -> Iterator[list[Path]]:
    """Names the given file in errors of the block, and shortens those of Keras, which run over pages."""
    copies: list[Path] = []
    try:
        yield copies
    except Exception as error:
        # Bytes of a damaged file may not be printable text.
        said = str(error).encode(errors="backslashreplace").decode()
        for each in copies:
            said = said.replace(str(each), path)
        # Keras's own messages have such an end too, and do not name the file.
        if "Received:" in said and path in said:
            raise (TypeError if isinstance(error, TypeError) else ValueError)(said) from error
        # Keras puts the descriptions of all that it was about to make before what went wrong.
        cause = said.rpartition("Exception encountered:")[2]
        raise ValueError(
            "This model could not be loaded: it is damaged, or has layers of your own; register those "
            "(register_keras_serializable of keras.saving) in a module and name it with --modules=your_module. "
            f"Received: {path!r}, and {type(error).__name__}: {' '.join(cause.split())[:300]}"
        ) from error


def import_modules(names: list[str]) -> None:
    # Scripts that were installed do not look into the working directory, where one's own modules are.
    if names and os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    for name in names:
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise UsageError(
                f"--modules={name} cannot be imported; the folder of the module must be the working directory or on "
                f"PYTHONPATH. Received: {error}"
            ) from error
