"""A wrapped model trains the same however it is driven: fit, custom loops, precision, batches of steps."""

import functools
import warnings

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

import tfmot_swd

STEPS = 24
BATCH = 8
X1 = np.zeros((3, 1), np.float32)


def build() -> keras.Model:
    keras.utils.set_random_seed(3)
    inputs = keras.Input((6, 6, 1))
    x = keras.layers.Conv2D(4, 3, use_bias=False, name="conv")(inputs)
    x = keras.layers.BatchNormalization(name="bn")(x)
    x = keras.layers.ReLU()(x)
    x = keras.layers.Flatten()(x)
    return keras.Model(inputs, keras.layers.Dense(3, name="head")(x))


@functools.cache
def samples() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(STEPS * BATCH, 6, 6, 1)).astype(np.float32)
    return x, rng.integers(0, 3, STEPS * BATCH)


@pytest.fixture
def data() -> tuple[np.ndarray, np.ndarray]:
    return samples()


def schedule(**changes) -> tfmot_swd.SelectiveDecay:
    return tfmot_swd.SelectiveDecay(**{"final_sparsity": 0.8, "end_step": STEPS, **changes})


def paper(**changes) -> tfmot_swd.SelectiveDecay:
    return tfmot_swd.SelectiveDecay.paper(**{"final_sparsity": 0.8, "end_step": STEPS, "mu": 5e-4, **changes})


PLANS = {"implicit": schedule(), "coupled": paper(), "paper's strength": paper(penalty="implicit")}


def sgd() -> keras.optimizers.Optimizer:
    return keras.optimizers.SGD(0.05, momentum=0.9)


def compiled(plan=None, optimizer=None, **options) -> keras.Model:
    pruned = tfmot_swd.prune_selective_decay(build(), plan or schedule())
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    pruned.compile(optimizer or sgd(), loss, metrics=["accuracy"], **options)
    return pruned


def fit(model, data, callbacks=(), **options):
    settings = {"batch_size": BATCH, "epochs": 1, "shuffle": False, "verbose": 0, **options}
    return model.fit(*data, callbacks=[*callbacks, tfmot_swd.UpdatePruningStep()], **settings)


@functools.cache
def fitted(name: str) -> keras.Model:
    """Returns a model that was trained to the end of the schedule; tests only read it."""
    model = compiled(PLANS[name])
    fit(model, samples())
    return model


def zeros(model) -> float:
    report = tfmot_swd.sparsity_report(model)
    return 1 - report.nonzero_prunable_weights / report.prunable_weights


def assert_same(first, second, tolerance=0.0) -> None:
    for a, b in zip(first.get_weights(), second.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("plan", PLANS)
def test_fit_reaches_the_rate_exactly(plan):
    model = fitted(plan)
    pool = 9 * 4 + 16 * 4 * 3 + 3
    assert tfmot_swd.sparsity_report(tfmot_swd.strip_pruning(model)).nonzero_prunable_weights == pool - int(0.8 * pool)


@pytest.mark.parametrize("plan", ["implicit", "coupled"])
def test_several_steps_in_one_execution_equal_one_at_a_time(data, plan):
    several = compiled(PLANS[plan], steps_per_execution=8)
    fit(several, data)
    assert_same(tfmot_swd.strip_pruning(fitted(plan)), tfmot_swd.strip_pruning(several), 1e-6)


def test_the_cut_falls_inside_an_execution_of_several_steps(data):
    model = compiled(schedule(end_step=STEPS - 3), steps_per_execution=8)
    fit(model, data)
    assert zeros(tfmot_swd.strip_pruning(model)) == pytest.approx(0.8, abs=0.01)


@pytest.mark.parametrize("plan", ["implicit", "coupled"])
@pytest.mark.parametrize("eager", [False, True])
def test_custom_loop_equals_fit(data, plan, eager):
    looped = tfmot_swd.prune_selective_decay(build(), PLANS[plan])
    looped.optimizer = optimizer = sgd()
    loss_of = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    callback = tfmot_swd.UpdatePruningStep()
    callback.set_model(looped)
    callback.on_train_begin()

    def step(x, y):
        with tf.GradientTape() as tape:
            loss = tf.add_n([loss_of(y, looped(x, training=True)), *looped.losses])
        optimizer.apply_gradients(
            zip(tape.gradient(loss, looped.trainable_variables), looped.trainable_variables, strict=True)
        )

    run = step if eager else tf.function(step)
    for x, y in tf.data.Dataset.from_tensor_slices(data).batch(BATCH):
        run(x, y)
    callback.on_epoch_end(0)
    assert_same(tfmot_swd.strip_pruning(fitted(plan)), tfmot_swd.strip_pruning(looped), 1e-5)


def test_micro_batches_count_as_one_update(data):
    model = compiled(schedule(end_step=4))
    callback = tfmot_swd.UpdatePruningStep()
    callback.set_model(model)
    callback.on_train_begin()
    x = tf.constant(data[0][:BATCH])
    for _ in range(4):
        for _ in range(3):
            model(x, training=True)
        zero = [tf.zeros_like(variable) for variable in model.trainable_variables]
        model.optimizer.apply_gradients(zip(zero, model.trainable_variables, strict=True))
    assert callback._run._pool.step == 4
    callback.on_epoch_end(0)
    assert zeros(tfmot_swd.strip_pruning(model)) == pytest.approx(0.8, abs=0.01)


def test_a_shared_layer_counts_one_update_and_is_penalised_once(data):
    keras.utils.set_random_seed(0)
    shared = keras.layers.Dense(4, name="shared")
    inputs = keras.Input((4,))
    net = keras.Model(inputs, keras.layers.Dense(1)(shared(shared(inputs))))
    model = tfmot_swd.prune_selective_decay(net, paper(end_step=3, a_min=10.0, a_max=10.0))
    model.compile(sgd(), "mse")
    callback = tfmot_swd.UpdatePruningStep()
    callback.set_model(model)
    callback.on_train_begin()
    model(tf.ones((2, 4)), training=True)
    assert callback._run._pool.step == 1
    threshold = callback._run._pool.leader.threshold.numpy()
    kernels = [w.numpy() for w in callback._run._pool.counted()]
    below = sum(float((k[np.abs(k) < threshold] ** 2).sum()) for k in kernels)
    assert float(sum(model.losses)) == pytest.approx(5e-4 * 10 / 2 * below, rel=1e-5)


def test_predict_and_evaluate_write_nothing(data):
    model = fitted("implicit")
    before = [value.copy() for value in model.get_weights()]
    model.predict(data[0], verbose=0)
    model.evaluate(*data, verbose=0)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_the_penalty_stays_out_of_the_validation_loss(data):
    plan = paper(a_min=1e5, a_max=1e5)
    model = compiled(plan, keras.optimizers.SGD(0.0))
    history = fit(model, data, validation_data=data).history
    plain = build()
    plain.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    task = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    assert history["loss"][0] > 2 * history["val_loss"][0]
    stripped = tfmot_swd.strip_pruning(model)
    expected = float(task(data[1], stripped.predict(data[0], verbose=0)))
    assert history["val_loss"][0] == pytest.approx(expected, rel=1e-4)
    assert history["penalty"][0] >= 0


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision_keeps_master_weights_bit_for_bit_when_nothing_is_targeted(data, policy):
    keras.mixed_precision.set_global_policy(policy)
    try:
        model = compiled(schedule(final_sparsity=0.0), keras.optimizers.SGD(0.0))
        kernels = {w.name: w.numpy() for w in model.trainable_weights}
        fit(model, data)
        model.predict(data[0], verbose=0)
        for weight in model.trainable_weights:
            np.testing.assert_array_equal(kernels[weight.name], weight.numpy())
    finally:
        keras.mixed_precision.set_global_policy("float32")


@pytest.mark.parametrize("plan", [schedule(), paper()], ids=["implicit", "coupled"])
def test_mixed_precision_prunes_in_float32_under_a_loss_scale(data, plan):
    keras.mixed_precision.set_global_policy("mixed_float16")
    try:
        model = compiled(plan)
        fit(model, data)
        stripped = tfmot_swd.strip_pruning(model)
    finally:
        keras.mixed_precision.set_global_policy("float32")
    assert model.trainable_weights[0].numpy().dtype == np.float32
    assert model.output.dtype == tf.float16
    assert zeros(stripped) == pytest.approx(0.8, abs=0.01)
    assert np.isfinite(stripped.predict(data[0], verbose=0)).all()


def test_a_float32_head_under_mixed_precision_stays_float32(data):
    keras.mixed_precision.set_global_policy("mixed_float16")
    try:
        inputs = keras.Input((4,))
        x = keras.layers.Dense(4)(inputs)
        net = keras.Model(inputs, keras.layers.Dense(2, dtype="float32")(x))
        pruned = tfmot_swd.prune_selective_decay(net, schedule())
    finally:
        keras.mixed_precision.set_global_policy("float32")
    assert pruned.output.dtype == tf.float32
    assert pruned(np.ones((1, 4), np.float32)).dtype == tf.float32


@pytest.mark.parametrize("make", [keras.optimizers.Adam, keras.optimizers.legacy.Adam, keras.optimizers.legacy.SGD])
def test_other_optimizers_prune_too(data, make):
    model = compiled(schedule(), make(0.01))
    fit(model, data)
    assert zeros(tfmot_swd.strip_pruning(model)) == pytest.approx(0.8, abs=0.01)


def test_fine_tuning_after_the_cut_keeps_the_zeros(data):
    model = compiled(schedule(end_step=STEPS // 2))
    fit(model, data, epochs=2)
    stripped = tfmot_swd.strip_pruning(model)
    assert zeros(stripped) == pytest.approx(0.8, abs=0.01)
    # Not only once stripped: the wrapped model itself predicts with the zeros.
    np.testing.assert_allclose(stripped.predict(data[0], verbose=0), model.predict(data[0], verbose=0), atol=1e-6)


def test_a_checkpoint_before_the_callback_in_the_list_holds_the_cut_model(data, tmp_path):
    model = compiled()
    checkpoint = keras.callbacks.ModelCheckpoint(str(tmp_path / "last.keras"))
    fit(model, data, [checkpoint])
    loaded = keras.models.load_model(tmp_path / "last.keras")
    assert zeros(loaded) == pytest.approx(0.8, abs=0.01)
    assert_same(tfmot_swd.strip_pruning(loaded), tfmot_swd.strip_pruning(model))


def test_early_stopping_that_restores_old_weights_is_refused_aloud(data):
    model = compiled(schedule(end_step=2 * STEPS))
    stop = keras.callbacks.EarlyStopping("loss", patience=0, restore_best_weights=True, mode="max")
    fit(model, data, [stop], epochs=2)
    with pytest.raises(ValueError, match="final pruning step has not been made.*restore_best_weights"):
        tfmot_swd.strip_pruning(model)
    tfmot_swd.prune_now(model)
    assert zeros(tfmot_swd.strip_pruning(model)) == pytest.approx(0.8, abs=0.01)


def test_a_fit_that_ends_early_warns_and_is_not_stripped(data):
    class Stop(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            self.model.stop_training = batch >= 3

    model = compiled()
    with pytest.warns(tfmot_swd.PruningWarning, match="4 of 24 updates.*NOT pruned"):
        fit(model, data, [Stop()])
    with pytest.raises(ValueError, match="not pruned: train on"):
        tfmot_swd.strip_pruning(model)


@pytest.mark.parametrize(
    ("constraint", "held"),
    [
        (keras.constraints.UnitNorm(), "UnitNorm in layer 'conv'"),
        (keras.constraints.MinMaxNorm(0.5, 1.0), "MinMaxNorm in layer 'conv'"),
        (keras.constraints.MaxNorm(1.0), None),
        (keras.constraints.MinMaxNorm(0.0, 1.0), None),
    ],
)
def test_constraints_that_undo_the_decay_are_told(constraint, held, data):
    inputs = keras.Input((6, 6, 1))
    conv = keras.layers.Conv2D(4, 3, kernel_constraint=constraint, name="conv")
    net = keras.Model(inputs, keras.layers.Dense(3)(keras.layers.Flatten()(conv(inputs))))
    model = tfmot_swd.prune_selective_decay(net, schedule())
    model.compile(sgd(), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit(model, data)
    told = [str(each.message) for each in caught if "undo the decay" in str(each.message)]
    assert [message.partition("Received: ")[2] for message in told] == ([held] if held else [])


def test_several_fits_make_one_run(data):
    whole, parts = compiled(schedule(end_step=2 * STEPS)), compiled(schedule(end_step=2 * STEPS))
    fit(whole, data, epochs=2)
    for _ in range(2):
        parts.fit(
            *data,
            batch_size=BATCH,
            shuffle=False,
            verbose=0,
            callbacks=[tfmot_swd.UpdatePruningStep(partial_fit=True)],
        )
    assert_same(tfmot_swd.strip_pruning(whole), tfmot_swd.strip_pruning(parts))


def test_the_clock_goes_on_when_the_leading_layer_is_frozen_in_between(data):
    model = compiled(schedule(end_step=2 * STEPS))
    first = tfmot_swd.UpdatePruningStep(partial_fit=True)
    model.fit(*data, batch_size=BATCH, verbose=0, callbacks=[first])
    model.get_layer("prune_selective_decay_conv").trainable = False
    model.compile(sgd(), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    second = tfmot_swd.UpdatePruningStep()
    model.fit(*data, batch_size=BATCH, epochs=2, verbose=0, callbacks=[second])
    assert second.final_step is not None
    assert second.final_step.step == 2 * STEPS


def test_a_single_weight_that_becomes_nan_is_noticed(data):
    class Break(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            kernel = self.model.get_layer("head").layer.kernel
            kernel.assign(tf.tensor_scatter_nd_update(kernel, [[0, 0]], [np.nan]))

    with pytest.raises(ValueError, match="NaN or infinite.*Received: NaN or infinity at step 24"):
        fit(compiled(), data, [Break()])


def test_training_on_after_an_early_cut_keeps_the_zeros(data):
    model = compiled(schedule(end_step=10 * STEPS))
    first = tfmot_swd.UpdatePruningStep(partial_fit=True)
    model.fit(*data, batch_size=BATCH, verbose=0, callbacks=[first])
    tfmot_swd.prune_now(model)
    cut = [weight.numpy() == 0 for weight in first._run._pool.counted()]

    class Look(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            # Masks are applied at the beginning of each update, so one update's drift is all there is.
            self.model(data[0][:1], training=True)
            for was_cut, weight in zip(cut, first._run._pool.counted(), strict=True):
                assert not weight.numpy()[was_cut].any()

    second = tfmot_swd.UpdatePruningStep(partial_fit=True)
    model.fit(*data, batch_size=BATCH, verbose=0, callbacks=[second, Look()])
    assert zeros(tfmot_swd.strip_pruning(model)) == pytest.approx(0.8, abs=0.01)


def test_a_model_frozen_before_its_cut_is_not_stripped(data):
    model = compiled()
    model.trainable = False
    with pytest.raises(ValueError, match="final pruning step has not been made"):
        tfmot_swd.strip_pruning(model)


def test_the_penalty_stays_when_the_step_also_calls_the_model_for_inference(data):
    model = compiled(paper(a_min=100.0, a_max=100.0))
    callback = tfmot_swd.UpdatePruningStep(partial_fit=True)
    callback.set_model(model)
    callback.on_train_begin()

    @tf.function
    def penalty(x):
        model(x, training=True)
        model(x, training=False)
        return tf.add_n(model.losses)

    assert float(penalty(tf.constant(data[0][:BATCH]))) > 0


def test_float64_weights_are_not_rounded(data):
    keras.backend.set_floatx("float64")
    try:
        model = compiled(schedule(final_sparsity=0.0), keras.optimizers.SGD(0.0))
        before = [weight.numpy() for weight in model.trainable_weights]
        fit(model, data)
        for old, new in zip(before, model.trainable_weights, strict=True):
            np.testing.assert_array_equal(old, new.numpy())
    finally:
        keras.backend.set_floatx("float32")


@pytest.mark.parametrize(
    "bad",
    [(1,), [1, 2], np.zeros(3), 3, "data", iter([(np.zeros(1), np.zeros(1))]), (each for each in [(X1, X1)])],
    ids=["single", "list", "array", "number", "text", "iterator", "generator"],
)
def test_malformed_validation_data_is_refused_before_training(bad):
    with pytest.raises(ValueError, match="validation_data must be.*Received: "):
        tfmot_swd.UpdatePruningStep(bad)


def test_validation_data_without_end_is_refused_before_training():
    with pytest.raises(ValueError, match=r"end: .*dataset.take\(batches\). Received: a dataset of infinite"):
        tfmot_swd.UpdatePruningStep(tf.data.Dataset.from_tensor_slices((X1, X1)).batch(1).repeat())


@pytest.mark.parametrize(
    "bad", [(X1, X1[:2]), (X1, X1, X1[:2]), ({"a": X1, "b": X1[:2]}, X1), ([X1, tf.constant(X1)], [X1[:2]])]
)
def test_validation_data_of_different_lengths_are_refused_before_training(bad):
    with pytest.raises(ValueError, match=r"as many samples in each array. Received: lengths \[2, 3\]"):
        tfmot_swd.UpdatePruningStep(bad)


class Batches(keras.utils.Sequence):
    def __len__(self) -> int:
        return 1

    def __getitem__(self, index):
        return X1, X1


@pytest.mark.parametrize(
    "good",
    [
        (X1, X1),
        (X1, None),
        ({"a": X1, "b": X1}, [X1, X1], None),
        (tf.constant(X1), X1.tolist()),
        (tf.ragged.constant([[1], [2, 3], []]), X1),
        tf.data.Dataset.from_tensor_slices((X1, X1)).batch(1),
        Batches(),
    ],
)
def test_validation_data_that_evaluate_takes_are_accepted(good):
    tfmot_swd.UpdatePruningStep(good)


@pytest.mark.parametrize("name", ["learning_rate", "training_loss"])
def test_functions_must_be_callable_before_training(name):
    with pytest.raises(TypeError, match=f"{name} must be a function .*Received: 0.1"):
        tfmot_swd.UpdatePruningStep(**{name: 0.1})


def test_a_backup_directory_must_be_a_path():
    with pytest.raises(TypeError, match="backup_dir must be the path of a directory. Received: 3"):
        tfmot_swd.UpdatePruningStep(backup_dir=3)


def test_validation_data_may_have_sample_weights(data):
    model = compiled()
    callback = tfmot_swd.UpdatePruningStep((*data, np.ones(len(data[1]))))
    model.fit(*data, batch_size=BATCH, verbose=0, callbacks=[callback])
    assert callback.final_step.after is not None


def test_training_without_the_callback_says_what_to_do(data):
    with pytest.raises(ValueError, match=r"UpdatePruningStep\(\)\] to model.fit"):
        compiled().fit(*data, batch_size=BATCH, verbose=0)


def test_tfmots_own_callback_is_not_enough(data):
    import tensorflow_model_optimization as tfmot

    with pytest.raises(ValueError, match="TFMOT's own UpdatePruningStep does not"):
        compiled().fit(*data, batch_size=BATCH, verbose=0, callbacks=[tfmot.sparsity.keras.UpdatePruningStep()])


def test_a_schedule_longer_than_the_fit_is_an_error(data):
    with pytest.raises(ValueError, match="Received: end_step=25, epochs=1, steps=24"):
        fit(compiled(schedule(end_step=STEPS + 1)), data)


def test_validation_data_shows_the_model_before_and_after_the_cut(data):
    model = compiled()
    callback = tfmot_swd.UpdatePruningStep(validation_data=data)
    history = model.fit(*data, batch_size=BATCH, verbose=0, callbacks=[callback]).history
    report = callback.final_step
    assert report is not None
    assert report.before is not None
    assert report.after is not None
    assert report.removed == int(0.8 * 231)
    assert report.before["loss"] == pytest.approx(report.after["loss"], abs=1e-4)
    # The metrics of the running epoch are not disturbed by the two evaluations.
    assert 0 < history["accuracy"][0] < 1


def test_summaries_reach_tensorboard(data, tmp_path):
    model = compiled()
    fit(model, data, [tfmot_swd.PruningSummaries(str(tmp_path), update_freq=8)])
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path)).Reload()
    tags = events.Tags()["tensors"]
    for name in ("shrink", "threshold", "targeted_share", "entered", "left", "sparsity/conv"):
        assert f"selective_decay/{name}" in tags
    assert [event.step for event in events.Tensors("selective_decay/threshold")] == [8, 16, 24]
