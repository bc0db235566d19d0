"""Models from files, without running what is in them unless asked."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from absl import flags

from tfmot_swd.cli.command import Call, UsageError

if TYPE_CHECKING:
    from tfmot_swd._compat import keras


def define_loading_flags(values: flags.FlagValues) -> None:
    """Defines the flags of every command that loads a model."""
    flags.DEFINE_bool(
        "unsafe",
        False,
        "load files that hold code, Lambda layers for example, and run it: only for files whose author you trust",
        flag_values=values,
    )
    flags.DEFINE_list(
        "modules", [], "Python modules of yours to import first, which have layers of your own", flag_values=values
    )


def load_model(call: Call, path: str) -> keras.Model:
    """Returns the model that is saved at `path`, not compiled.

    Raises:
      UsageError: there is nothing at `path`; a module of `--modules` cannot be imported.
      TypeError, ValueError: it is no model that can be worked on, or it holds code and `--unsafe` was not given.
    """
    from tfmot_swd._compat import keras
    from tfmot_swd.cli.safety import code_in, saved_by
    from tfmot_swd.validation import check_keras_model

    place = Path(path)
    if not place.exists():
        raise UsageError(f"There is no such file. Received: {path!r}")
    _import_modules(call.flags.modules)
    found = _read(path, lambda: code_in(place, call.flags.modules))
    if found and not call.flags.unsafe:
        raise ValueError(
            f"This file would run code of its own when it is loaded: {', '.join(found)}. If you trust whoever made it, "
            "add --unsafe; layers that are yours are trusted with --modules=your_module. "
            f"Received: {path!r}"
        )
    version = _read(path, lambda: saved_by(place))
    if version.startswith("3."):
        raise ValueError(
            "Keras 3 saved this file, and TensorFlow Model Optimization works on Keras 2: build the network with "
            "tf_keras, set its weights from the Keras 3 model, and save that. "
            f"Received: {path!r} of Keras {version}"
        )
    model = _read(path, lambda: keras.models.load_model(path, compile=False, safe_mode=not call.flags.unsafe))
    check_keras_model(model)
    return model


def _read(path: str, read: Any) -> Any:
    """Returns what `read` does, with errors of Keras, whose messages run over pages, cut to their beginning."""
    try:
        return read()
    except Exception as error:
        if "Received:" in str(error):
            raise
        said = " ".join(str(error).split())[:300]
        raise ValueError(
            "This model could not be loaded; if it has layers of your own, register them "
            "(keras.utils.register_keras_serializable) in a module and name it with --modules=your_module. "
            f"Received: {path!r}, and {type(error).__name__}: {said}"
        ) from error


def _import_modules(names: list[str]) -> None:
    # Scripts that were installed do not look into the working directory, where one's own modules are.
    if names and os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    for name in names:
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise UsageError(f"--modules={name} cannot be imported: {error}") from error
