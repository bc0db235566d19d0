"""Export recipes: converter settings and bounds of the proof for each kind of TFLite file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

import tensorflow as tf

from tfmot_swd.tflite.graph import read_graph
from tfmot_swd.tflite.micro.decode import encode_pruned
from tfmot_swd.tflite.sparse_layout import xnnpack_outcome

Measure = Literal["worst", "mean"]
Runtime = Literal["tflite", "micro"]


def _without_zeros(content: bytes, max_encoded_weights: int | None) -> bytes:
    return encode_pruned(content, max_encoded_weights).content


def _nothing_wrong(content: bytes) -> str | None:
    return None


def _wrong_on_arm(content: bytes) -> str | None:
    if xnnpack_outcome(read_graph(content)) != "wrong":
        return None
    return (
        "where XNNPACK's sparse kernels are live, as on ARM, this graph fails to load or answers wrongly without an "
        "error: it begins as they want it, and goes on in a way that they do not undo. "
        "tfmot_swd.tflite.advise(path) of the float32 file tells where"
    )


@dataclass(frozen=True)
class Recipe:
    """One row of the table: converter settings and the proof a file must pass.

    Attributes:
        name: what the user passes as `recipe`.
        measure: which relative difference the proof bounds, see `parity.Parity`. `"worst"`: the
            largest difference of any output element. `"mean"`: the mean over all output vectors
            (the last axis) of the largest difference within the vector; rounding to 8 bits may
            send a single sample far off and leave a good file, so it is not held to its worst.
        tolerance: default bound of that difference, as a share of the Keras output range. A file
            with nothing to do with its model lands near 1.
        remedy: what to do when a file fails, as the middle of a sentence.
        optimizations: passed to the converter; empty for plain float32.
        supported_types: types the weights may be stored in, empty for the converter's choice.
        supported_ops: operator sets the file may use, empty for the converter's default.
        io_dtype: dtype of the file's float inputs and outputs, None to leave them in float32.
        needs_data: whether the activations are calibrated on representative data.
        danger: why a file must not be shipped that passes its proof on this machine; None if nothing is known.
        encode: takes the bytes that the converter wrote, names stripped, zeros proven, and the most weights of a tensor
            that it may encode, None for any; returns the bytes of the file. None: they stay as they are.
        runtime: where the file runs and is proven: `"tflite"` is LiteRT or TensorFlow's own,
            `"micro"` TFLite Micro.
    """

    name: str
    measure: Measure
    tolerance: float
    remedy: str
    optimizations: tuple[Any, ...] = ()
    supported_types: tuple[Any, ...] = ()
    supported_ops: tuple[Any, ...] = ()
    io_dtype: Any = None
    needs_data: bool = False
    danger: Callable[[bytes], str | None] = _nothing_wrong
    encode: Callable[[bytes, int | None], bytes] | None = None
    runtime: Runtime = "tflite"

    def encoded(self, content: bytes, max_encoded_weights: int | None = None) -> bytes:
        """Returns the bytes that go into the file; tensors of more than `max_encoded_weights` are not encoded."""
        return content if self.encode is None else self.encode(content, max_encoded_weights)

    def settings(self) -> dict[str, Any]:
        """Returns what `configure` sets by name, as plain data for another process."""
        return {
            "optimizations": [each.name for each in self.optimizations],
            "supported_types": [each.name for each in self.supported_types],
            "supported_ops": [each.name for each in self.supported_ops],
            "io_dtype": None if self.io_dtype is None else self.io_dtype.name,
        }

    def configure(self, converter: Any) -> None:
        """Sets everything but the calibration data on a `tf.lite.TFLiteConverter`."""
        converter.optimizations = list(self.optimizations)
        if self.supported_types:
            converter.target_spec.supported_types = list(self.supported_types)
        if self.supported_ops:
            converter.target_spec.supported_ops = list(self.supported_ops)
        if self.io_dtype is not None:
            converter.inference_input_type = self.io_dtype
            converter.inference_output_type = self.io_dtype


_DEFAULT = (tf.lite.Optimize.DEFAULT,)
_SPARSE = (tf.lite.Optimize.EXPERIMENTAL_SPARSITY,)

_RECIPES = {
    recipe.name: recipe
    for recipe in (
        # Weights as trained; batch normalization is folded, so only the rounding differs.
        Recipe(
            "float32",
            measure="worst",
            tolerance=1e-4,
            remedy="look for a layer that is random or remembers something in inference",
        ),
        # Weights in half precision, arithmetic in float32: 11 bits of mantissa.
        Recipe(
            "float16",
            measure="worst",
            tolerance=1e-2,
            remedy="use float32, or look for weights beyond 65,504, where half precision ends",
            optimizations=_DEFAULT,
            supported_types=(tf.float16,),
        ),
        # Weights of 1,024 elements and more in int8, activations quantized as they come.
        Recipe(
            "dynamic",
            measure="mean",
            tolerance=0.1,
            remedy="use float16, or look for a channel whose weights dwarf the others",
            optimizations=_DEFAULT,
        ),
        # Everything in int8, weights per channel, for hardware without floating point.
        Recipe(
            "int8",
            measure="mean",
            tolerance=0.1,
            remedy="pass representative_data that looks like the check data, or use float16",
            optimizations=_DEFAULT,
            supported_ops=(tf.lite.OpsSet.TFLITE_BUILTINS_INT8,),
            io_dtype=tf.int8,
            needs_data=True,
        ),
        # The same inside, for programs that hand over float32: quantized and back at both ends of the file.
        Recipe(
            "int8_float_io",
            measure="mean",
            tolerance=0.1,
            remedy="pass representative_data that looks like the check data, or use float16",
            optimizations=_DEFAULT,
            supported_ops=(tf.lite.OpsSet.TFLITE_BUILTINS_INT8,),
            needs_data=True,
        ),
        # Weights as in int8, activations in 16 bits: for nets whose activations 8 bits are too few for.
        Recipe(
            "int16x8",
            measure="mean",
            tolerance=0.05,
            remedy="pass representative_data that looks like the check data, or use float16",
            optimizations=_DEFAULT,
            supported_ops=(tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8,),
            io_dtype=tf.int16,
            needs_data=True,
        ),
        # Weights without their zeros: small on disk, unpacked when the file is loaded.
        Recipe(
            "sparse_float32",
            measure="worst",
            tolerance=1e-4,
            remedy="use float32",
            optimizations=_SPARSE,
            danger=_wrong_on_arm,
        ),
        # Dense layers pruned in blocks give NaN in this form: the proof finds them.
        Recipe(
            "sparse_float16",
            measure="worst",
            tolerance=1e-2,
            remedy="use sparse_float32, or look for weights beyond 65,504, where half precision ends",
            optimizations=_DEFAULT + _SPARSE,
            supported_types=(tf.float16,),
            danger=_wrong_on_arm,
        ),
        # For microcontrollers: int8 whose zeros take no flash, restored operator by operator as it runs.
        Recipe(
            "int8_pruned",
            measure="mean",
            tolerance=0.1,
            remedy="pass representative_data that looks like the check data, or use int8",
            optimizations=_DEFAULT,
            supported_ops=(tf.lite.OpsSet.TFLITE_BUILTINS_INT8,),
            io_dtype=tf.int8,
            needs_data=True,
            encode=_without_zeros,
            runtime="micro",
        ),
    )
}

# All recipes by name; `register_recipe` adds one.
RECIPES: Mapping[str, Recipe] = MappingProxyType(_RECIPES)

# What people use: one form for each kind of device.
DEFAULT_RECIPES = ("float32", "float16", "dynamic", "int8")

# What the converter makes without a word and no runtime runs right, as measured, and what to use instead.
REFUSED: Mapping[str, str] = MappingProxyType(
    {
        "sparse_dynamic": "its file fails to load, or answers wrongly without an error: use 'dynamic', and gzip where "
        "the download counts, or 'sparse_float16'",
        "sparse_int8": "LiteRT does not load its file, and at half of the weights zero it is larger than plain int8: "
        "use 'int8', whose gzip is smaller than any sparse form, or for microcontrollers 'int8_pruned'",
        "sparse_int16x8": "its file fails to load, or answers wrongly without an error: use 'int16x8', and gzip where "
        "the download counts",
    }
)


def register_recipe(recipe: Recipe) -> Recipe:
    """Makes a recipe known under its name, to `export_tflite`, budgets of bytes and the command line.

    Args:
      recipe: often one of `RECIPES` with some fields changed, by `dataclasses.replace`.

    Returns:
      The recipe.

    Raises:
      TypeError: it is not a `Recipe`.
      ValueError: another recipe has its name, or the name is of a form that does not work.

    >>> import dataclasses
    >>> strict = register_recipe(dataclasses.replace(RECIPES["float16"], name="strict_float16", tolerance=1e-3))
    >>> get_recipe("strict_float16").tolerance
    0.001
    """
    if not isinstance(recipe, Recipe):
        raise TypeError(f"recipe must be a Recipe. Received: {type(recipe).__name__}")
    if recipe.name in REFUSED or _RECIPES.get(recipe.name, recipe) != recipe:
        taken = "a form that does not work" if recipe.name in REFUSED else "another recipe"
        raise ValueError(f"name must be one that is not taken. Received: name={recipe.name!r}, of {taken}")
    _RECIPES[recipe.name] = recipe
    return recipe


def get_recipe(name: str) -> Recipe:
    """Returns the recipe called `name`.

    Raises:
        ValueError: no recipe has that name, or it is one of those that do not work, with the reason.
    """
    if isinstance(name, str) and name in REFUSED:
        raise ValueError(f"There is no recipe {name!r} that works: {REFUSED[name]}. Received: recipe={name!r}")
    recipe = RECIPES.get(name) if isinstance(name, str) else None
    if recipe is None:
        known = ", ".join(repr(each) for each in RECIPES)
        raise ValueError(f"recipe must be one of {known}. Received: recipe={name!r}")
    return recipe
