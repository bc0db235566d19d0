import dataclasses
from types import SimpleNamespace

import pytest
import tensorflow as tf
import tf_keras as keras

from tfmot_swd import export_tflite
from tfmot_swd.tflite import recipes
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


@pytest.fixture
def _recipes():
    """Recipes that a test registers are gone after it."""
    kept = dict(recipes._RECIPES)
    yield
    recipes._RECIPES.clear()
    recipes._RECIPES.update(kept)


@pytest.mark.usefixtures("_recipes")
def test_a_registered_recipe_is_one_like_any_other(tmp_path):
    mine = dataclasses.replace(RECIPES["float16"], name="float16_of_a_test", tolerance=1e-2)
    assert recipes.register_recipe(mine) is mine
    assert recipes.register_recipe(mine) is mine
    net = keras.Sequential([keras.layers.Dense(4, input_shape=(3,))])
    assert export_tflite(net, tmp_path / "net.tflite", "float16_of_a_test").recipe == "float16_of_a_test"


@pytest.mark.usefixtures("_recipes")
@pytest.mark.parametrize(
    ("name", "received"), [("int8", "name='int8', of another recipe"), ("sparse_int8", "of a form that does not work")]
)
def test_a_taken_name_is_refused(name, received):
    with pytest.raises(ValueError, match=received):
        recipes.register_recipe(dataclasses.replace(RECIPES["float16"], name=name))
    assert RECIPES["int8"].needs_data


def test_only_a_recipe_is_registered():
    with pytest.raises(TypeError, match="recipe must be a Recipe. Received: str"):
        recipes.register_recipe("int8")
