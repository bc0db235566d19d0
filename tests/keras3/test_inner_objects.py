import importlib
import sys

import keras
import pytest
import tf_keras

from tfmot_swd.keras3.inner_objects import entry_of, from_entry, full_class_name
from tfmot_swd.keras3.parts import CarriedRegularizer


class Sum(keras.regularizers.Regularizer):
    """Not registered."""

    def __init__(self, rate=1.0) -> None:
        self.rate = rate

    def __call__(self, x):
        return self.rate * keras.ops.sum(x)

    def get_config(self):
        return {"rate": self.rate}


@keras.saving.register_keras_serializable("inner_objects_test")
class Registered(Sum):
    pass


def doubled(x):
    return 2 * x


@pytest.mark.parametrize(
    "made",
    [Registered(2.0), keras.losses.Dice(axis=1), keras.layers.Dense(2, "relu", kernel_regularizer=Registered())],
    ids=lambda each: type(each).__name__,
)
def test_what_keras_exports_and_what_is_registered_comes_back(made):
    again = from_entry(entry_of(made))

    assert type(again) is type(made)
    assert again.get_config() == made.get_config()


def test_what_tf_keras_is_told_of_comes_back():
    layer = keras.layers.Dense(2, doubled, kernel_regularizer=Sum(3.0))

    with tf_keras.utils.custom_object_scope({"Sum": Sum, "doubled": doubled, "relu": tf_keras.activations.relu}):
        again = from_entry(entry_of(layer))
        plain = from_entry(entry_of(keras.layers.Activation("relu")))

    assert (again.activation, again.kernel_regularizer.rate) == (doubled, 3.0)
    assert plain.activation is keras.activations.relu


@pytest.mark.parametrize("depth", [0, 1])
def test_a_file_has_nothing_imported(depth, tmp_path, monkeypatch):
    (tmp_path / "imported_by_a_file.py").write_text("class Evil: pass")
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    entry = {"module": "imported_by_a_file", "class_name": "Evil", "config": {}, "registered_name": "Evil"}
    if depth:
        entry = {"module": "keras.layers", "class_name": "Dense", "config": {"units": 1, "kernel_regularizer": entry}}

    with pytest.raises(ValueError, match=r"register_keras_serializable.*custom_objects.*Received: 'Evil'$"):
        from_entry(entry)

    assert "imported_by_a_file" not in sys.modules


def test_an_object_of_another_kind_is_refused():
    with pytest.raises(ValueError, match="Received: 'Dense'"):
        from_entry(entry_of(keras.layers.Dense(2)), "losses.Loss")


def test_a_carried_object_is_loaded_by_the_same_rule():
    config = CarriedRegularizer(Sum()).get_config()

    with pytest.raises(ValueError, match="Received: 'Sum'"):
        CarriedRegularizer.from_config(config)
    with tf_keras.utils.custom_object_scope({"Sum": Sum}):
        assert isinstance(CarriedRegularizer.from_config(config).inner, Sum)


def test_classes_are_named_as_users_know_them():
    assert full_class_name(keras.losses.Dice()) == "keras.losses.Dice"
    assert full_class_name(Sum()).endswith("test_inner_objects.Sum")
