import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from tfmot_swd import PruningWarning
from tfmot_swd.tflite.samples import chunks, random_samples, read_samples

X = np.arange(60, dtype="float32").reshape(10, 6)
Y = np.arange(10)


def test_chunks_fill_up_the_last_one_with_its_last_row():
    parts = list(chunks((np.array([1, 2, 3]), np.array([4, 5, 6])), 2))
    assert [(first.tolist(), second.tolist(), real) for (first, second), real in parts] == [
        ([1, 2], [4, 5], 2),
        ([3, 3], [6, 6], 1),
    ]


@pytest.mark.parametrize(
    ("data", "labelled"),
    [
        (X, False),
        (X.astype("float64"), False),
        (tf.constant(X), False),
        ((X, Y), True),
        ((X, Y[:, None]), True),
        ((X, Y, np.ones(10)), True),
        ((X, Y.tolist()), True),
        ((X, np.eye(10)), True),
        ((X, np.eye(10, dtype=bool)), True),
        # Two classes at once, and shares of them: targets of something else.
        ((X, np.eye(10) + np.eye(10)[::-1]), False),
        ((X, np.full((10, 2), 0.5)), False),
        ((X, Y + 0.5), False),
        ({"x": X}, False),
        ([X], False),
        ([X[:7], X[7:]], False),
        ([(X[:7], Y[:7]), (X[7:], Y[7:])], True),
        ([(X[:7], Y[:7]), X[7:]], False),
        (lambda: ([X[i : i + 1]] for i in range(10)), False),
        (tf.data.Dataset.from_tensor_slices((X, Y)).batch(4), True),
        (tf.data.Dataset.from_tensor_slices({"x": X}).batch(4), False),
    ],
)
def test_forms_of_data_for_one_input(dense_net, data, labelled):
    samples = read_samples(data, dense_net, "check_data")
    assert len(samples) == 10
    assert samples.inputs[0].dtype == np.float32
    np.testing.assert_array_equal(samples.inputs[0], X)
    assert (samples.labels is not None) == labelled
    if labelled:
        np.testing.assert_array_equal(samples.labels, Y)


def test_forms_of_data_for_two_inputs(two_by_two, pairs):
    first, second = pairs
    named = {"left-hand": second, "right": first}
    slices = tf.data.Dataset.from_tensor_slices
    forms = [
        pairs,
        (first, second),
        named,
        (pairs, None),
        (named, (np.zeros(40), np.zeros(40))),
        [[first[:9], second[:9]], [first[9:], second[9:]]],
        [(first[:9], second[:9]), {"right": first[9:], "left-hand": second[9:]}],
        slices((first, second)).batch(7),
        slices(((first, second), np.zeros(40))).batch(7),
    ]
    for form in forms:
        samples = read_samples(form, two_by_two, "check_data")
        np.testing.assert_array_equal(samples.inputs[0], first)
        np.testing.assert_array_equal(samples.inputs[1], second)
        assert samples.labels is None


def test_a_model_built_on_a_dict_takes_its_keys():
    first, second = keras.layers.Input((1,), name="z"), keras.layers.Input((2,), name="a")
    model = keras.Model({"one": first, "two": second}, keras.layers.Concatenate()([first, second]))
    samples = read_samples({"two": np.ones((3, 2)), "one": np.zeros((3, 1))}, model, "check_data")
    assert dict(zip(model.input_names, [a.shape for a in samples.inputs], strict=True)) == {
        "z": (3, 1),
        "a": (3, 2),
    }


def test_a_limit_spreads_over_arrays_and_stops_an_endless_iterable(dense_net):
    spread = read_samples((X, Y), dense_net, "representative_data", limit=4)
    assert spread.labels.tolist() == [0, 3, 6, 9]
    endless = tf.data.Dataset.from_tensor_slices((X, Y)).batch(3).repeat()
    assert read_samples(endless, dense_net, "representative_data", limit=4).labels.tolist() == [0, 1, 2, 3]
    with pytest.raises(ValueError, match=r"take\(n\).*Received: an endless"):
        read_samples(endless, dense_net, "check_data")


@pytest.mark.parametrize(
    ("data", "kind", "message"),
    [
        (
            X[0],
            ValueError,
            r"must have shape \('N', 6\)\. Add a batch axis in front.*Received: an array of shape \(6,\)",
        ),
        (X[:, :5], ValueError, r"must have shape \('N', 6\)\. Received: an array of shape \(10, 5\)"),
        ([X[0], X[1]], ValueError, "must have shape"),
        (X[:0], ValueError, r"check_data holds no samples.*Received: check_data of shape \(0, 6\)"),
        ([], ValueError, "check_data holds no samples.*Received: check_data of type list, empty"),
        (iter(()), ValueError, "make a new one for each export"),
        (X.astype(int), TypeError, r"integer-only.*astype\('float32'\).*Received: dtype int64"),
        (X > 3, TypeError, "integer-only.*Received: dtype bool"),
        (X.astype(str), TypeError, "must be of dtype float32.*Received: dtype <U"),
        (X + np.inf, ValueError, "must be finite: clean it first.*Received: 60 of 60 values"),
        (X.astype("float64") * 1e300, ValueError, "must be finite"),
        (
            (X, Y[:9]),
            ValueError,
            r"same number of samples.*Received: arrays of shapes \[\(10, 6\), \(9,\)\]",
        ),
        ({"y": X}, ValueError, r"named \['x'\].*Received: check_data with \['y'\]"),
        ([[X, X]], ValueError, r"each of the inputs \['x'\].*Received: check_data with 2 arrays"),
        (3, TypeError, "Received: check_data of type int"),
        ("x", TypeError, "Received: check_data of type str"),
    ],
)
def test_wrong_data_for_one_input(dense_net, data, kind, message):
    with pytest.raises(kind, match=message):
        read_samples(data, dense_net, "check_data")


def test_wrong_data_for_two_inputs(two_by_two, pairs):
    first, second = pairs
    with pytest.raises(ValueError, match="same number of samples"):
        read_samples([first, second[:5]], two_by_two, "check_data")
    with pytest.raises(ValueError, match=r"'right' must have shape \('N', 5\)"):
        read_samples([second, first], two_by_two, "check_data")
    with pytest.raises(ValueError, match="check_data with 1 arrays"):
        read_samples(first, two_by_two, "check_data")


def test_batches_of_other_lengths_cannot_be_joined():
    model = keras.Sequential([keras.layers.Input((None, 2), name="x"), keras.layers.Dense(1)])
    assert read_samples(np.zeros((3, 7, 2)), model, "check_data").inputs[0].shape == (3, 7, 2)
    with pytest.raises(ValueError, match=r"pad or crop them for 'x'\. Received: \[\(4, 2\), \(5, 2\)\]"):
        read_samples([np.zeros((1, 4, 2)), np.zeros((1, 5, 2))], model, "check_data")
    with pytest.raises(ValueError, match=r"pass check_data\. Received: an input of shape \(None, None, 2\)"):
        random_samples(model)


def test_integers_must_fit_the_integer_input():
    model = keras.Sequential([keras.layers.Input((2,), dtype="int32", name="t"), keras.layers.Embedding(9, 2)])
    assert read_samples(np.array([[1, 2]]), model, "check_data").inputs[0].dtype == np.int32
    with pytest.raises(ValueError, match=r"do not fit int32. Received: values from 1 to 4294967296"):
        read_samples(np.array([[1, 2**32]]), model, "check_data")
    with pytest.raises(TypeError, match=r"must be of dtype int32. Received: dtype float64"):
        read_samples(np.ones((1, 2)), model, "check_data")


def test_random_samples_are_the_same_every_time(dense_net):
    first, second = random_samples(dense_net, 5), random_samples(dense_net, 5)
    assert first.inputs[0].shape == (5, 6)
    np.testing.assert_array_equal(first.inputs[0], second.inputs[0])


def test_names_of_classes_are_warned_of(dense_net):
    with pytest.warns(PruningWarning, match="accuracies are not measured: pass integers.*labels of dtype <U1"):
        samples = read_samples((X, np.array(list("abcdefghij"))), dense_net, "check_data")
    assert samples.labels is None


def test_indices_of_an_embedding_pass_as_they_are_into_a_float_input():
    layers = keras.layers
    flat = keras.Sequential([layers.Input((3,)), layers.Embedding(500, 2), layers.Flatten(), layers.Dense(2)])
    ids = np.array([[1, 2, 499]])
    (cast,) = read_samples(ids, flat, "representative_data").inputs
    assert (cast.dtype, cast.tolist()) == (np.float32, [[1.0, 2.0, 499.0]])
    with pytest.raises(ValueError, match="no obvious random data"):
        random_samples(flat)
    picture = keras.Input((3,), name="picture")
    joined = layers.Concatenate()([layers.Flatten()(layers.Embedding(500, 2)(flat.inputs[0])), picture])
    model = keras.Model([flat.inputs[0], picture], joined)
    with pytest.raises(TypeError, match="'picture' is integer-only.*counts and indices as they are"):
        read_samples([ids, ids], model, "representative_data")
    assert len(read_samples([ids, ids.astype("float32")], model, "representative_data")) == 1
