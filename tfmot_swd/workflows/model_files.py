"""Models in files: written in one atomic step, and read back with classes of the user's own."""

from __future__ import annotations

import os
import tempfile
import warnings
from pathlib import Path
from typing import Any

from tfmot_swd.io.atomic import atomic_write
from tfmot_swd.keras2.compat import keras


def write_model(target: Path, model: Any) -> None:
    """Saves a model, of either Keras, as the `.keras` or `.h5` file that the name says, in one atomic step."""
    with tempfile.TemporaryDirectory() as directory, warnings.catch_warnings():
        # Both Keras advise against .h5, which was asked for.
        warnings.filterwarnings("ignore", "You are saving your model as an HDF5 file")
        saved = Path(directory) / f"model{target.suffix}"
        model.save(saved)
        content = saved.read_bytes()
    with atomic_write(target, content):
        pass


def read_model(path: str | os.PathLike[str], origin: Any) -> Any:
    """Returns the tf_keras model of a file that this package wrote, not compiled.

    Args:
      path: of the file. Its code is run, where it holds some.
      origin: the model that the saved one was made of, which has its classes.

    Raises:
      ValueError: it cannot be read: the file is damaged, or holds a function that nothing here tells.
    """
    own = {type(each).__name__: type(each) for each in origin.submodules if isinstance(each, keras.layers.Layer)}
    own = {name: each for name, each in own.items() if not each.__module__.startswith("tf_keras")}
    try:
        with keras.utils.custom_object_scope(own):
            return keras.models.load_model(os.fspath(path), compile=False, safe_mode=False)
    # Keras raises many kinds.
    except Exception as error:
        raise ValueError(
            "The model of an earlier try cannot be read: register your own functions and classes with "
            "tf_keras.utils.register_keras_serializable, or choose another folder. "
            f"Received: {os.fspath(path)!r}, and {type(error).__name__}: {' '.join(str(error).split())[:300]}"
        ) from error
