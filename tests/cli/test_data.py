"""Data files: what they may hold, and that nothing in them is unpickled."""

import numpy as np
import pytest
import tf_keras as keras

from tests.cli.conftest import make_net
from tfmot_swd.cli.command import UsageError
from tfmot_swd.cli.data import read_data

X = np.arange(60, dtype=np.float32).reshape(10, 6)
Y = np.arange(10) % 3


@pytest.fixture(scope="module")
def model():
    return make_net()


@pytest.fixture
def saved(tmp_path):
    def save(**arrays):
        path = tmp_path / "data.npz"
        np.savez(path, **arrays)
        return str(path)

    return save


def test_x_and_y_come_back_as_they_are(saved, model):
    data = read_data("data", saved(x=X, y=Y, x_val=X[:2], y_val=Y[:2]), model)
    np.testing.assert_array_equal(data.x, X)
    np.testing.assert_array_equal(data.y_val, [0, 1])
    assert data.to_check[0] is data.x_val


def test_a_plain_array_is_x(tmp_path, model):
    np.save(tmp_path / "x.npy", X)
    data = read_data("data", str(tmp_path / "x.npy"), model)
    assert data.y is None
    np.testing.assert_array_equal(data.to_check, X)


def test_several_inputs_go_by_name(saved):
    left, right = keras.Input((2,), name="left"), keras.Input((3,), name="right")
    model = keras.Model([left, right], keras.layers.Concatenate()([left, right]))
    data = read_data("data", saved(right=X[:, :3], left=X[:, :2], y=Y), model)
    assert {name: array.shape for name, array in data.x.items()} == {"left": (10, 2), "right": (10, 3)}
    split = data.with_validation(seed=0)
    assert len(split.x_val["left"]) == len(split.y_val) == 1


def test_the_last_tenth_of_a_shuffle_validates(saved, model):
    data = read_data("data", saved(x=np.repeat(X, 3, axis=0), y=np.arange(30)), model)
    split = data.with_validation(seed=1)
    assert sorted([*split.y, *split.y_val]) == list(range(30))
    assert len(split.y_val) == 3
    np.testing.assert_array_equal(split.x[:, 0], X[split.y // 3][:, 0])
    np.testing.assert_array_equal(split.y_val, data.with_validation(seed=1).y_val)
    assert split.with_validation(seed=2) is split


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"images": X, "y": Y}, "must hold x.*Received: images, y"),
        ({"x": X, "y": Y, "z": Y}, "Received: x, y, z"),
        ({"x": X, "y": Y[:3]}, "one row for each sample"),
        ({"x": X[:, :5], "y": Y}, r"must have shape \('N', 6\)"),
        ({"x": X.astype("uint8"), "y": Y}, "integer-only"),
        ({"x": X, "y": Y, "x_val": X}, "x_val and y_val both"),
        ({"x": X, "y": Y, "y_val": Y}, "x_val and y_val both"),
        ({"x": np.array([{}, {}], object), "y": Y}, "plain arrays.*allow_pickle"),
    ],
)
def test_data_that_do_not_fit_say_what_is_wrong(arrays, message, saved, model):
    with pytest.raises((ValueError, TypeError), match=message):
        read_data("data", saved(**arrays), model)


def test_a_damaged_file_and_none_at_all(tmp_path, model):
    path = tmp_path / "data.npz"
    with pytest.raises(UsageError, match="names no file"):
        read_data("data", str(path), model)
    path.write_bytes(b"PK\x03\x04 damaged")
    with pytest.raises(ValueError, match="plain arrays"):
        read_data("data", str(path), model)
