"""What is read of strangers, by kind of file: how mutants of it are made, and all that a user would give one to."""

from __future__ import annotations

import contextlib
import io
import json
import random
import shutil
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf
import tf_keras as keras

from research.mutants import described, mutant, mutant_archive, mutant_json, mutant_text, weighted
from tfmot_swd import ProgressiveRate, PruningWarning, prune_progressive_gradient
from tfmot_swd.cli.main import main
from tfmot_swd.pruning.backup import TrainingBackup
from tfmot_swd.tflite import ExportError, advise, export_tflite, measure_files, run_tflite
from tfmot_swd.tflite.file_bytes import read_file
from tfmot_swd.tflite.inputs import random_inputs
from tfmot_swd.tflite.layout import read_layout
from tfmot_swd.tflite.micro import run_micro, write_c_source
from tfmot_swd.tflite.micro.decode import encode_pruned

# What the library raises on purpose, each with a sentence that ends with what was received.
REFUSALS = (ValueError, TypeError, OSError, ExportError)
# Ways to read a mutant by name; each returns what was said where it was refused, None where it was taken.
Readers = dict[str, Callable[[], str | None]]


@dataclass(frozen=True)
class Kind:
    """Mutants of one kind of file.

    Attributes:
        make: puts a mutant in place.
        readers: are tried one after the other, on the same mutant.
        each: how many of the readers see every mutant; the others, which start programs, take turns.
        named: what a refusal has to name.
    """

    make: Callable[[random.Random], None]
    readers: Readers
    each: int
    named: str

    def readers_of(self, number: int) -> Readers:
        """Returns the readers that see a mutant."""
        names = list(self.readers)
        turn = names[self.each :]
        chosen = names[: self.each] + ([turn[number % len(turn)]] if turn else [])
        return {name: self.readers[name] for name in chosen}


def net() -> keras.Model:
    """Returns a small image classifier with most of what files have: a skip connection, an operator, padding."""
    keras.utils.set_random_seed(0)
    image = keras.Input((8, 8, 3), name="a")
    x = keras.layers.Conv2D(4, 3, strides=2)(keras.layers.ZeroPadding2D(1)(image))
    x = keras.layers.DepthwiseConv2D(3, padding="same", activation="relu")(x)
    x = keras.layers.Add()([keras.layers.Conv2D(4, 1)(x), x * 2.0])
    return keras.Model(image, keras.layers.Dense(3)(keras.layers.GlobalAveragePooling2D()(x)))


def _other_net() -> keras.Model:
    keras.utils.set_random_seed(1)
    return keras.Sequential(
        [keras.layers.Conv2D(3, 3, input_shape=(8, 8, 3)), keras.layers.Flatten(), keras.layers.Dense(2)]
    )


def said_by(call: Callable[[], object]) -> Callable[[], str | None]:
    """Returns a reader of the library: what it raises on purpose is a refusal."""

    def read() -> str | None:
        try:
            call()
        except REFUSALS as error:
            return str(error)
        return None

    return read


def command(*arguments: object) -> Callable[[], str | None]:
    """Returns a reader of the shell."""

    def read() -> str | None:
        keras.backend.clear_session()
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()) as notes:
            code = main([str(each) for each in arguments])
        return None if code == 0 else notes.getvalue().strip()

    return read


def tflite(where: Path, forms: tuple[str, ...] = ("float32", "float16", "dynamic", "int8", "int8_pruned")) -> Kind:
    """Mutants of TFLite files, one of each form and one that is stored sparse."""
    path, source = where / "mutant.tflite", where / "mutant"
    wholes = [*_exported(where, forms), _sparse()]

    def make(rng: random.Random) -> None:
        whole, other = rng.sample(wholes, 2)
        path.write_bytes(mutant(whole, rng, other))

    def run(runner: Callable[..., object]) -> None:
        layout = read_layout(read_file(path))
        # Random inputs beyond that would be this function's own fault.
        layout.require_sizes(2**26)
        runner(path, random_inputs(layout.inputs, 1))

    readers: Readers = {
        "advise": said_by(lambda: advise(path)),
        "check": command("check", path),
        "encode_pruned": said_by(lambda: encode_pruned(path)),
        "run_tflite": said_by(lambda: run(run_tflite)),
        "run_micro": said_by(lambda: run(run_micro)),
        "check --target": command("check", path, "--target=microcontroller"),
        "write_c_source": said_by(lambda: write_c_source(path, source)),
        "measure_files": said_by(lambda: measure_files({"net": path}, threads=(1,), rounds=1)),
    }
    return Kind(make, readers, 3, path.name)


def _exported(where: Path, forms: tuple[str, ...]) -> Iterator[bytes]:
    samples = np.random.default_rng(0).normal(size=(100, 8, 8, 3)).astype("float32")
    for form in forms:
        data = samples if form.startswith("int8") else None
        yield Path(export_tflite(net(), where / "whole.tflite", form, data).path).read_bytes()


def _sparse() -> bytes:
    model = net()
    for weight in model.weights:
        weight.assign(tf.where(tf.random.uniform(weight.shape) < 0.8, 0.0, weight))
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.EXPERIMENTAL_SPARSITY]
    content: bytes = converter.convert()
    return content


def model_file(where: Path, ending: str, part: str | None = None) -> Kind:
    """Mutants of `.keras` and `.h5` files.

    Args:
        where: a folder.
        ending: `".keras"` or `".h5"`.
        part: `"bytes"`, `"description"` or `"weights"`; None for all of them, and for archives their parts.
    """
    path = where / f"mutant{ending}"
    wholes = []
    for model in (net(), _other_net()):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.save(where / f"whole{ending}")
        wholes.append((where / f"whole{ending}").read_bytes())
    makers: dict[str, Callable[[random.Random], bytes]] = {
        "bytes": lambda rng: mutant(wholes[0], rng, wholes[1]),
        "description": lambda rng: described(wholes[0], ending, rng),
        "weights": lambda rng: weighted(wholes[0], ending, rng),
    }
    if ending == ".keras":
        makers["parts"] = lambda rng: mutant_archive(wholes[0], rng)

    def make(rng: random.Random) -> None:
        path.write_bytes(makers[part or rng.choice(list(makers))](rng))

    return Kind(make, {"profile": command("profile", path)}, 1, path.name)


def saved_model(where: Path) -> Kind:
    """Mutants of the files in a SavedModel."""
    from tf_keras.protobuf import saved_metadata_pb2

    whole, path = where / "whole", where / "mutant"
    net().save(whole)
    names = [str(each.relative_to(whole)) for each in sorted(whole.rglob("*")) if each.is_file()]

    def make(rng: random.Random) -> None:
        shutil.rmtree(path, ignore_errors=True)
        shutil.copytree(whole, path)
        name = rng.choice(names)
        file = path / name
        if rng.random() < 0.05:
            file.unlink()
        elif name == "keras_metadata.pb" and rng.random() < 0.7:
            metadata = saved_metadata_pb2.SavedMetadata.FromString(file.read_bytes())
            node = rng.choice(list(metadata.nodes))
            node.metadata = mutant_text(node.metadata, rng).decode(errors="replace")
            file.write_bytes(metadata.SerializeToString())
        else:
            file.write_bytes(mutant(file.read_bytes(), rng))

    return Kind(make, {"profile": command("profile", path)}, 1, str(path))


def backup(where: Path, names: tuple[str, ...] = (), has_checksums: bool | None = None) -> Kind:
    """Mutants of the files in a backup directory.

    Args:
        where: a folder.
        names: of the files that are damaged; none for all of them.
        has_checksums: whether the note has them, as those of earlier versions have not; None for some of each.
    """
    model = wrapped()
    whole, directory = where / "whole", where / "backup"
    TrainingBackup(whole).save(model, 1)
    (saved,) = whole.iterdir()
    values = [each.numpy() for each in _state(model)]
    path = directory / saved.name

    def make(rng: random.Random) -> None:
        shutil.rmtree(directory, ignore_errors=True)
        shutil.copytree(whole, directory)
        note = json.loads((path / "training.json").read_text())
        if rng.random() < 0.5 if has_checksums is None else not has_checksums:
            del note["files"], note["checksum"], note["model"]
            (path / "training.json").write_text(json.dumps(note))
        file = path / rng.choice(names or [each.name for each in sorted(path.iterdir())])
        if rng.random() < 0.03:
            file.unlink()
        elif file.name == "training.json" and rng.random() < 0.5:
            file.write_text(json.dumps(mutant_json(note, rng)))
        elif file.name == "training.json":
            file.write_bytes(mutant_text(file.read_text(), rng))
        else:
            file.write_bytes(mutant(file.read_bytes(), rng))

    def restore() -> None:
        nonlocal model
        state = _state(model)
        if [each.shape for each in state] != [each.shape for each in values]:
            # An earlier mutant has taken filters out.
            model = wrapped()
            state = _state(model)
        for variable, value in zip(state, values, strict=True):
            variable.assign(value)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PruningWarning)
            TrainingBackup(directory).begin(model)

    return Kind(make, {"restore": said_by(restore)}, 1, directory.name)


def _state(model: keras.Model) -> list[tf.Variable]:
    return [*model.variables, *model.optimizer.variables]


def wrapped() -> keras.Model:
    """Returns a small model whose filters are pruned, compiled, as it is when its training begins."""
    layers = [keras.layers.Conv2D(4, 3, input_shape=(6, 6, 1)), keras.layers.Flatten(), keras.layers.Dense(1)]
    model = prune_progressive_gradient(keras.Sequential(layers), ProgressiveRate(0.5, 4), "l1")
    model.compile(keras.optimizers.SGD(0.1, 0.9), "mse")
    model.optimizer.build(model.trainable_variables)
    return model


KINDS: dict[str, Callable[[Path], Kind]] = {
    "tflite": tflite,
    "keras": lambda where: model_file(where, ".keras"),
    "h5": lambda where: model_file(where, ".h5"),
    "saved_model": saved_model,
    "backup": backup,
}


def fault(said: str | None, named: str) -> str | None:
    """Returns what is wrong with what was said of a refused file: one sentence or two that name it; None if nothing."""
    if said is None:
        return None
    if "Received: " not in said:
        return "bare"
    return None if named in said else "unnamed"
