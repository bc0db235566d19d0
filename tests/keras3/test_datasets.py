import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from tfmot_swd.keras3 import training_object
from tfmot_swd.keras3.datasets import readable

RNG = np.random.default_rng(0)
X = RNG.normal(size=(24, 4)).astype(np.float32)
Y = X.argmax(1)[:, None]


class Batches(keras.utils.PyDataset):
    """Four batches of six, and a log of what was asked of it."""

    def __init__(self, batches: int | None = 4, **kwargs) -> None:
        super().__init__(**kwargs)
        self.batches, self.log = batches, []

    @property
    def num_batches(self):
        return self.batches

    def __getitem__(self, index):
        self.log.append(index)
        part = slice(6 * (index % 4), 6 * (index % 4) + 6)
        return X[part], Y[part]

    def on_epoch_begin(self):
        self.log.append("begin")

    def on_epoch_end(self):
        self.log.append("end")


class Tensor:
    """As an array of PyTorch, which tf_keras does not know."""

    __module__ = "torch"

    def __init__(self, values) -> None:
        self.values = values
        self.shape, self.dtype = values.shape, "torch.float32"

    def __array__(self, *_):
        raise TypeError("can't convert cuda:0 device type tensor to numpy")

    def detach(self):
        return self

    def cpu(self):
        return self

    def numpy(self):
        return self.values


def net() -> tf_keras.Model:
    tf_keras.utils.set_random_seed(0)
    model = tf_keras.Sequential([tf_keras.layers.Dense(4, "softmax", input_shape=(4,))])
    model.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


@pytest.mark.parametrize("workers", [1, 2])
def test_a_dataset_of_keras_3_is_read_and_told_of_each_epoch_once(workers):
    data, tested = Batches(workers=workers), Batches()
    model = net()
    history = model.fit(data, epochs=2, validation_data=tested, shuffle=False, verbose=0).history
    for log, first in ((data.log, [0, 1]), (tested.log, [0, 1])):
        # Two batches are looked at for their shapes.
        assert log == [*first, *2 * ["begin", 0, 1, 2, 3, "end"]]
    same = net().fit(X, Y, batch_size=6, epochs=2, validation_data=(X, Y), shuffle=False, verbose=0).history
    for name, values in same.items():
        np.testing.assert_allclose(history[name], values, rtol=1e-5)


def test_it_is_evaluated_and_predicted_in_order():
    model = net()
    np.testing.assert_allclose(model.evaluate(Batches(), verbose=0), model.evaluate(X, Y, verbose=0), rtol=1e-5)
    data = Batches()
    np.testing.assert_allclose(model.predict(data, verbose=0), model.predict(X, verbose=0), rtol=1e-5)
    assert data.log[2:] == ["begin", 0, 1, 2, 3, "end"]


def test_batches_come_in_random_order_as_in_keras_3():
    data = Batches()
    net().fit(data, epochs=6, verbose=0)
    epochs = [data.log[start : start + 4] for start in range(3, 36, 6)]
    assert all(sorted(each) == [0, 1, 2, 3] for each in epochs)
    assert any(each != [0, 1, 2, 3] for each in epochs)


def test_epochs_shorter_than_the_data_go_on_where_the_last_ended():
    seen = []
    seeing = tf_keras.callbacks.LambdaCallback(on_batch_end=lambda batch, logs: seen.append(batch))
    net().fit(Batches(), epochs=3, steps_per_epoch=3, verbose=0, callbacks=[seeing])
    assert seen == [0, 1, 2] * 3
    endless = net()
    with pytest.raises(ValueError, match="infinite dataset, you must specify the number of steps"):
        endless.fit(Batches(None), verbose=0)
    endless.fit(Batches(None), epochs=2, steps_per_epoch=5, verbose=0)
    assert int(endless.optimizer.iterations) == 10


def test_arrays_of_other_backends_are_read():
    model = net()
    expected = model.predict(X, verbose=0)
    np.testing.assert_array_equal(model.predict(Tensor(X), verbose=0), expected)
    np.testing.assert_allclose(
        model.evaluate(Tensor(X), Tensor(Y), sample_weight=Tensor(np.ones(24)), verbose=0),
        model.evaluate(X, Y, verbose=0),
        rtol=1e-6,
    )
    assert readable({"a": [Tensor(X)]})["a"][0] is X

    class Foreign(Batches):
        def __getitem__(self, index):
            return tuple(map(Tensor, super().__getitem__(index)))

    np.testing.assert_allclose(model.evaluate(Foreign(), verbose=0), model.evaluate(X, Y, verbose=0), rtol=1e-5)


def test_everything_else_is_passed_on_as_it_is():
    for each in (X, [X, X], {"a": X}, tf.constant(X), tf.data.Dataset.range(3), iter(()), None):
        assert readable(each) is each


def test_what_tf_keras_cannot_read_is_refused():
    class DataLoader:
        __module__ = "torch.utils.data.dataloader"

    model = net()
    with pytest.raises(
        TypeError, match=r"pass a keras.utils.PyDataset.*Received: torch.utils.data.dataloader.*DataLoader$"
    ):
        model.fit(DataLoader())
    with pytest.raises(TypeError, match=r"pass the callbacks as a list. Received: a CallbackList$"):
        model.fit(Batches(), callbacks=tf_keras.callbacks.CallbackList([]))


def test_a_dataset_for_a_custom_loop_has_its_shapes_and_its_end():
    made = training_object(Batches())
    assert [tuple(each.shape) for each in made.element_spec] == [(None, 4), (None, 1)]
    assert int(made.cardinality()) == len(list(made)) == 4
