"""Mutants of every kind of file that is read: one sentence each, no hang and no bare exception.

Twenty of each kind by default. TFMOT_SWD_MUTANTS=2000 tries as many others of each, for a run at night.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
import signal
import struct
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import pytest
import tensorflow as tf
import tf_keras as keras

from tfmot_swd import ProgressiveRate, PruningWarning, prune_progressive_gradient
from tfmot_swd.backup import TrainingBackup
from tfmot_swd.cli.main import main
from tfmot_swd.export.advice import advise
from tfmot_swd.export.file_facts import read_facts
from tfmot_swd.export.file_rows import operator_rows
from tfmot_swd.export.layout import read_layout
from tfmot_swd.export.sparse_kernels import block_sparse, xnnpack_sparse

MUTANTS = int(os.environ.get("TFMOT_SWD_MUTANTS", "20"))
SEED = 0 if MUTANTS == 20 else random.SystemRandom().randrange(2**32)
SECONDS = 5
NUMBERS = (0, 1, 2, 3, 5, 255, 65536, -1, -2, 2**31 - 1, -(2**31))

pytestmark = pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5", "ignore:invalid value")


def mutant(content: bytes, rng: random.Random) -> bytes:
    """Returns a file with some bytes or numbers that are others, a part that is doubled or an end that is missing."""
    changed, kind = bytearray(content), rng.randrange(5)
    if kind == 0:
        for _ in range(rng.randint(1, 8)):
            changed[rng.randrange(8, len(changed))] = rng.randrange(256)
    elif kind == 1:
        for _ in range(rng.randint(1, 4)):
            place = 4 * rng.randrange(2, len(changed) // 4)
            changed[place : place + 4] = struct.pack("<i", rng.choice((*NUMBERS, rng.randrange(len(content)))))
    elif kind == 2:
        del changed[rng.randrange(8, len(changed)) :]
    elif kind == 3:
        size = rng.randrange(1, 64)
        source, place = (rng.randrange(8, len(changed) - size) for _ in range(2))
        changed[place : place + size] = changed[source : source + size]
    else:
        for _ in range(rng.randint(1, 3)):
            place = 2 * rng.randrange(4, len(changed) // 2)
            changed[place : place + 2] = struct.pack("<H", rng.randrange(40))
    return bytes(changed)


VALUES = (
    None,
    True,
    -1,
    0,
    1,
    2,
    10**12,
    0.5,
    "",
    "x",
    "Dense",
    "a",
    [],
    {},
    [None],
    ["a", 0, 0],
    {"class_name": "Dense"},
)


def mutant_json(config: Any, rng: random.Random) -> Any:
    """Returns a description with some entries that are others: values, copies of other parts, or missing."""
    config = json.loads(json.dumps(config))
    for _ in range(rng.randint(1, 3)):
        places = list(_places(config))
        holder, key = rng.choice(places)
        other, other_key = rng.choice(places)
        kind = rng.randrange(4)
        with contextlib.suppress(KeyError, IndexError):
            if kind == 0:
                del holder[key]
            elif kind == 1:
                holder[key] = json.loads(json.dumps(other[other_key]))
            else:
                holder[key] = rng.choice(VALUES)
    return config


def _places(node: Any) -> Iterator[tuple[Any, Any]]:
    keys = node.keys() if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ()
    for key in keys:
        yield node, key
        yield from _places(node[key])


def judged(read: Callable[[bytes], str | None], make: Callable[[random.Random], bytes], where: Path) -> None:
    """Reads mutants; `read` returns what was said of one that it refused, None where it took it."""

    def late(*_: Any) -> None:
        raise TimeoutError(f"longer than {SECONDS} s")

    before = signal.signal(signal.SIGALRM, late)
    try:
        for number in range(MUTANTS):
            content = make(random.Random(f"{SEED} {number}"))
            # What takes the process down with it is found there.
            where.write_bytes(content)
            signal.alarm(SECONDS)
            try:
                said = read(content)
            except ValueError as error:
                said = str(error)
            except Exception as error:
                raise AssertionError(f"mutant {number} of seed {SEED}: {type(error).__name__}") from error
            finally:
                signal.alarm(0)
            assert said is None or "Received: " in said, f"mutant {number} of seed {SEED}: {said}"
    finally:
        signal.signal(signal.SIGALRM, before)


def net() -> keras.Model:
    keras.utils.set_random_seed(0)
    image = keras.Input((8, 8, 3), name="a")
    x = keras.layers.Conv2D(4, 3, strides=2)(keras.layers.ZeroPadding2D(1)(image))
    x = keras.layers.DepthwiseConv2D(3, padding="same", activation="relu")(x)
    x = keras.layers.Add()([keras.layers.Conv2D(4, 1)(x), x * 2.0])
    return keras.Model(image, keras.layers.Dense(3)(keras.layers.GlobalAveragePooling2D()(x)))


@pytest.mark.parametrize("kind", ["float32", "float16", "sparse"])
def test_tflite_files(kind, tmp_path):
    model = net()
    if kind == "sparse":
        for weight in model.weights:
            weight.assign(tf.where(tf.random.uniform(weight.shape) < 0.8, 0.0, weight))
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    if kind == "float16":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.target_spec.supported_types = [tf.float16]
    if kind == "sparse":
        converter.optimizations = [tf.lite.Optimize.EXPERIMENTAL_SPARSITY]
    whole = converter.convert()

    def read(content: bytes) -> None:
        graph = read_facts(content).graph
        read_layout(content)
        for judge in (operator_rows, xnnpack_sparse, block_sparse):
            judge(graph)
        advise(content)

    judged(read, lambda rng: mutant(whole, rng), tmp_path / "mutant.tflite")


@pytest.mark.parametrize("ending", [".keras", ".h5"])
@pytest.mark.parametrize("part", ["bytes", "description", "weights"])
def test_model_files(part, ending, tmp_path, capsys):
    path, place = tmp_path / f"whole{ending}", tmp_path / f"mutant{ending}"
    net().save(path)
    whole = path.read_bytes()
    make = {"bytes": lambda rng: mutant(whole, rng), "description": _described, "weights": _weighted}[part]

    def read(content: bytes) -> str | None:
        keras.backend.clear_session()
        capsys.readouterr()
        code = main(["profile", str(place)])
        return None if code == 0 else capsys.readouterr().err

    judged(read, make if part == "bytes" else lambda rng: make(whole, ending, rng), place)


def _described(whole: bytes, ending: str, rng: random.Random) -> bytes:
    if ending == ".keras":
        return _replaced(whole, "config.json", lambda text: json.dumps(mutant_json(json.loads(text), rng)).encode())
    content = io.BytesIO(whole)
    with h5py.File(content, "r+") as file:
        file.attrs["model_config"] = json.dumps(mutant_json(json.loads(file.attrs["model_config"]), rng))
    return content.getvalue()


def _weighted(whole: bytes, ending: str, rng: random.Random) -> bytes:
    if ending == ".keras":
        return _replaced(whole, "model.weights.h5", lambda weights: mutant(weights, rng))
    content = io.BytesIO(whole)
    with h5py.File(content, "r+") as file:
        names: list[str] = []
        file["model_weights"].visit(names.append)
        name = rng.choice(names)
        if rng.random() < 0.5:
            del file["model_weights"][name]
        else:
            file["model_weights"][name].attrs["weight_names"] = rng.choice(("x", 3, ["a", "b"]))
    return content.getvalue()


def _replaced(archive: bytes, name: str, change: Callable[[bytes], bytes]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(archive)) as source, zipfile.ZipFile(content, "w") as target:
        for each in source.namelist():
            value = source.read(each)
            target.writestr(each, change(value) if each == name else value)
    return content.getvalue()


def wrapped() -> keras.Model:
    layers = [keras.layers.Conv2D(4, 3, input_shape=(6, 6, 1)), keras.layers.Flatten(), keras.layers.Dense(1)]
    small = keras.Sequential(layers)
    model = prune_progressive_gradient(small, ProgressiveRate(0.5, 4), "l1")
    model.compile(keras.optimizers.SGD(0.1, 0.9), "mse")
    model.optimizer.build(model.trainable_variables)
    return model


@pytest.mark.parametrize("name", ["training.json", "state.index", "state.data-00000-of-00001"])
@pytest.mark.parametrize("has_checksums", [True, False])
def test_backups(has_checksums, name, tmp_path):
    model = wrapped()
    TrainingBackup(tmp_path).save(model, 1)
    path = tmp_path / "epoch_00001"
    note = json.loads((path / "training.json").read_text())
    if not has_checksums:
        # As they were written before there were any.
        del note["files"], note["checksum"], note["model"]
        (path / "training.json").write_text(json.dumps(note))
    whole = (path / name).read_bytes()

    def make(rng: random.Random) -> bytes:
        if name == "training.json" and rng.random() < 0.5:
            return json.dumps(mutant_json(note, rng)).encode()
        return mutant(whole, rng)

    def read(content: bytes) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PruningWarning)
            TrainingBackup(tmp_path).restore(model)

    judged(read, make, path / name)
