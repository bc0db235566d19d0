"""The losses against values worked out by hand, and the training step against a tape of its own."""

import math

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

import tfmot_swd
from examples.domain_training import (
    ALIGNMENTS,
    KERNEL_WIDTHS,
    DomainAdapter,
    GradientReversal,
    classifier_of,
    coral,
    digit_network,
    domain_cross_entropy,
    mmd,
    reverse_gradient,
)

SHAPE = (8, 8, 1)


def column(*values: float) -> tf.Tensor:
    return tf.constant(values)[:, None]


def small(**options) -> DomainAdapter:
    return digit_network(SHAPE, 3, widths=(4, 4), features=5, **options)


def test_no_discrepancy_between_a_batch_and_itself():
    features = tf.random.normal([6, 4])
    assert float(mmd(features, features)) == pytest.approx(0.0, abs=1e-6)
    assert float(mmd(features, tf.gather(features, [3, 0, 5, 2, 1, 4]))) == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("distance", [0.01, 3.0])
def test_the_discrepancy_of_two_points(distance):
    # The mean squared distance is that of the one pair, so each kernel sees 1 / its width.
    wanted = 2 * len(KERNEL_WIDTHS) - 2 * sum(math.exp(-1 / width) for width in KERNEL_WIDTHS)
    assert float(mmd(column(0.0), column(distance))) == pytest.approx(wanted, rel=1e-5)


def test_the_discrepancy_of_sets_of_different_sizes():
    # Squared distances: 4 within the source, 1 to the target; their mean is (4 + 1 + 1) / 3 = 2.
    far, near = (sum(math.exp(-square / (2 * width)) for width in KERNEL_WIDTHS) for square in (4, 1))
    within = (2 * len(KERNEL_WIDTHS) + 2 * far) / 4 + len(KERNEL_WIDTHS)
    assert float(mmd(column(-1.0, 1.0), column(0.0))) == pytest.approx(within - 2 * near, rel=1e-5)


def test_the_discrepancy_draws_domains_together():
    target = column(3.0)
    with tf.GradientTape() as tape:
        tape.watch(target)
        loss = mmd(column(0.0, 0.5), target)
    assert float(tape.gradient(loss, target)[0, 0]) > 0


def test_features_that_have_collapsed_have_no_discrepancy_and_a_finite_gradient():
    features = tf.ones([3, 2])
    with tf.GradientTape() as tape:
        tape.watch(features)
        loss = mmd(features, tf.ones([2, 2]))
    assert float(loss) == pytest.approx(0.0, abs=1e-6)
    assert np.isfinite(tape.gradient(loss, features)).all()


def test_coral_of_two_by_two():
    # Covariances diag(2, 0) and diag(0, 2): squares of the differences sum to 8, over 4 · 2².
    source, target = tf.constant([[0.0, 0.0], [2.0, 0.0]]), tf.constant([[0.0, 0.0], [0.0, 2.0]])
    assert float(coral(source, target)) == pytest.approx(0.5)
    assert float(coral(source, source + 7.0)) == pytest.approx(0.0)


def test_domain_cross_entropy():
    assert float(domain_cross_entropy(column(0.0, 0.0), column(0.0))) == pytest.approx(math.log(2))
    told_apart = math.log1p(math.exp(-2))
    assert float(domain_cross_entropy(column(2.0), column(-2.0))) == pytest.approx(told_apart)
    assert float(domain_cross_entropy(column(-2.0), column(2.0))) == pytest.approx(told_apart + 2)


@pytest.mark.parametrize("reverse", [reverse_gradient, GradientReversal()])
def test_a_reversed_gradient(reverse):
    x = tf.constant([1.0, -2.0])
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = reverse(x)
        loss = tf.reduce_sum(3.0 * y)
    np.testing.assert_array_equal(y, x)
    np.testing.assert_array_equal(tape.gradient(loss, x), [-3.0, -3.0])


def batch():
    rng = np.random.default_rng(1)
    images, target = (tf.constant(rng.normal(size=(6, *SHAPE)), tf.float32) for _ in range(2))
    return (images, tf.constant([0, 1, 2, 0, 1, 2], tf.int64)), target + 0.5


@pytest.mark.parametrize("eager", [False, True])
@pytest.mark.parametrize("alignment", ALIGNMENTS)
def test_scores_are_of_the_whole_loss_over_both_domains(alignment, eager):
    plain = small(adversarial=alignment == "adversarial", weight_decay=0.01)
    (images, labels), target = batch()
    # Half of the updates are made: the alignment counts 2 / (1 + e^-5) - 1 of its strength.
    share = 2.0 * (2 / (1 + math.exp(-5)) - 1)
    kernels = {name: plain.get_layer(name).kernel for name in ("conv1", "conv2")}
    with tf.GradientTape() as tape:
        both = plain(tf.concat([images, target], 0), training=True)
        output, distance = ALIGNMENTS[alignment]
        losses = keras.losses.sparse_categorical_crossentropy(labels, both["logits"][:6], from_logits=True)
        loss = tf.reduce_mean(losses) + share * distance(both[output][:6], both[output][6:])
    wanted = tape.gradient(loss, kernels)

    schedule = tfmot_swd.ProgressiveRate(0.5, 3)
    pruned = tfmot_swd.prune_progressive_gradient(plain, schedule)
    assert type(pruned) is DomainAdapter
    pruned.compile(keras.optimizers.SGD(0.0), alignment, strength=2.0, steps=2, run_eagerly=eager)
    pruned.optimizer.build(pruned.trainable_variables)
    pruned.optimizer.iterations.assign(1)
    seen = {}

    class Look(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            for layer in self.model.layers:
                if isinstance(layer, tfmot_swd.pgp.PruneProgressiveGradient) and batch == 0:
                    seen[layer.layer.name] = layer.scored[0].update.numpy()

    stream = tf.data.Dataset.from_tensors(batch()).repeat(2)
    pruned.fit(stream, verbose=0, callbacks=[Look(), tfmot_swd.UpdatePruningStep(partial_fit=True)])
    assert seen.keys() == wanted.keys()
    for name, gradient in wanted.items():
        np.testing.assert_allclose(seen[name], gradient, rtol=1e-3, atol=1e-5)


def test_the_target_counts_for_nothing_without_an_alignment():
    (images, labels), target = batch()
    found = []
    for other in (target, 100 * target):
        keras.utils.set_random_seed(0)
        model = small()
        model.compile("sgd", run_eagerly=True)
        logs = model.train_step(((images, labels), other))
        found.append((float(logs["loss"]), float(logs["alignment_loss"]), model.get_weights()))
    assert found[0][:2] == found[1][:2]
    assert found[0][1] == 0.0
    for first, second in zip(found[0][2], found[1][2], strict=True):
        np.testing.assert_array_equal(first, second)


# Ten updates are few for it.
@pytest.mark.filterwarnings("ignore:Pruning at end_step will change the outputs")
def test_selective_weight_decay_in_this_training_step():
    pruned = tfmot_swd.prune_selective_decay(small(), tfmot_swd.SelectiveDecay(0.8, end_step=10))
    pruned.compile(keras.optimizers.SGD(0.05), "mmd", steps=10)
    stream = tf.data.Dataset.from_tensors(batch()).repeat(10)
    pruned.fit(stream, verbose=0, callbacks=[tfmot_swd.UpdatePruningStep()])
    stripped = tfmot_swd.strip_pruning(pruned, remove_channels=False)
    report = tfmot_swd.sparsity_report(stripped)
    # Biases may be zero without having been cut.
    assert report.nonzero_prunable_weights <= report.prunable_weights - int(0.8 * report.prunable_weights)
    assert [layer.name for layer in classifier_of(stripped).layers] == [
        layer.name for layer in classifier_of(small()).layers
    ]


def test_what_is_logged_is_of_one_epoch():
    model = small()
    model.compile(keras.optimizers.SGD(0.0), "coral", steps=10)
    stream = tf.data.Dataset.from_tensors(batch()).repeat(2)
    history = model.fit(stream, epochs=2, verbose=0).history
    assert history.keys() == {"loss", "label_loss", "alignment_loss", "accuracy"}
    # Nothing is learnt: the second epoch tells what the first did, but for the weight of the alignment.
    assert history["label_loss"][0] == pytest.approx(history["label_loss"][1], rel=1e-5)
    assert history["alignment_loss"][0] == pytest.approx(history["alignment_loss"][1], rel=1e-5)
    assert history["loss"][0] < history["loss"][1]


@pytest.mark.parametrize(
    ("alignment", "message"),
    [
        ("magic", "alignment must be one of mmd, coral, adversarial, or None. Received: 'magic'"),
        ("adversarial", "needs the output 'domain'.*Received: alignment='adversarial' for outputs features, logits"),
    ],
)
def test_an_alignment_that_cannot_be(alignment, message):
    with pytest.raises(ValueError, match=message):
        small().compile("sgd", alignment)


def test_a_device_gets_the_classifier_alone():
    adapter = small(adversarial=True)
    classifier = classifier_of(adapter)
    x = np.random.default_rng(0).normal(size=(2, *SHAPE)).astype(np.float32)
    np.testing.assert_array_equal(classifier(x), adapter(x)["logits"])
    assert "domain" not in [layer.name for layer in classifier.layers]
    assert classifier.count_params() == small().count_params() < adapter.count_params()


def test_the_size_that_the_docstring_names():
    model = digit_network((28, 28, 1), 10)
    assert sum(int(np.prod(each.shape)) for each in model.trainable_variables) == 102_762
