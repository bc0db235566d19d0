"""Models that begin with a lookup, whose vocabulary Keras counts among the weights, pruned and counted."""

import numpy as np
import pytest
import tf_keras as keras

import tfmot_swd
from tfmot_swd import Budget, ProgressiveRate, SelectiveDecay, StructuredDecay

L = keras.layers
SENTENCES = np.array([["a b c"], ["d e f g"], ["g h"], ["i i a"]] * 4)
LABELS = np.array([0, 1, 2, 0] * 4)
EPOCHS, STEPS = 2, 8


def network(lookup: str) -> keras.Model:
    if lookup == "text":
        layer = L.TextVectorization(output_sequence_length=8)
        inputs = keras.Input((1,), dtype="string")
        layer.adapt(["a b c", "d e f g", "h i"])
    else:
        layer = L.StringLookup(vocabulary=list("abcdefghi"))
        inputs = keras.Input((8,), dtype="string")
    x = L.Conv1D(8, 3, activation="relu", name="conv")(L.Embedding(20, 6)(layer(inputs)))
    return keras.Model(inputs, L.Dense(3, name="head")(L.GlobalMaxPooling1D()(x)))


def words(lookup: str) -> np.ndarray:
    return SENTENCES if lookup == "text" else np.array([list("abcdefgh"), list("aabbccii")] * 8)


@pytest.mark.parametrize(
    ("wrap", "lookup"),
    [
        (
            lambda net: tfmot_swd.prune_progressive_gradient(net, ProgressiveRate(0.5, EPOCHS, curve="geometric")),
            "text",
        ),
        (lambda net: tfmot_swd.prune_selective_decay(net, StructuredDecay(Budget(macs=0.5), STEPS)), "words"),
        (lambda net: tfmot_swd.prune_selective_decay(net, SelectiveDecay(0.5, STEPS)), "text"),
    ],
    ids=["progressive", "structured", "weights"],
)
def test_it_trains_and_the_small_net_predicts_the_same(wrap, lookup):
    net, x = network(lookup), words(lookup)
    model = wrap(net)
    np.testing.assert_allclose(model.predict(x, verbose=0), net.predict(x, verbose=0), atol=1e-6)
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(x, LABELS, batch_size=4, epochs=EPOCHS, verbose=0, callbacks=[tfmot_swd.UpdatePruningStep()])
    small = tfmot_swd.strip_pruning(model)
    np.testing.assert_allclose(small.predict(x, verbose=0), model.predict(x, verbose=0), atol=1e-6)
    assert tfmot_swd.profile(small).parameters <= tfmot_swd.profile(net).parameters == 120 + 6 * 3 * 8 + 8 + 8 * 3 + 3
    assert tfmot_swd.sparsity_report(small).parameters == tfmot_swd.profile(small).parameters


def test_channels_leave_in_the_middle_of_a_training():
    net = network("text")
    net.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    net.fit(SENTENCES, LABELS, verbose=0)
    before = net.predict(SENTENCES, verbose=0)
    small = tfmot_swd.channels.remove_dead_channels(net)
    np.testing.assert_allclose(small.predict(SENTENCES, verbose=0), before, atol=1e-6)
    tfmot_swd.channels.shrink_model(net, {"conv": np.arange(8) < 4})
    net.fit(SENTENCES, LABELS, verbose=0)
    assert net.get_layer("conv").filters == 4
