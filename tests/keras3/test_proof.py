import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from tfmot_swd.keras3 import from_keras3, layer_table, proof, register_layer_pair, to_keras3
from tfmot_swd.keras3.proof import random_inputs


@pytest.fixture
def _table():
    """Rows that a test adds are gone after it."""
    kept = list(layer_table._PAIRS)
    yield
    layer_table._PAIRS[:] = kept


class Doubled3(keras.layers.Layer):
    def call(self, x):
        return 2.0 * x


class Tripled2(tf_keras.layers.Layer):
    def call(self, x):
        return 3.0 * x


@pytest.mark.usefixtures("_table")
def test_a_model_that_differs_is_not_returned_and_the_first_layer_that_does_is_named():
    register_layer_pair(Doubled3, Tripled2)
    layers = keras.layers
    # A saturated softmax would hide the difference from a look at the outputs.
    stack = [layers.Dense(4), Doubled3(name="wrong"), layers.Rescaling(1e4), layers.Softmax()]
    model = keras.Sequential([keras.Input((4,)), *stack])
    with pytest.raises(ValueError, match=r"does not compute.*whose 'wrong' differs by 5\.0e-01"):
        from_keras3(model)
    with pytest.raises(ValueError, match=r"whose 'wrong' differs by 5\.0e-01"):
        to_keras3(tf_keras.Sequential([tf_keras.layers.Dense(4, input_shape=(4,)), Tripled2(name="wrong")]))


def test_random_states_and_recurrent_states_are_given_back():
    model = keras.Sequential([keras.Input((7, 3), batch_size=2), keras.layers.GRU(4, stateful=True)])
    states = [np.asarray(each) for each in model.non_trainable_variables]
    from_keras3(model)
    for before, after in zip(states, model.non_trainable_variables, strict=True):
        np.testing.assert_array_equal(before, np.asarray(after))


def test_open_sizes_are_tried_until_the_network_has_something_to_compute():
    layers = keras.layers
    stack = [layers.Conv2D(2, 3, strides=2), layers.MaxPooling2D(4), layers.GlobalMaxPooling2D()]
    there = from_keras3(keras.Sequential([keras.Input((None, None, 3)), *stack]))
    assert there.input_shape == (None, None, None, 3)


def test_ids_are_those_that_all_embeddings_know():
    ids, features = keras.Input((5,), dtype="int32"), keras.Input((3,))
    model = keras.Model([ids, features], [keras.layers.Embedding(4, 2)(ids), keras.layers.Dense(1)(features)])
    whole, _ = random_inputs(model, 8)
    assert whole.shape == (2, 5)
    assert min(whole.numpy().ravel()) >= 0
    assert max(whole.numpy().ravel()) < 4


@keras.saving.register_keras_serializable("tests_proof")
class Table(keras.layers.Layer):
    """A table that is looked up, with an embedding of its own or as a plain weight."""

    def __init__(self, embedding=True, **kwargs):
        super().__init__(**kwargs)
        self.embedding = embedding
        self.table = keras.layers.Embedding(7, 4) if embedding else self.add_weight(shape=(7, 4), name="table")

    def call(self, ids):
        return self.table(ids) if self.embedding else keras.ops.take(self.table, ids, axis=0)

    def get_config(self):
        return {**super().get_config(), "embedding": self.embedding}


@pytest.mark.parametrize("embedding", [True, False])
def test_a_table_inside_a_layer_of_the_users_is_looked_up_within_its_bounds(embedding):
    model = keras.Sequential([keras.Input((3,), dtype="int32"), Table(embedding)])
    there = from_keras3(model)
    (ids,) = random_inputs(model, 8)
    assert (int(ids.numpy().max()) < 7) == embedding
    np.testing.assert_array_equal(there(np.array([[0, 3, 6]])), model(np.array([[0, 3, 6]])))


def test_many_proofs_are_no_retracing_to_tensorflow(caplog):
    with caplog.at_level("WARNING"):
        for _ in range(6):
            from_keras3(keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)]))
    assert "retracing" not in caplog.text


def test_a_network_that_runs_on_no_random_data_is_refused_with_the_reason():
    class Picky(keras.layers.Layer):
        def call(self, x):
            if not isinstance(x, keras.KerasTensor) and x.shape[0] == 2:
                raise RuntimeError("only batches of three")
            return x

    with pytest.raises(ValueError, match=r"could not be compared.*RuntimeError: .*only batches of three"):
        from_keras3(keras.Sequential([keras.Input((4,)), keras.layers.Dense(2), Picky()]))


class Almost3(keras.layers.Layer):
    def call(self, x):
        return 1.0 * x


class Almost2(tf_keras.layers.Layer):
    """The same but for a ten thousandth of its tolerance, as rounding may be."""

    def call(self, x):
        return 1.00000001 * x + tf.constant([0.0, 3e-5, 0.0, 0.0])


@pytest.mark.usefixtures("_table")
def test_a_call_that_makes_much_of_rounding_is_made_again_with_the_same_inputs():
    register_layer_pair(Almost3, Almost2)
    register_layer_pair(Doubled3, Tripled2)
    layers = keras.layers
    # 3e-5 of one are a hundredth of what is left when one is subtracted.
    few = [layers.Rescaling(1e-3, offset=1.0), Almost3(), layers.Rescaling(1.0, offset=-1.0), layers.Dense(1)]

    there = from_keras3(keras.Sequential([keras.Input((4,)), *few]))

    # What follows is right for the inputs that it gets, and one that is wrong for them is found all the same.
    assert there.count_params() == 5
    wrong = keras.Sequential([keras.Input((4,)), *few, Doubled3(name="wrong")])
    with pytest.raises(ValueError, match=r"whose 'wrong' differs by 5\.0e-01"):
        from_keras3(wrong)


@pytest.mark.usefixtures("_table")
def test_a_large_model_is_compared_in_parts(monkeypatch):
    register_layer_pair(Almost3, Almost2)
    register_layer_pair(Doubled3, Tripled2)
    runs = []
    run = proof._run
    monkeypatch.setattr(proof, "_run", lambda *given: runs.append(given) or run(*given))
    # Four numbers of four bytes for each of two samples.
    monkeypatch.setattr(proof, "_MOST_BYTES", 2 * 2 * 4 * 4)
    layers = keras.layers
    few = [layers.Rescaling(1e-3, offset=1.0), Almost3(), layers.Rescaling(1.0, offset=-1.0), layers.ReLU()]

    from_keras3(keras.Sequential([keras.Input((4,)), *few]))

    # The third layer is made again with what the second one, in another part, gives it.
    assert len(runs) == 2
    with pytest.raises(ValueError, match=r"whose 'wrong' differs by 5\.0e-01"):
        from_keras3(keras.Sequential([keras.Input((4,)), *few, Doubled3(name="wrong")]))
