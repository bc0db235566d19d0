"""The numbers of a wrapped model at a moment of its training, against hand counts."""

import numpy as np
import pytest
import tf_keras as keras

from tfmot_swd import SelectiveDecay, UpdatePruningStep, prune_selective_decay
from tfmot_swd.swd.final_step import take_final_step
from tfmot_swd.swd.monitor import Monitor
from tfmot_swd.swd.weight_pool import WeightPool

L = keras.layers
KERNEL = np.array([[0.1], [-0.2], [0.3], [-0.4]], np.float32)


def pool_of(schedule, optimizer=None, kernel=KERNEL) -> tuple[keras.Model, WeightPool]:
    net = keras.Sequential([L.Dense(1, use_bias=False, input_shape=(4,), name="dense")])
    net.set_weights([kernel])
    pruned = prune_selective_decay(net, schedule)
    pruned.compile(optimizer or keras.optimizers.SGD(0.0), "mse")
    pool = WeightPool.of(pruned)
    pool.join(pruned.optimizer)
    return pruned, pool


def coupled(**changes) -> SelectiveDecay:
    return SelectiveDecay.paper(0.5, **{"end_step": 4, "mu": 5e-4, "a_min": 10.0, "a_max": 10.0, **changes})


def begin_update(pruned) -> None:
    pruned(np.zeros((1, 4), np.float32), training=True)


def test_the_status_of_a_coupled_run():
    pruned, pool = pool_of(coupled())
    begin_update(pruned)
    status = Monitor(pool).status()

    assert (status.step, status.prunable_weights, status.targeted, status.targeted_share) == (1, 4, 2, 0.5)
    assert (status.target_sparsity, status.a, status.shrink) == (0.5, 10.0, None)
    assert status.threshold == np.float32(0.3)
    # mu · a / 2 · (.1² + .2²)
    assert status.penalty == pytest.approx(1.25e-4)
    assert (status.sparsity, status.is_pruned) == ({"dense": 0.0}, False)


def test_the_status_of_an_implicit_run_has_no_penalty():
    schedule = SelectiveDecay(0.5, 4, ramp=0.0, mu=0.01, a_min=100.0, a_max=100.0)
    pruned, pool = pool_of(schedule, keras.optimizers.SGD(0.1, momentum=0.9))
    begin_update(pruned)
    status = Monitor(pool).status()

    assert (status.penalty, status.a) == (0.0, 100.0)
    assert status.shrink == pytest.approx(1.0)


def test_the_automatic_strength_has_no_a():
    schedule = SelectiveDecay(0.5, 4)
    pruned, pool = pool_of(schedule)
    begin_update(pruned)
    begin_update(pruned)
    status = Monitor(pool).status()

    assert status.a is None
    # Two forward passes of one update: the clock of the optimizer stood still.
    assert status.step == 1
    assert status.shrink == pytest.approx(float(schedule.shrink(0)))


def test_before_the_first_update_nothing_is_targeted():
    _, pool = pool_of(coupled())
    status = Monitor(pool).status()

    assert (status.step, status.targeted, status.threshold) == (0, 0, 0.0)


def test_who_entered_and_who_left_since_the_last_status():
    pruned, pool = pool_of(coupled(frequency=1))
    monitor = Monitor(pool)
    kernel = pruned.layers[0].layer.kernel
    begin_update(pruned)
    first = monitor.status()
    kernel.assign([[0.9], [-0.2], [0.25], [-0.4]])
    pruned.optimizer.iterations.assign_add(1)
    begin_update(pruned)
    second = monitor.status()

    assert (first.entered, first.left) == (0, 0)
    assert second.threshold == np.float32(0.4)
    # .1 rose to .9 and left; .3 fell to .25 and entered.
    assert (second.entered, second.left) == (1, 1)


def test_the_cut_report():
    pruned, pool = pool_of(coupled())
    report = take_final_step(pool)

    assert (report.step, report.removed) == (0, 2)
    assert report.largest_removed == pytest.approx(0.2)
    assert report.removed_norm == pytest.approx((0.05 / 0.30) ** 0.5)
    assert pruned.layers[0].layer.kernel.numpy().ravel().tolist() == [0, 0, *KERNEL[2:].ravel()]
    status = Monitor(pool).status()
    assert (status.is_pruned, status.sparsity) == (True, {"dense": 0.5})


def test_a_cut_of_all_zero_weights_has_norm_zero():
    _, pool = pool_of(coupled(), kernel=np.zeros((4, 1)))
    report = take_final_step(pool)

    # All equal: the threshold is zero, and nothing is below it.
    assert (report.removed, report.largest_removed, report.removed_norm) == (0, 0.0, 0.0)


def test_logs_hold_what_applies():
    pruned, pool = pool_of(coupled())
    begin_update(pruned)
    assert set(Monitor(pool).status().logs()) == {
        "target_sparsity",
        "targeted_share",
        "targeted_kernel_share",
        "threshold",
        "a",
        "penalty",
    }

    pruned, pool = pool_of(SelectiveDecay(0.5, 4))
    begin_update(pruned)
    assert set(Monitor(pool).status().logs()) == {
        "target_sparsity",
        "targeted_share",
        "targeted_kernel_share",
        "threshold",
        "shrink",
    }


def test_weights_that_became_nan_in_training_end_it_with_words():
    pruned, _ = pool_of(SelectiveDecay(0.5, 4))
    x = np.full((2, 4), np.nan, np.float32)

    pruned.compile(keras.optimizers.SGD(1.0), "mse")
    with pytest.raises(ValueError, match=r"NaN or infinite.*lower the learning rate.*Received: NaN or infinity"):
        pruned.fit(x, np.zeros((2, 1)), epochs=4, verbose=0, callbacks=[UpdatePruningStep()])
