import dataclasses
from types import SimpleNamespace

import pytest
import tensorflow as tf

from tfmot_swd.export.recipes import RECIPES, Recipe, get_recipe


def test_the_table():
    assert list(RECIPES) == ["float32", "float16", "dynamic", "int8"]
    assert all(recipe.name == name for name, recipe in RECIPES.items())
    assert [name for name, recipe in RECIPES.items() if recipe.needs_data] == ["int8"]
    with pytest.raises(TypeError):
        RECIPES["mine"] = RECIPES["int8"]
    with pytest.raises(dataclasses.FrozenInstanceError):
        RECIPES["int8"].tolerance = 1.0


def test_configure_sets_what_the_row_says_and_leaves_the_rest():
    untouched = SimpleNamespace(target_spec=SimpleNamespace())
    Recipe("plain", "worst", 0.0, "give up").configure(untouched)
    assert untouched == SimpleNamespace(target_spec=SimpleNamespace(), optimizations=[])
    converter = SimpleNamespace(target_spec=SimpleNamespace())
    get_recipe("int8").configure(converter)
    assert converter.optimizations == [tf.lite.Optimize.DEFAULT]
    assert converter.target_spec.supported_ops == [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    assert converter.inference_input_type is converter.inference_output_type is tf.int8


@pytest.mark.parametrize("name", ["INT8", "", None, ["int8"]])
def test_an_unknown_name(name):
    with pytest.raises(ValueError, match=r"one of 'float32', 'float16', 'dynamic', 'int8'\. Received: quantize="):
        get_recipe(name)
