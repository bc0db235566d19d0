"""Data of a job: what can be read again and again, and what tells one set from another."""

import keras as keras3
import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from tfmot_swd.report.scoring import measure_scores
from tfmot_swd.workflows.data import labelled_data

X, Y = np.arange(30, dtype="float32").reshape(10, 3), np.arange(10)
DATASET = tf.data.Dataset.from_tensor_slices((X, Y))


class Batches(keras3.utils.PyDataset):
    def __len__(self):
        return 5

    def __getitem__(self, index):
        return X[2 * index : 2 * index + 2], Y[2 * index : 2 * index + 2]


class Sequence(keras.utils.Sequence):
    def __len__(self):
        return 5

    def __getitem__(self, index):
        return Batches.__getitem__(self, index)


def test_arrays_are_arguments_of_fit():
    data = labelled_data("train", (X.tolist(), tf.constant(Y), np.ones(10)))
    assert (data.samples, data.steps(4), data.steps(5)) == (10, 3, 2)
    arguments = data.arguments(4)
    assert set(arguments) == {"x", "y", "sample_weight", "batch_size"}
    np.testing.assert_array_equal(arguments["x"], X)
    assert len(data.pairs()) == 2
    assert len(data.as_validation()) == 3


@pytest.mark.parametrize("given", [DATASET.batch(2), Batches(), Sequence(), DATASET.batch(2).filter(lambda *_: True)])
def test_batches_are_passed_as_they_are(given):
    data = labelled_data("train", given)
    assert data.arguments(64) == {"x": given}
    assert data.as_validation() is given
    assert (data.samples, data.steps(64)) == (None, 5)
    # The same samples in the same form, whatever holds them.
    assert data.digest() == labelled_data("train", Batches()).digest()


def test_pairs_have_no_weights():
    weighted = tf.data.Dataset.from_tensor_slices((X, Y, np.ones(10))).batch(5)
    assert [len(batch) for batch in labelled_data("train", weighted).pairs()] == [2, 2]


def test_pairs_of_a_sequence_are_what_scores_are_measured_on():
    class Weighted(Sequence):
        def __len__(self):
            return 4

        def __getitem__(self, index):
            rows = slice(3 * index, 3 * index + 3)
            return [X[rows], X[rows, :1]], Y[rows], np.ones(len(Y[rows]))

    pairs = labelled_data("validation", Weighted()).pairs()
    # Read twice, as a proof and a score do; the last batch is smaller.
    for _ in range(2):
        batches = list(pairs.as_numpy_iterator())
        assert [len(batch) for batch in batches] == [2] * 4
        np.testing.assert_array_equal(np.concatenate([x for (x, _), _ in batches]), X)
        np.testing.assert_array_equal(np.concatenate([x for (_, x), _ in batches]), X[:, :1])
        np.testing.assert_array_equal(np.concatenate([y for _, y in batches]), Y)


def test_models_and_files_are_scored_on_a_sequence():
    net = keras.Sequential([keras.layers.Dense(1, use_bias=False, kernel_initializer="ones", input_shape=(3,))])
    pairs = labelled_data("validation", Sequence()).pairs()
    found = measure_scores(net, net, [], pairs, keras.metrics.MeanAbsoluteError())
    assert (found.samples, found.small) == (10, pytest.approx(np.abs(X.sum(1) - Y).mean()))


def test_a_digest_is_of_the_samples_and_not_of_their_order_in_a_dataset():
    digest = labelled_data("data", DATASET.batch(2)).digest()
    assert labelled_data("data", DATASET.shuffle(10, seed=1).batch(3)).digest() == digest
    assert labelled_data("data", DATASET.map(lambda x, y: (x, y + 1)).batch(2)).digest() != digest
    assert labelled_data("data", DATASET.take(9).batch(2)).digest() != digest
    arrays = labelled_data("data", (X, Y)).digest()
    assert labelled_data("data", (X.copy(), Y)).digest() == arrays
    assert labelled_data("data", (X, Y[::-1])).digest() != arrays
    assert labelled_data("data", (X.reshape(10, 1, 3), Y)).digest() != arrays
    assert (
        labelled_data("data", ({"a": X, "b": X}, Y)).digest() != labelled_data("data", ({"a": X, "c": X}, Y)).digest()
    )


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        (X, TypeError, r"must be arrays \(x, y\).* Received: data of type ndarray"),
        ((each for each in [1]), TypeError, "a generator can be read only once"),
        (None, TypeError, "Received: data of type NoneType"),
        ((X,), ValueError, r"inputs and targets: .*data of \(ndarray\)"),
        ((X, None), ValueError, r"data of \(ndarray, None\)"),
        ((X, Y[:9]), ValueError, r"same number of samples.*\(10, 3\), \(9,\)"),
        ((X, 3.0), ValueError, "same number of samples"),
        ((X[:0], Y[:0]), ValueError, "holds no samples"),
        (DATASET.take(0).batch(2), ValueError, "holds no samples"),
        (DATASET.filter(lambda *_: False).batch(2), ValueError, "holds no samples"),
        (DATASET.repeat().batch(2), ValueError, r"never ends: pass dataset.take\(n\)"),
        (tf.data.Dataset.from_tensor_slices(X).batch(2), ValueError, "of such batches. Received: a tf.data.Dataset of"),
    ],
)
def test_what_cannot_be_used_says_why(given, error, message):
    with pytest.raises(error, match=message):
        labelled_data("data", given)
