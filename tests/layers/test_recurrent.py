"""Recurrent layers: units leave with their gates."""

import pytest
import tensorflow as tf
import tf_keras as keras

from tests.channels.exactness import assert_removal_is_exact, members, reasons, sizes

L = keras.layers
KINDS = [L.LSTM, L.GRU, L.SimpleRNN]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "options", [{}, {"return_sequences": True}, {"go_backwards": True, "use_bias": False}], ids=str
)
def test_units_leave(kind, options):
    x = L.Input((3, 4))
    hidden = kind(5, name="r", **options)(L.Dense(4, name="a")(x))
    model = keras.Model(x, L.Dense(2)(hidden))

    assert sizes(model) == {"a": 4, "r": 5}
    assert_removal_is_exact(model, train=not options)


def test_a_unit_owns_a_slice_of_every_gate():
    x = L.Input((3, 4))
    model = keras.Model(x, L.Dense(2, name="d")(L.LSTM(3, name="r")(x)))

    assert members(model, "r", "produce") == {
        "r.cell.kernel[1]": [0, 1, 2] * 4,
        "r.cell.recurrent_kernel[1]": [0, 1, 2] * 4,
        "r.cell.bias[0]": [0, 1, 2] * 4,
    }
    assert members(model, "r", "consume") == {"r.cell.recurrent_kernel[0]": [0, 1, 2], "d.kernel[0]": [0, 1, 2]}


@pytest.mark.parametrize("reset_after", [True, False])
def test_gru_in_both_of_its_ways(reset_after):
    x = L.Input((3, 4))
    model = keras.Model(x, L.Dense(2)(L.GRU(5, reset_after=reset_after, name="r")(x)))

    small = assert_removal_is_exact(model, {"r": [True, False, True, True, False]}, train=True, save=True)
    assert small.get_layer("r").cell.bias.shape == ((2, 9) if reset_after else (9,))


def test_stacked():
    x = L.Input((3, 4))
    hidden = L.LSTM(3, name="b")(L.GRU(5, return_sequences=True, name="a")(x))
    model = keras.Model(x, L.Dense(2)(hidden))

    assert sizes(model) == {"a": 5, "b": 3}
    assert_removal_is_exact(model)


@pytest.mark.parametrize("kind", KINDS)
def test_states_are_units(kind):
    x = L.Input((3, 4))
    output, *states = kind(5, return_state=True, return_sequences=True, name="r")(x)
    read = [L.Dense(2)(state) for state in states]
    model = keras.Model(x, [L.Dense(2)(output), *read])

    assert sizes(model) == {"r": 5}
    assert_removal_is_exact(model)


def test_a_state_that_nobody_reads():
    x = L.Input((3, 4))
    _, hidden, _ = L.LSTM(5, return_state=True, name="r")(x)
    model = keras.Model(x, L.Dense(2)(hidden))

    assert sizes(model) == {"r": 5}
    assert_removal_is_exact(model)


def test_a_state_among_the_models_outputs_stays():
    x = L.Input((3, 4))
    output, hidden, _ = L.LSTM(5, return_state=True, name="r")(x)
    model = keras.Model(x, [L.Dense(2)(output), hidden])

    assert sizes(model) == {}


def test_initial_states_are_tied_to_the_units():
    x, start = L.Input((3, 4)), L.Input((2,))
    states = [L.Dense(5, name=name)(start) for name in ("h", "c")]
    model = keras.Model([x, start], L.Dense(2)(L.LSTM(5, name="r")(x, initial_state=states)))

    assert list(sizes(model).values()) == [5]
    assert_removal_is_exact(model)


def test_an_encoder_hands_its_states_to_a_decoder():
    source, target = L.Input((3, 4)), L.Input((2, 4))
    _, *states = L.LSTM(5, return_state=True, name="encoder")(source)
    hidden = L.LSTM(5, return_sequences=True, name="decoder")(target, initial_state=states)
    model = keras.Model([source, target], L.Dense(2)(hidden))

    assert sizes(model) == {"encoder": 5}
    assert_removal_is_exact(model, save=True)


def test_initial_states_from_outside_keep_the_units():
    x, start = L.Input((3, 4)), L.Input((5,))
    model = keras.Model([x, start], L.Dense(2)(L.SimpleRNN(5, name="r")(x, initial_state=start)))

    assert reasons(model) == {"r": ("model input",)}
    assert_removal_is_exact(model)


def test_constant_initial_states_keep_the_units():
    x = L.Input((3, 4), batch_size=2)
    model = keras.Model(x, L.Dense(2)(L.SimpleRNN(5, name="r")(x, initial_state=[tf.ones((2, 5))])))

    assert reasons(model) == {"r": ("r: constant initial states",)}
    assert_removal_is_exact(model)


def test_masks():
    words, mask = L.Input((5,), dtype="int32"), L.Input((5,), dtype="bool")
    x = L.Embedding(4, 6, mask_zero=True, name="e")(words)
    x = L.LSTM(5, return_sequences=True, name="a")(x)
    model = keras.Model([words, mask], L.Dense(2)(L.GRU(3, name="b")(x, mask=mask)))

    assert sizes(model) == {"e": 6, "a": 5, "b": 3}
    assert_removal_is_exact(model)


def test_stateful():
    x = L.Input((3, 4), batch_size=2)
    model = keras.Model(x, L.Dense(2)(L.LSTM(5, stateful=True, name="r")(x)))

    assert sizes(model) == {"r": 5}
    assert_removal_is_exact(model)


def test_an_activation_across_units_keeps_them():
    x = L.Input((3, 4))
    model = keras.Model(x, L.Dense(2)(L.LSTM(5, activation="softmax", name="r")(x)))

    assert reasons(model) == {"r": ("r: activation softmax looks across channels",)}
    assert_removal_is_exact(model)


# How the directions meet does not depend on the class: each way for one, the default for both.
@pytest.mark.parametrize(
    ("mode", "kind"),
    [("concat", L.LSTM), ("concat", L.GRU), ("sum", L.LSTM), ("mul", L.GRU), ("ave", L.LSTM), (None, L.GRU)],
)
def test_bidirectional(mode, kind):
    x = L.Input((3, 4))
    hidden = L.Bidirectional(kind(5, return_sequences=True), merge_mode=mode, name="r")(x)
    model = keras.Model(x, [L.Dense(2)(each) for each in (hidden if mode is None else [hidden])])

    assert sizes(model) == {"r": 5}
    assert_removal_is_exact(model, train=mode == "concat" and kind is L.GRU)


def test_bidirectional_of_two_layers_keeps_what_each_has():
    x = L.Input((3, 4))
    parts = L.LSTM(5, return_sequences=True), L.GRU(3, return_sequences=True, go_backwards=True)
    model = keras.Model(x, L.Dense(2)(L.Bidirectional(parts[0], backward_layer=parts[1], name="r")(x)))

    assert sorted(sizes(model).values()) == [3, 5] or sizes(model) == {"r": 8}
    before = model.get_layer("r").get_config()
    assert_removal_is_exact(model, save=True)
    assert model.get_layer("r").get_config() == before


def test_a_half_frozen_bidirectional_layer():
    """Its weights stand in another order than those of a fresh one."""
    x = L.Input((3, 4))
    layer = L.Bidirectional(L.LSTM(5), name="r")
    model = keras.Model(x, L.Dense(2)(layer(x)))
    layer.forward_layer.trainable = False

    small = assert_removal_is_exact(model)
    assert not small.get_layer("r").forward_layer.trainable
    assert small.get_layer("r").backward_layer.trainable


@pytest.mark.parametrize(
    "layer",
    [
        lambda: L.Bidirectional(L.LSTM(5, return_state=True), name="r"),
        lambda: L.Bidirectional(L.RNN(L.LSTMCell(5)), name="r"),
    ],
)
def test_bidirectional_barriers(layer):
    x = L.Input((3, 4))
    hidden = tf.nest.flatten(layer()(L.Dense(4, name="a")(x)))[0]
    model = keras.Model(x, L.Dense(2)(hidden))

    assert reasons(model) == {"a": ("r: a bidirectional layer of these parts has no rule",)}
    assert_removal_is_exact(model)


@pytest.mark.parametrize("cell", [L.LSTMCell, L.GRUCell, L.SimpleRNNCell])
def test_units_of_a_cell_leave(cell):
    x, start = L.Input((3, 4)), L.Input((2,))
    output, *states = L.RNN(cell(5), return_state=True, name="r")(L.Dense(4, name="a")(x))
    again = L.RNN(cell(5), name="s")(x, initial_state=states)
    model = keras.Model([x, start], [L.Dense(2)(output), L.Dense(2)(again)])

    assert sizes(model) == {"a": 4, "r": 5}
    small = assert_removal_is_exact(model, save=True, train=True)
    assert small.get_layer("r").cell.units == small.get_layer("s").cell.units


def test_units_of_stacked_cells_leave():
    x = L.Input((3, 4))
    output, *states = L.RNN(
        [L.LSTMCell(6), L.GRUCell(5, use_bias=False), L.SimpleRNNCell(3)], return_state=True, name="r"
    )(L.Dense(4, name="a")(x))
    model = keras.Model(x, [L.Dense(2)(each) for each in tf.nest.flatten([output, states])])

    assert sorted(sizes(model).values()) == [3, 4, 5, 6]
    first = next(name for name, size in sizes(model).items() if size == 6)
    assert members(model, first, "produce")["r.cell.cells.0.kernel[1]"] == [*range(6)] * 4
    assert members(model, first, "consume")["r.cell.cells.1.kernel[0]"] == [*range(6)]
    assert_removal_is_exact(model, save=True)
    assert_removal_is_exact(model, train=True)


class OwnCell(L.GRUCell):
    def call(self, inputs, states, training=None):
        return super().call(inputs[..., ::-1], states, training)


@pytest.mark.parametrize(
    ("layer", "reason"),
    [
        (lambda: L.RNN(OwnCell(5), name="r"), "cells other than LSTMCell, GRUCell and SimpleRNNCell have no rule"),
        (lambda: L.RNN([L.LSTMCell(4), OwnCell(3)], name="r"), "cells other than LSTMCell"),
    ],
)
def test_other_cells_are_a_barrier(layer, reason):
    x = L.Input((3, 4))
    model = keras.Model(x, L.Dense(2)(layer()(L.Dense(4, name="a")(x))))

    assert list(sizes(model)) == []
    assert reason in reasons(model)["a"][0]
    assert_removal_is_exact(model)


def test_a_cell_used_twice_is_a_barrier():
    """Keras itself cannot copy it from its config."""
    x, cell = L.Input((3, 4)), L.GRUCell(4)
    model = keras.Model(x, L.Dense(2)(L.RNN([cell, cell], name="r")(L.Dense(4, name="a")(x))))

    assert "a cell that is used twice" in reasons(model)["a"][0]


def test_stacked_cells_that_are_given_states_are_a_barrier():
    x, start = L.Input((3, 4)), L.Input((5,))
    hidden = L.RNN([L.GRUCell(5), L.GRUCell(5)], name="r")(L.Dense(4, name="a")(x), initial_state=[start, start])
    model = keras.Model([x, start], L.Dense(2)(hidden))

    assert "stacked cells that are given states" in reasons(model)["a"][0]
    assert_removal_is_exact(model)


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("options", [{}, {"return_sequences": True, "use_bias": False}], ids=str)
def test_filters_of_a_convolutional_lstm_leave(dims, options):
    x = L.Input((2, *(3,) * dims, 4))
    hidden = getattr(L, f"ConvLSTM{dims}D")(5, 2, name="r", **options)(L.Dense(4, name="a")(x))
    model = keras.Model(x, L.Dense(2)(L.Flatten()(hidden)))

    assert sizes(model) == {"a": 4, "r": 5}
    assert members(model, "r", "produce")[f"r.cell.kernel[{dims + 1}]"] == [*range(5)] * 4
    assert_removal_is_exact(model, train=not options, save=dims == 2)


def test_states_of_a_convolutional_lstm_are_its_filters():
    x = L.Input((2, 4, 4, 3))
    _, *states = L.ConvLSTM2D(5, 3, padding="same", return_state=True, name="encoder")(x)
    hidden = L.ConvLSTM2D(5, 3, padding="same", return_sequences=True, name="decoder")(x, initial_state=states)
    model = keras.Model(x, L.Dense(2)(L.Flatten()(hidden)))

    assert sizes(model) == {"encoder": 5}
    assert_removal_is_exact(model, save=True)


def test_a_convolutional_lstm_with_channels_first():
    """It cannot run on a CPU: which axes are whose is compared with channels last."""
    x = L.Input((2, 4, 6, 6))
    hidden = L.ConvLSTM2D(5, 3, data_format="channels_first", return_sequences=True, name="r")(x)
    model = keras.Model(x, L.Dense(2)(L.Flatten()(L.Permute((1, 3, 4, 2))(hidden))))

    assert sizes(model) == {"r": 5}
    assert members(model, "r", "consume")["r.cell.recurrent_kernel[2]"] == [*range(5)]
