"""Transfer learning: a model is wrapped while its base is frozen, trained, unfrozen and fine-tuned."""

import functools
import warnings

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

import tfmot_swd
from tfmot_swd.keras2.layer_weights import kernels_of
from tfmot_swd.pruning.wrapped_models import collect_wrappers
from tfmot_swd.pruning.wrapper import PruningWrapper

L = keras.layers
STEPS, BATCH = 3, 4
UPDATES = 2 * STEPS
X = np.random.default_rng(0).normal(size=(STEPS * BATCH, 32, 32, 3)).astype("float32")
Y = np.random.default_rng(1).integers(0, 3, STEPS * BATCH)


def small_base() -> keras.Model:
    return keras.Sequential(
        [
            L.Conv2D(6, 3, activation="relu", input_shape=(16, 16, 3), name="one"),
            L.BatchNormalization(name="norm"),
            L.Conv2D(8, 3, activation="relu", name="two"),
        ],
        name="base",
    )


@functools.cache
def mobile_net() -> keras.Model:
    return keras.applications.MobileNetV2((32, 32, 3), alpha=0.35, include_top=False, weights=None)


def mobile_base() -> keras.Model:
    """The beginning of MobileNetV2; the whole of it behaves alike and takes minutes."""
    whole = mobile_net()
    base = keras.Model(whole.input, whole.get_layer("block_2_add").output, name="base")
    copy = keras.models.clone_model(base)
    copy.set_weights(base.get_weights())
    return copy


def transfer(base: keras.Model, hidden: int = 0, pinned: bool = True) -> keras.Model:
    """The model of Keras's guide to transfer learning."""
    base.trainable = False
    inputs = keras.Input(base.input_shape[1:])
    x = L.GlobalAveragePooling2D()(base(inputs, training=False) if pinned else base(inputs))
    x = L.Dense(hidden, activation="relu", name="hidden")(x) if hidden else x
    return keras.Model(inputs, L.Dense(3, name="head")(x))


def fit(model: keras.Model, epochs: int = 1, **options):
    model.compile(keras.optimizers.SGD(0.01), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    callback = tfmot_swd.UpdatePruningStep(**options)
    model.fit(images(model), Y, batch_size=BATCH, epochs=epochs, shuffle=False, verbose=0, callbacks=[callback])
    return callback


def images(model: keras.Model) -> np.ndarray:
    size = model.input_shape[1]
    return X[:, :size, :size]


def unfreeze(model: keras.Model) -> None:
    next(layer for layer in model.layers if isinstance(layer, keras.Model)).trainable = True


def in_two_phases(model: keras.Model, second: int = 1):
    """Trains as the guide does, and checks that the first phase left the base alone."""
    base = next(layer for layer in model.layers if isinstance(layer, keras.Model))
    before = [each.numpy() for each in kernels_of(base)]
    fit(model, partial_fit=True)
    for value, now in zip(before, kernels_of(base), strict=True):
        np.testing.assert_array_equal(value, now.numpy())
    unfreeze(model)
    return fit(model, second)


def weights_schedule(**options) -> tfmot_swd.SelectiveDecay:
    return tfmot_swd.SelectiveDecay(0.8, begin_step=STEPS, end_step=UPDATES, **options)


def test_weights_end_at_the_rate():
    model = tfmot_swd.prune_selective_decay(transfer(mobile_base()), weights_schedule())
    callback = in_two_phases(model)
    report = tfmot_swd.sparsity_report(tfmot_swd.strip_pruning(model, remove_channels=False))
    assert report.prunable_weights == callback.history[-1].prunable_weights
    assert abs(report.prunable_weights - report.nonzero_prunable_weights - 0.8 * report.prunable_weights) <= 1
    assert callback.final_step.step == UPDATES


def test_channels_end_within_the_budget():
    net = transfer(mobile_base())
    whole = tfmot_swd.profile(net).macs
    schedule = tfmot_swd.StructuredDecay(tfmot_swd.Budget(macs=0.5), begin_step=STEPS, end_step=UPDATES)
    model = tfmot_swd.prune_selective_decay(net, schedule)
    in_two_phases(model)
    small = tfmot_swd.strip_pruning(model)
    # Within the budget, and with no more to spare than the cheapest channels cost.
    assert 0.4 * whole < tfmot_swd.profile(small).macs <= 0.5 * whole
    np.testing.assert_allclose(
        small.predict(images(model), verbose=0), model.predict(images(model), verbose=0), atol=1e-5
    )


def test_filters_end_at_the_rate():
    net = transfer(mobile_base())
    widths = {row.group: row.channels for row in tfmot_swd.plan_channels(net).wrapped}
    assert tfmot_swd.plan_channels(net).ranked == ()
    model = tfmot_swd.prune_progressive_gradient(net, tfmot_swd.ProgressiveRate(0.5, 2, curve="linear"), "l1")
    callback = in_two_phases(model, second=2)
    assert [status.epoch for status in callback.history] == [1, 2]
    left = callback.history[-1].sizes
    assert left == {name: size - size // 2 for name, size in widths.items()}


def test_one_fit_after_a_model_was_wrapped_frozen():
    model = tfmot_swd.prune_selective_decay(transfer(small_base()), tfmot_swd.SelectiveDecay(0.8, end_step=STEPS))
    unfreeze(model)
    fit(model)
    report = tfmot_swd.sparsity_report(tfmot_swd.strip_pruning(model, remove_channels=False))
    assert report.nonzero_prunable_weights == report.prunable_weights - int(0.8 * report.prunable_weights)


@pytest.mark.parametrize("ending", [".keras", ""])
def test_saved_between_the_phases(ending, tmp_path):
    model = tfmot_swd.prune_selective_decay(transfer(small_base()), weights_schedule(targets="all"))
    fit(model, partial_fit=True)
    model.save(tmp_path / f"model{ending}")
    other = keras.models.load_model(tmp_path / f"model{ending}")
    for each in (model, other):
        unfreeze(each)
        fit(each)
    one, two = (tfmot_swd.strip_pruning(each, remove_channels=False) for each in (model, other))
    for value, again in zip(one.get_weights(), two.get_weights(), strict=True):
        np.testing.assert_allclose(value, again, atol=1e-6)
    report = tfmot_swd.sparsity_report(two)
    assert report.nonzero_prunable_weights == report.prunable_weights - int(0.8 * report.prunable_weights)


@pytest.mark.parametrize("schedule", ["weights", "channels", "filters"])
def test_a_base_that_stays_frozen_is_told(schedule):
    net = transfer(small_base(), hidden=8)
    if schedule == "weights":
        model = tfmot_swd.prune_selective_decay(net, tfmot_swd.SelectiveDecay(0.8, end_step=STEPS))
    elif schedule == "channels":
        model = tfmot_swd.prune_selective_decay(net, tfmot_swd.StructuredDecay(0.1, end_step=STEPS))
    else:
        rate = tfmot_swd.ProgressiveRate(0.5, epochs=1)
        model = tfmot_swd.prune_progressive_gradient(net, rate, "l1", layers="all")
    base = sum(int(each.shape.num_elements()) for each in kernels_of(model.get_layer("base")))
    whole = sum(int(each.shape.num_elements()) for each in kernels_of(model))
    with pytest.warns(tfmot_swd.PruningWarning, match=rf"stay dense.*Received: one, two, {base} of {whole} kernel w"):
        callback = fit(model)
    if schedule == "weights":
        # The rate is that of what was trained, and the headline over all kernels tells the rest.
        report = tfmot_swd.sparsity_report(tfmot_swd.strip_pruning(model, remove_channels=False))
        pool = 8 * 8 + 8 + 8 * 3 + 3
        assert callback.history[-1].prunable_weights == pool
        assert report.prunable_weights - report.nonzero_prunable_weights == int(0.8 * pool)
        assert report.kernels == whole
        assert callback.history[-1].logs()["targeted_kernel_share"] < 0.15


def test_what_is_left_out_by_name_is_no_news():
    net = transfer(small_base(), hidden=8)
    schedule = tfmot_swd.SelectiveDecay(0.8, end_step=STEPS)
    model = tfmot_swd.prune_selective_decay(net, schedule, skip=["one", "two"])
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "Layers that are wrapped", tfmot_swd.PruningWarning)
        fit(model)


@pytest.mark.parametrize("kind", ["weights", "channels", "filters"])
def test_a_first_phase_without_anything_to_prune(kind):
    """The clock of a decay goes on, the epochs of filters wait; nothing changes but what is trained."""
    net = transfer(small_base())
    if kind == "weights":
        model = tfmot_swd.prune_selective_decay(net, weights_schedule(), skip=["head"])
    elif kind == "channels":
        schedule = tfmot_swd.StructuredDecay(0.5, begin_step=STEPS, end_step=UPDATES)
        model = tfmot_swd.prune_selective_decay(net, schedule)
    else:
        model = tfmot_swd.prune_progressive_gradient(net, tfmot_swd.ProgressiveRate(0.5, epochs=1), "l1")
    with pytest.raises(ValueError, match=r"partial_fit=True\) in the first phase.*Received: "):
        fit(model)
    callback = fit(model, partial_fit=True)
    assert callback.history == []
    clock = max(int(each.pruning_step.numpy()) for each in collect_wrappers(model, PruningWrapper))
    assert clock == (0 if kind == "filters" else STEPS)
    unfreeze(model)
    fit(model)
    small = tfmot_swd.sparsity_report(tfmot_swd.strip_pruning(model, remove_channels=kind != "weights"))
    assert small.nonzero_kernels < 0.7 * tfmot_swd.sparsity_report(net).kernels


def test_a_schedule_that_begins_while_all_is_frozen_is_told():
    schedule = tfmot_swd.SelectiveDecay(0.8, begin_step=1, end_step=3 * STEPS)
    model = tfmot_swd.prune_selective_decay(transfer(small_base()), schedule, skip=["head"])
    with pytest.warns(tfmot_swd.PruningWarning, match="begun while all.*update 3, begin_step=1, end_step=9, 2") as told:
        fit(model, 2, partial_fit=True)
    assert sum("begun while all" in str(each.message) for each in told) == 1


def test_a_schedule_that_ends_while_all_is_frozen_is_refused_once_layers_are_trained():
    schedule = tfmot_swd.SelectiveDecay(0.8, end_step=STEPS)
    model = tfmot_swd.prune_selective_decay(transfer(small_base()), schedule, skip=["head"])
    with pytest.warns(tfmot_swd.PruningWarning, match="begun while all"):
        fit(model, partial_fit=True)
    unfreeze(model)
    with pytest.raises(ValueError, match="passed without a decay.*Received: 3 updates made, begin_step=0, end_step=3"):
        fit(model)
    tfmot_swd.prune_now(model)
    fit(model)
    tfmot_swd.strip_pruning(model)


def test_a_count_as_floor_holds_in_both_phases():
    """Of the 27 weights that are trained first the rate leaves 6, of 624 in all it leaves 125."""
    model = tfmot_swd.prune_selective_decay(transfer(small_base()), weights_schedule(minimum_kept=20))
    in_two_phases(model)
    small = tfmot_swd.strip_pruning(model, remove_channels=False)
    assert all(np.count_nonzero(kernel) >= 20 for kernel in map(np.asarray, kernels_of(small)))


def test_unfreezing_without_another_compile_is_told():
    """Keras goes by what was trainable when the model was compiled; so does the pool, and says what stays whole."""
    model = tfmot_swd.prune_selective_decay(transfer(small_base()), weights_schedule())
    fit(model, partial_fit=True)
    unfreeze(model)
    with pytest.warns(tfmot_swd.PruningWarning, match="stay dense.*compile and fit before.*Received: one, two, 594 of"):
        model.fit(images(model), Y, batch_size=BATCH, verbose=0, callbacks=[tfmot_swd.UpdatePruningStep()])
    with pytest.raises(
        ValueError, match="final pruning step has not been made.*so compile it after setting layer.trainable"
    ):
        tfmot_swd.strip_pruning(model)


@pytest.mark.parametrize(("skip", "counts"), [([], (2, 4)), (["head"], (0, 2))], ids=["head first", "nothing first"])
def test_a_step_that_was_traced_before_layers_were_unfrozen_is_refused(skip, counts):
    """Keras's fit trains what was trainable at compile; a loop's own function what was when it was traced."""
    model = tfmot_swd.prune_selective_decay(transfer(small_base()), weights_schedule(), skip=skip)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    callback = tfmot_swd.UpdatePruningStep(partial_fit=True)
    callback.set_model(model)

    def new_step():
        model.optimizer = keras.optimizers.SGD(0.01)

        @tf.function
        def step(x, y):
            with tf.GradientTape() as tape:
                value = loss(y, model(x, training=True))
            model.optimizer.minimize(value, model.trainable_variables, tape=tape)

        return step

    def run(step):
        callback.on_train_begin()
        for begin in range(0, len(Y), BATCH):
            step(images(model)[begin : begin + BATCH], Y[begin : begin + BATCH])
        callback.on_epoch_end(0)
        callback.on_train_end()

    step = new_step()
    run(step)
    unfreeze(model)
    with pytest.raises(ValueError, match=f"still prunes those.*for {counts[0]} pruned weights, and {counts[1]} that"):
        run(step)
    run(new_step())
    tfmot_swd.strip_pruning(model)


def test_layers_that_join_after_the_cut_are_cut_with_a_warning():
    model = tfmot_swd.prune_selective_decay(transfer(small_base()), tfmot_swd.SelectiveDecay(0.8, end_step=STEPS))
    with pytest.warns(tfmot_swd.PruningWarning, match="stay dense"):
        fit(model)
    tfmot_swd.strip_pruning(model)
    unfreeze(model)
    with pytest.raises(ValueError, match="final pruning step has not been made"):
        tfmot_swd.strip_pruning(model)
    with pytest.warns(tfmot_swd.PruningWarning, match="made again over all.*Received: one, two, trainable since"):
        fit(model)
    report = tfmot_swd.sparsity_report(tfmot_swd.strip_pruning(model, remove_channels=False))
    assert report.nonzero_prunable_weights == report.prunable_weights - int(0.8 * report.prunable_weights)


def test_a_budget_out_of_reach_waits_for_the_base():
    """Without a begin_step the few channels that are trained would bear the whole budget."""
    net = transfer(small_base(), hidden=8, pinned=False)
    schedule = tfmot_swd.StructuredDecay(tfmot_swd.Budget(macs=0.5), end_step=UPDATES)
    model = tfmot_swd.prune_selective_decay(net, schedule)
    first = fit(model, partial_fit=True)
    assert (first.history[-1].channels, first.history[-1].targeted) == (8, 0)
    unfreeze(model)
    fit(model)
    assert tfmot_swd.profile(tfmot_swd.strip_pruning(model)).macs <= 0.5 * tfmot_swd.profile(net).macs


def test_a_budget_out_of_reach_is_told_before_the_first_epoch():
    net = transfer(small_base(), hidden=8)
    model = tfmot_swd.prune_selective_decay(net, tfmot_swd.StructuredDecay(tfmot_swd.Budget(macs=0.5), end_step=STEPS))
    with pytest.warns(tfmot_swd.PruningWarning, match="cannot be met while so many layers are frozen.*and 8 channels"):
        fit(model)


def test_trainable_goes_through_a_wrapper_both_ways():
    model = tfmot_swd.prune_selective_decay(transfer(small_base()), weights_schedule())
    wrapper = collect_wrappers(model.get_layer("base"), PruningWrapper)[0]
    assert not wrapper.trainable
    assert not wrapper.takes_part()
    wrapper.trainable = True
    assert wrapper.layer.trainable
    assert wrapper.takes_part()
    wrapper.layer.trainable = False
    assert not wrapper.trainable
    unfreeze(model)
    assert wrapper.layer.trainable
    assert len(model.trainable_weights) == 8


def test_the_plan_tells_what_waits():
    plan = tfmot_swd.plan_pruning(transfer(small_base()))
    assert (plan.prunable_weights, plan.frozen_weights) == (27, 6 * 27 + 8 * 54)
    assert [row.layer for row in plan.pruned] == ["head"]
    assert len(plan.layers()) == 3
    text = " ".join(str(plan).split())
    assert "27 prunable weights: 24 of 618 kernel weights (3.88%); 594 more once their layers are trainable" in text
    assert "14 more once their layers are trainable" in " ".join(
        str(tfmot_swd.plan_channels(transfer(small_base()))).split()
    )
