"""A network of Keras 3 made under JAX, pruned here, and loaded under JAX again.

    pip install jax
    python -m research.keras3_backends          # a minute; writes research/results/keras3_backends.json

Three processes, so that each has its own backend: one makes and trains a residual network under JAX and saves it; one
loads that file, under TensorFlow and again under JAX, halves its multiplications by `StructuredDecay` in training with
objects of Keras 3, strips it to a Keras 3 model, saves that and exports it; the last loads the small file under JAX,
where TensorFlow is not imported at all. The result has the largest differences of the predictions.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

RESULT = Path(__file__).parent / "results" / "keras3_backends.json"
SEED = 0


def data() -> tuple[np.ndarray, np.ndarray]:
    """Returns 256 small images and whether each is bright."""
    x = np.random.default_rng(SEED).normal(size=(256, 8, 8, 1)).astype("float32")
    return x, (x.mean(axis=(1, 2, 3)) > 0).astype("int32")


def make(folder: Path) -> dict[str, Any]:
    """Trains a network for an epoch and saves it, with what it predicts."""
    import keras
    from keras import layers, ops

    keras.utils.set_random_seed(SEED)
    inputs = keras.Input((8, 8, 1))
    x = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(16, 3, padding="same", use_bias=False)(inputs)))
    x = ops.relu(x + layers.Conv2D(16, 3, padding="same", activation="hard_silu")(x))
    x = layers.Dropout(0.1)(layers.GlobalAveragePooling2D()(x))
    model = keras.Model(inputs, layers.Dense(2)(x))
    model.compile(keras.optimizers.Adam(1e-2), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    x, y = data()
    model.fit(x, y, batch_size=32, verbose=0)
    model.save(folder / "made.keras")
    np.save(folder / "made.npy", model.predict(x, verbose=0))
    return {"backend": keras.backend.backend(), "tensorflow imported": "tensorflow" in sys.modules}


def prune(folder: Path) -> dict[str, Any]:
    """Loads the network, prunes it in training, and saves the small one, with what it predicts."""
    import keras

    import tfmot_swd

    model = keras.models.load_model(folder / "made.keras", compile=False)
    x, y = data()
    difference = np.abs(np.asarray(tfmot_swd.keras3.from_keras3(model)(x)) - np.load(folder / "made.npy")).max()
    schedule = tfmot_swd.StructuredDecay(tfmot_swd.Budget(macs=0.5), epochs=4)
    pruned = tfmot_swd.prune_selective_decay(model, schedule)
    pruned.compile(keras.optimizers.Adam(1e-2), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    stop = keras.callbacks.EarlyStopping("loss", patience=5)
    pruned.fit(x, y, batch_size=32, epochs=5, verbose=0, callbacks=[tfmot_swd.UpdatePruningStep(), stop])
    small = tfmot_swd.strip_pruning(pruned)
    small.save(folder / "small.keras")
    np.save(folder / "small.npy", pruned.predict(x, verbose=0))
    exported = tfmot_swd.export_tflite(small, folder / "small.tflite", "float32")
    return {
        "backend": keras.backend.backend(),
        "made under JAX, in tf_keras here": float(difference),
        "parameters": [model.count_params(), small.count_params()],
        "tflite, worst difference": exported.worst_difference,
    }


def load(folder: Path) -> dict[str, Any]:
    """Loads the small network and compares what it predicts with what the wrapped one did."""
    import keras

    model = keras.models.load_model(folder / "small.keras")
    difference = np.abs(np.asarray(model.predict(data()[0], verbose=0)) - np.load(folder / "small.npy")).max()
    return {
        "backend": keras.backend.backend(),
        "tensorflow imported": "tensorflow" in sys.modules,
        "pruned here, loaded there": float(difference),
    }


STEPS = {"make": make, "prune": prune, "load": load}


def apart(step: str, backend: str, folder: Path) -> dict[str, Any]:
    """Returns what a step returns, from a process of its own with a backend."""
    environment = {**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, "-m", "research.keras3_backends", step, str(folder)]
    subprocess.run(command, env=environment, cwd=Path(__file__).parents[1], check=True)
    return dict(json.loads((folder / f"{step}.json").read_text()))


def main() -> None:
    if len(sys.argv) == 3:
        step, folder = sys.argv[1], Path(sys.argv[2])
        (folder / f"{step}.json").write_text(json.dumps(STEPS[step](folder)))
        return
    found: dict[str, Any] = {"seed": SEED}
    with tempfile.TemporaryDirectory() as directory:
        folder = Path(directory)
        found["made"] = apart("make", "jax", folder)
        for backend in ("tensorflow", "jax"):
            found[f"pruned under {backend}"] = apart("prune", backend, folder)
            found[f"loaded after {backend}"] = apart("load", "jax", folder)
    import jax
    import keras

    found["versions"] = {"keras": keras.__version__, "jax": jax.__version__}
    RESULT.write_text(json.dumps(found, indent=2) + "\n")
    print(RESULT.read_text())


if __name__ == "__main__":
    main()
