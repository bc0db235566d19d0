import dataclasses
from types import SimpleNamespace

import pytest
import tensorflow as tf

from tfmot_swd.tflite.recipes import DEFAULT_RECIPES, RECIPES, REFUSED, Recipe, get_recipe


def test_the_table():
    assert all(recipe.name == name for name, recipe in RECIPES.items())
    integers = [name for name, recipe in RECIPES.items() if recipe.needs_data]
    assert integers == ["int8", "int8_float_io", "int16x8", "int8_pruned"]
    assert [name for name, recipe in RECIPES.items() if recipe.runtime == "micro"] == ["int8_pruned"]
    assert list(RECIPES)[:4] == list(DEFAULT_RECIPES)
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


def test_only_one_recipe_encodes():
    assert [name for name, recipe in RECIPES.items() if recipe.encode is not None] == ["int8_pruned"]
    assert get_recipe("int8").encoded(b"content") == b"content"


@pytest.mark.parametrize("name", ["INT8", "", None, ["int8"]])
def test_an_unknown_name(name):
    with pytest.raises(ValueError, match=r"one of 'float32', 'float16', 'dynamic', 'int8', .*\. Received: recipe="):
        get_recipe(name)


@pytest.mark.parametrize("name", list(REFUSED))
def test_what_does_not_work_is_refused_with_a_recipe_that_does(name):
    assert name not in RECIPES
    with pytest.raises(ValueError, match=rf"use '{name.removeprefix('sparse_')}'.*Received: recipe='{name}'"):
        get_recipe(name)
