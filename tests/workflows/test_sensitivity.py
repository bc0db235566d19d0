"""Sensitivity: each layer alone is pruned in place, exactly, and the model stays as it was."""

import json

import keras as keras3
import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from tfmot_swd.channels import channel_scores, remove_channels
from tfmot_swd.workflows import Sensitivity, SensitivityRow, sensitivity
from tfmot_swd.workflows.objective import Objective

X = np.random.default_rng(0).normal(size=(16, 8, 8, 3)).astype("float32")
Y = (X.mean((1, 2, 3)) > 0).astype("int64")


def linear(kernel=(1.0, 2.0, 3.0, 4.0), package=keras):
    """Returns a net that adds up four channels: 10 for ones."""
    net = package.Sequential(
        [
            package.Input((4,)),
            package.layers.Dense(4, use_bias=False, name="hidden"),
            package.layers.Dense(1, use_bias=False, name="head"),
        ]
    )
    net.set_weights([np.diag(kernel), np.ones((4, 1))])
    net.compile("sgd", "mse", metrics=["mae"])
    return net


ONES = np.ones((6, 4), "float32"), np.full((6, 1), 10.0, "float32")


def residual():
    """Returns a net with a residual sum, batch norm, a depthwise convolution and attention, with random weights."""
    layers = keras.layers
    x = keras.Input((8, 8, 3))
    y = stem = layers.Conv2D(6, 3, padding="same", activation="sigmoid", name="stem")(x)
    y = layers.DepthwiseConv2D(3, padding="same", name="depthwise")(y)
    y = layers.BatchNormalization(name="norm")(layers.Conv2D(6, 3, padding="same", name="conv")(y))
    y = layers.Reshape((64, 6))(layers.Add()([layers.Activation("swish")(y), stem]))
    y = layers.MultiHeadAttention(1, 4, name="attention")(y, y)
    net = keras.Model(x, layers.Dense(2, name="head")(layers.GlobalAveragePooling1D()(y)))
    net.set_weights([np.random.default_rng(2).normal(size=each.shape) ** 2 * 0.3 for each in net.get_weights()])
    net.compile("sgd", LOSS, metrics=["accuracy"])
    return net


LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def test_zeros_in_place_are_what_the_model_without_the_channels_computes():
    net = residual()
    before = net.get_weights()
    found = sensitivity(net, (X, Y), metric="loss", rates=[0.5], verbose=0)
    # Filters that a sum joins and units of attention; queries and keys are multiplied, and removed in place of that.
    assert len(found.layers) == 4
    scores = channel_scores(net)
    expected = float(LOSS(Y, net(X)))
    assert found.baseline == pytest.approx(expected, rel=1e-5)
    for row in found.rows:
        size = len(scores[row.layer])
        assert (row.size, row.removed) == (size, size // 2)
        keep = scores[row.layer] >= np.sort(scores[row.layer])[size // 2]
        loss = float(LOSS(Y, remove_channels(net, {row.layer: keep})(X)))
        assert row.metric == pytest.approx(loss, rel=1e-4), row.layer
        # More of a loss is worse.
        assert row.drop == pytest.approx(loss - expected, abs=1e-4)
    for now, then in zip(net.get_weights(), before, strict=True):
        np.testing.assert_array_equal(now, then)


def test_weights_leave_by_magnitude_layer_by_layer():
    net = linear((-1.0, 2.0, 3.0, -4.0))
    x, y = np.ones((6, 4), "float32"), np.zeros((6, 1), "float32")
    found = sensitivity(net, (x, y), granularity="weights", rates=[0.8125, 0.9], metric="mae", mode="max", verbose=0)
    # Of 16 weights 12 are zero already: the thirteenth and the fourteenth are -1 and 2; of the head 3 of 4 leave.
    assert [(row.layer, row.rate, row.removed, row.size, row.metric) for row in found.rows] == [
        ("hidden", 0.8125, 13, 16, 1.0),
        ("hidden", 0.9, 14, 16, 1.0),
        ("head", 0.8125, 3, 4, 4.0),
        ("head", 0.9, 3, 4, 4.0),
    ]
    # The sum of the whole net is 0; with "max" more of the error is better.
    assert [row.drop for row in found.rows] == [-1.0, -1.0, -4.0, -4.0]


@pytest.mark.parametrize("package", [keras, keras3])
def test_the_compiled_metric_of_either_keras_on_arrays_and_batches(package):
    net = linear(package=package)
    data = tf.data.Dataset.from_tensor_slices(ONES).batch(4) if package is keras else ONES
    found = sensitivity(net, data, rates=(0.9, 0.5, 0.2), verbose=0)
    assert (found.metric, found.mode, found.baseline) == ("mae", "min", 0.0)
    # At .2 no channel of four leaves, at .9 three do, as one must stay.
    assert [(row.rate, row.removed, row.drop) for row in found.rows] == [(0.2, 0, 0.0), (0.5, 2, 3.0), (0.9, 3, 6.0)]
    assert found.samples == (None if package is keras else 6)


def test_a_metric_of_ones_own_needs_no_compiled_model():
    def closeness(y, outputs):
        return -abs(y - outputs)

    net = linear()
    net = keras.models.clone_model(net)
    net.set_weights([np.diag((1.0, 2.0, 3.0, 4.0)), np.ones((4, 1))])
    with pytest.raises(
        ValueError, match="Keras does not say .* mode='max' or mode='min'. Received: metric='closeness'"
    ):
        sensitivity(net, ONES, metric=closeness, verbose=0)
    found = sensitivity(net, ONES, metric=closeness, mode="max", rates=[0.5], verbose=0)
    assert (found.rows[0].metric, found.rows[0].drop) == (-3.0, 3.0)
    counted = keras3.metrics.MeanAbsoluteError(name="error")
    found = sensitivity(net, ONES, metric=counted, rates=[0.5], verbose=0)
    assert (found.metric, found.mode, found.rows[0].drop) == ("error", "min", 3.0)


def nan_below_five(x):
    return tf.where(x < 5.0, np.nan, x)


def test_outputs_that_are_not_finite_are_a_drop_of_nan_and_come_first(tmp_path):
    net = linear()
    net.layers[1].activation = nan_below_five
    found = sensitivity(net, ONES, rates=[0.25, 0.9], journal=tmp_path / "rows.jsonl", verbose=0)
    again = sensitivity(net, ONES, rates=[0.25, 0.9], journal=tmp_path / "rows.jsonl", verbose=0)
    for each in (found, again):
        assert each.rows[0].drop == 1.0
        assert np.isnan(each.rows[1].metric)
        assert np.isnan(each.rows[1].drop)
        assert each.to_dict()["rows"][1]["drop"] is None
        assert "nan" in str(each)


def test_a_journal_goes_on_and_belongs_to_one_model_and_its_data(tmp_path, monkeypatch):
    path, net = tmp_path / "rows.jsonl", linear()
    measured, calls = Objective.measured, []

    def counted(*args):
        if len(calls) == 1:
            raise KeyboardInterrupt
        calls.append(1)
        return measured(*args)

    with monkeypatch.context() as broken:
        broken.setattr(Objective, "measured", counted)
        with pytest.raises(KeyboardInterrupt):
            sensitivity(net, ONES, rates=[0.25, 0.5, 0.75], journal=path, verbose=0)
    head, row = map(json.loads, path.read_text().splitlines())
    assert row == {"layer": "hidden", "rate": 0.25, "removed": 1, "metric": 1.0}
    assert {name: head[name] for name in ("journal", "granularity", "metric")} == {
        "journal": "sensitivity analysis",
        "granularity": "channels",
        "metric": "mae",
    }
    calls.clear()
    monkeypatch.setattr(Objective, "measured", counted)
    # Another rate than before; the rows are those of all that is asked for.
    found = sensitivity(net, ONES, rates=[0.25, 0.75], journal=path, verbose=0)
    assert [row.drop for row in found.rows] == [1.0, 6.0]
    assert len(calls) == 1
    for other, data, differs in ((linear((1.0, 2.0, 3.0, 5.0)), ONES, "model"), (net, (ONES[0], ONES[1] + 1), "data")):
        with pytest.raises(ValueError, match=f"This journal is of another job, with another {differs}:"):
            sensitivity(other, data, journal=path, verbose=0)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"rates": [0.5, 1.0]}, ValueError, r"each between 0 and 1.*\[0.5, 1.0\]"),
        ({"rates": []}, ValueError, "one at least"),
        ({"rates": 0.5}, TypeError, "rates must be a list"),
        ({"granularity": "filters"}, ValueError, "one of channels, weights. Received: 'filters'"),
        ({"metric": "acc"}, ValueError, "compiled with, loss, mae, or a metric of Keras. Received: metric='acc'"),
        ({"metric": 3}, TypeError, "metric must be the name"),
        ({"mode": "up"}, ValueError, "'auto', 'max', 'min'"),
        ({"skip": ["hiden"]}, ValueError, "did you mean hidden"),
        ({"skip": ["hidden"]}, ValueError, "No channel of this model can be removed"),
        ({"skip": ["hidden", "head"], "granularity": "weights"}, ValueError, "Nothing in this model can be pruned"),
        ({"data": (ONES[0][:0], ONES[1][:0])}, ValueError, "data holds no samples"),
        ({"batch_size": 0}, ValueError, "batch_size must be"),
        ({"criterion": "rpgp"}, ValueError, "gradient"),
    ],
)
def test_bad_input_is_refused_with_what_to_do(changes, error, message):
    with pytest.raises(error, match=message):
        sensitivity(linear(), changes.pop("data", ONES), **changes, verbose=0)


def test_a_model_without_a_metric_says_how_to_get_one():
    net = linear()
    net.compile("sgd", "mse")
    with pytest.raises(ValueError, match=r"compile the model with metrics=\[...\], or pass metric="):
        sensitivity(net, ONES, verbose=0)
    plain = keras.Sequential([keras.layers.Dense(2, input_shape=(4,))])
    with pytest.raises(ValueError, match="The model is not compiled"):
        sensitivity(plain, ONES, verbose=0)
    net.compile("sgd", "mse", metrics=["mae"])
    with pytest.raises(ValueError, match="of the model itself is not finite"):
        sensitivity(net, (ONES[0], np.full((6, 1), np.nan)), verbose=0)


def rows(layer, drops, size=10):
    return tuple(
        SensitivityRow(layer, rate, int(rate * size), size, 0.9 - drop, drop)
        for rate, drop in zip((0.5, 0.9), drops, strict=True)
    )


RESULT = Sensitivity(
    "channels",
    "accuracy",
    "max",
    0.9,
    5000,
    (*rows("stem", (0.3, 0.5)), *rows("conv", (0.1, 0.6)), *rows("calm", (-0.001, 0.008)), *rows("wide", (0.0, 0.02))),
)


def test_a_result_says_which_layers_matter(tmp_path):
    assert RESULT.ranking() == ("stem", "conv", "wide", "calm")
    assert RESULT.words() == (
        "The accuracy of 0.9000 depends most on stem, conv and wide: pruned alone, a drop of 0.4000, 0.3500 and "
        "0.0100, the mean over the rates. Hardly sensitive: calm; without 90% of one of them the accuracy is at most "
        "0.0090 worse."
    )
    text = str(RESULT)
    assert "accuracy 0.9000 on 5,000 samples" in " ".join(text.split())
    assert [line.split("│")[1].strip() for line in text.splitlines() if line.startswith("│")] == list(RESULT.layers)
    assert "0.3000 │ 0.5000 │ 0.4000" in text
    assert json.loads(RESULT.write_json(tmp_path / "result.json").read_text()) == RESULT.to_dict()
    assert RESULT.to_dict()["rows"][0] == {
        "layer": "stem",
        "rate": 0.5,
        "removed": 5,
        "size": 10,
        "metric": pytest.approx(0.6),
        "drop": 0.3,
    }
    assert RESULT.write_svg(tmp_path / "chart.svg").read_text() == RESULT.svg()
    assert RESULT.svg().count('class="named"') == 4
    page = RESULT._repr_html_()
    assert "<table>" in page
    assert "<svg" in page


def test_many_layers_are_shown_by_what_they_lose():
    many = Sensitivity(
        "weights", "accuracy", "max", 0.9, None, sum((rows(f"layer{n}", (n / 100, n / 50)) for n in range(25)), ())
    )
    text = " ".join(str(many).split())
    assert "at most, of 5 more │ 50 │ 0.0400 │ 0.0800 │ 0.0600" in text
    assert "20 of 25 layers, those that lose most; .full() shows all" in text
    assert "layer0 " not in str(many)
    assert "layer0 " in str(many.full())
