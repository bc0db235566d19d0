"""Floors under what each kernel keeps: counts to the weight, in arithmetic, in graph and in whole trainings."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

import tfmot_swd
from tfmot_swd.swd.floors import ThresholdSelection, floors_of
from tfmot_swd.swd.monitor import Monitor
from tfmot_swd.swd.weight_pool import WeightPool

L = keras.layers
STEPS = 12
RNG = np.random.default_rng(0)
X = RNG.normal(size=(STEPS * 4, 8)).astype(np.float32)
Y = RNG.integers(0, 3, STEPS * 4)


@pytest.mark.parametrize(
    ("minimum", "rate", "sizes", "kernels", "floors"),
    [
        (0.1, 0.9, [1000, 50, 10], [True, True, False], [10, 1, 0]),
        (1.0, 0.9, [1000, 50, 10], [True, True, False], [100, 5, 0]),
        (0.0, 0.9, [1000, 50], [True, True], [0, 0]),
        (0, 0.9, [1000, 50], [True, True], [0, 0]),
        (7, 0.9, [1000, 5, 10], [True, True, False], [7, 5, 0]),
        # One weight is left for three kernels: no floor can hold.
        (0.1, 0.9, [4, 4, 4], [True, True, True], [0, 0, 0]),
        # A tenth of 1 % of 1,000, though .1 · (1 - .99) is a little more than .001.
        (0.1, 0.99, [1000], [True], [1]),
    ],
)
def test_floors_by_hand(minimum, rate, sizes, kernels, floors):
    assert floors_of(minimum, rate, sizes, kernels) == floors


@pytest.mark.parametrize(
    ("minimum", "sizes", "floors"),
    [
        # 11 are left of 51, of the 12 asked for.
        (6, [32, 19], [5, 5]),
        # 4 are left of 16: 16 asked for in all; the kernel of one weight keeps it.
        (10, [10, 5, 1], [2, 1, 1]),
        # One is left for three kernels: no floor can hold.
        (2, [2, 2, 1], [0, 0, 0]),
        (2, [32, 19], [2, 2]),
    ],
)
def test_counts_are_capped_where_few_layers_are_trained(minimum, sizes, floors):
    rate = 0.75 if sum(sizes) == 16 else 0.8
    assert floors_of(minimum, rate, sizes, [True] * len(sizes), capped=True) == floors


def test_a_count_that_the_rate_does_not_leave_is_refused_when_the_model_is_wrapped():
    net = keras.Sequential([L.Dense(4, input_shape=(8,)), L.Dense(3)])
    schedule = tfmot_swd.SelectiveDecay(0.8, 10, minimum_kept=6)
    with pytest.raises(ValueError, match=r"leaves 11 of 51 weights.*Received: minimum_kept=6, .*, 2 kernels"):
        tfmot_swd.prune_selective_decay(net, schedule)


def limits(weights, k, floors, guess=0.0, held=None, static=False, own=0.5):
    selection = ThresholdSelection(tuple(np.size(each) for each in weights), tuple(floors))
    tensors = [tf.constant(each, tf.float32) for each in weights]
    last = None if held is None else tf.constant(np.where(held, own * guess, guess), tf.float32)
    threshold, own = selection.limits(tensors, tf.constant(k), tf.constant(guess), last, static=static)
    return float(threshold), own.numpy().tolist()


@pytest.mark.parametrize("static", [False, True])
def test_limits_by_hand(static):
    small, large = [0.1, 0.2, 0.3], [1.0, 2.0, 3.0, 4.0]

    def limits_of(k, floors):
        return limits([small, large], k, floors, static=static)

    # Three of seven: all of the small ones, where nothing holds them.
    assert limits_of(3, [0, 1]) == (1.0, [1.0, 1.0])
    # With a floor of one .3 stays, and 1 goes in its place.
    threshold, own = limits_of(3, [1, 1])
    assert (threshold, own) == (2.0, [pytest.approx(0.3), 2.0])
    # As few are left as the floors ask for: a threshold just above the largest of the others.
    threshold, own = limits_of(5, [1, 1])
    assert 3.0 < threshold < 3.001
    assert own == [pytest.approx(0.3), threshold]


@pytest.mark.parametrize("static", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_as_many_are_targeted_and_each_keeps_its_floor(seed, static):
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 60, 4)
    weights = [(rng.normal(size=size) * 10.0 ** rng.integers(-3, 2)).astype(np.float32) for size in sizes]
    pool = np.sort(np.abs(np.concatenate(weights)))
    k = int(rng.integers(0, pool.size))
    floors = [int(rng.integers(0, size * (pool.size - k) // pool.size + 1)) for size in sizes]
    for guess in (0.0, float(pool[k]), float(pool[k]) * 1.004, 1e30):
        # None, some and all were held before: what is kept does not depend on it.
        for held in (None, rng.integers(0, 2, 4).astype(bool), [True] * 4):
            _, own = limits(weights, k, floors, guess, held, static)
            kept = [int((np.abs(each) >= limit).sum()) for each, limit in zip(weights, own, strict=True)]
            assert sum(kept) == pool.size - k
            assert all(left >= floor for left, floor in zip(kept, floors, strict=True))
            for each, limit, left, floor in zip(weights, own, kept, floors, strict=True):
                # Within a kernel it is the largest that stay, and only a floor keeps what is below the threshold.
                assert left == 0 or np.abs(each)[np.abs(each) >= limit].min() >= np.sort(np.abs(each))[-left]
                assert left == floor or limit == max(own)


@pytest.mark.parametrize("static", [False, True])
@pytest.mark.parametrize("seed", range(6))
def test_floors_of_some_give_the_thresholds_of_all_with_ties_too(seed, static):
    rng = np.random.default_rng(seed)
    weights = [rng.integers(0, 6, size).astype(np.float32) * scale for size, scale in ((9, 1.0), (5, 0.5), (12, 2.0))]
    for k in range(0, 26, 5):
        floors = [int(rng.integers(0, size * (26 - k) // 26 + 1)) for size in (9, 5, 12)]
        every = limits(weights, k, floors, 2.0, [True] * 3, static)
        for held in (None, *(np.arange(3) == first for first in range(3))):
            assert limits(weights, k, floors, 2.0, held, static) == every


@pytest.mark.parametrize("static", [False, True])
def test_of_ties_as_many_stay_where_no_floor_held_before(static):
    # The threshold of two of four is 1, and both ones of the first would stay by it, as would that of the second.
    for held in (None, [True, False]):
        assert limits([[1.0, 1.0], [1.0, 5.0]], 1, [1, 0], 2.0, held, static) == (5.0, [1.0, 5.0])


def net(small: float = 0.01) -> keras.Model:
    keras.utils.set_random_seed(1)
    start = keras.initializers.RandomUniform(-small, small)
    layers = [L.Dense(8, "relu", kernel_initializer=start, input_shape=(8,), name="small"), L.Dense(16, "relu")]
    return keras.Sequential([*layers, L.Dense(3, name="head")])


POOL = 8 * 8 + 8 + 8 * 16 + 16 + 16 * 3 + 3


def trained(schedule, optimizer=None, callback=None, **blocks):
    model = tfmot_swd.prune_selective_decay(net(), schedule, **blocks)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    # So slow that the small layer stays small.
    model.compile(optimizer or keras.optimizers.SGD(1e-3), loss)
    callbacks = [callback or tfmot_swd.UpdatePruningStep()]
    model.fit(X, Y, batch_size=4, shuffle=False, verbose=0, callbacks=callbacks)
    return model


def kept(model) -> dict[str, int]:
    return {row.layer: row.nonzero_prunable_weights for row in tfmot_swd.sparsity_report(model).layers}


@pytest.mark.parametrize(
    "changes",
    [{}, {"frequency": 5}, {"targets": "all"}, {"penalty": "coupled", "mu": 5e-4, "a_min": 1.0, "a_max": 100.0}],
    ids=["default", "every fifth", "all targets", "coupled"],
)
def test_a_training_ends_at_its_rate_with_every_layer_alive(changes):
    callback = tfmot_swd.UpdatePruningStep()
    with pytest.warns(tfmot_swd.PruningWarning, match="Only minimum_kept keeps.*Received: 'small' .1 stay by"):
        model = trained(tfmot_swd.SelectiveDecay(0.7, STEPS, **changes), callback=callback)
    found = next(value for name, value in kept(model).items() if "small" in name)
    # int(.1 · .3 · 64) = 1, and biases that are still zero have no floor.
    assert found == 1
    assert sum(kept(model).values()) == POOL - int(0.7 * POOL)
    assert callback.final_step.floored == callback.history[-1].floored == ("small",)


def test_without_a_floor_the_layer_is_lost_and_named_before_training_and_at_its_end():
    schedule = tfmot_swd.SelectiveDecay(0.7, STEPS, minimum_kept=0)
    with pytest.warns(tfmot_swd.PruningWarning) as told:
        model = trained(schedule)
    messages = [str(each.message) for each in told if "'small'" in str(each.message)]
    assert [message.split(" ")[:4] for message in messages] == [
        ["At", "the", "final", "rate"],
        ["The", "final", "pruning", "step"],
    ]
    assert all("no minimum_kept" in message for message in messages)
    assert next(value for name, value in kept(model).items() if "small" in name) == 0
    assert sum(kept(model).values()) == POOL - int(0.7 * POOL)


def test_whole_blocks_stay_by_a_floor():
    schedule = tfmot_swd.SelectiveDecay(0.7, STEPS, minimum_kept=6)
    model = trained(schedule, block_size=(4, 1))
    kernel = tfmot_swd.strip_pruning(model, remove_channels=False).get_layer("small").kernel.numpy()
    tiles = (kernel.reshape(2, 4, 8) != 0).sum(axis=1)
    # Six weights are a block and a half: two blocks stay whole.
    assert sorted(tiles[tiles > 0].tolist()) == [4, 4]
    assert 0 <= sum(kept(model).values()) - (POOL - int(0.7 * POOL)) < 4


def test_a_full_share_keeps_as_much_of_every_kernel_and_gives_what_biases_leave_to_the_largest():
    model = trained(tfmot_swd.SelectiveDecay(0.75, STEPS, minimum_kept=1.0))
    small = tfmot_swd.strip_pruning(model, remove_channels=False)
    left = [int((weight.numpy() != 0).sum()) for weight in small.trainable_weights[::2]]
    assert left[0] == 16
    assert left[1] >= 32
    assert left[2] >= 12
    assert sum(kept(model).values()) == POOL - int(0.75 * POOL)


@pytest.mark.parametrize("optimizer", [keras.optimizers.SGD, keras.optimizers.Adam])
def test_a_floor_that_does_not_bind_changes_no_bit(optimizer):
    """A usual start: each kernel keeps far more than a tenth of its share."""
    runs = []
    for minimum in (0, 0.1):
        keras.utils.set_random_seed(2)
        plain = keras.Sequential([L.Dense(8, "relu", input_shape=(8,)), L.Dense(16, "relu"), L.Dense(3)])
        schedule = tfmot_swd.SelectiveDecay(0.7, STEPS, minimum_kept=minimum)
        model = tfmot_swd.prune_selective_decay(plain, schedule)
        model.compile(optimizer(0.05), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        callback = tfmot_swd.UpdatePruningStep(update_freq=1)
        model.fit(X, Y, batch_size=4, shuffle=False, verbose=0, callbacks=[callback])
        assert callback.final_step.floored == ()
        runs.append((model.get_weights(), [(each.threshold, each.targeted) for each in callback.history]))
    assert runs[0][1] == runs[1][1]
    for without, held in zip(runs[0][0], runs[1][0], strict=True):
        np.testing.assert_array_equal(without, held)


def test_a_status_says_which_layers_are_held_and_counts_what_is_targeted():
    model = tfmot_swd.prune_selective_decay(net(), tfmot_swd.SelectiveDecay(0.7, STEPS, ramp=0.0))
    model.compile(keras.optimizers.SGD(0.0), "mse")
    pool = WeightPool.of(model)
    pool.join(model.optimizer)
    model(X[:4], training=True)
    status = Monitor(pool).status()
    assert status.floored == ("small",)
    assert status.targeted == int(0.7 * POOL)


def targeted_of(pool: WeightPool) -> np.ndarray:
    """Returns for each prunable weight whether it is below its threshold."""
    return np.concatenate([~mask.numpy().ravel() for _, mask in pool.decayed()])


def test_a_file_goes_on_with_the_floors_that_its_weights_show(tmp_path):
    schedule = tfmot_swd.SelectiveDecay(0.7, STEPS, ramp=0.0, frequency=STEPS)
    model = tfmot_swd.prune_selective_decay(net(), schedule)
    model.compile(keras.optimizers.SGD(0.0), "mse")
    pool = WeightPool.of(model)
    pool.join(model.optimizer)
    model(X[:4], training=True)
    targeted = targeted_of(pool)
    model.save(tmp_path / "begun.keras")
    loaded = keras.models.load_model(tmp_path / "begun.keras")
    again = WeightPool.of(loaded)
    again.join(loaded.optimizer)
    # What had been targeted is decayed by a thousandth, and no weight has passed another one.
    np.testing.assert_array_equal(targeted_of(again), targeted)
    assert again.floored() == ("small",)


def test_files_of_schedules_without_the_field_load():
    config = tfmot_swd.SelectiveDecay(0.7, STEPS).get_config()["config"]
    del config["minimum_kept"]
    assert tfmot_swd.SelectiveDecay.from_config(config) == tfmot_swd.SelectiveDecay(0.7, STEPS)


def test_the_published_method_has_no_floor():
    assert tfmot_swd.SelectiveDecay.paper(0.9, 10).minimum_kept == 0


@pytest.mark.parametrize("bad", [-1, 1.5, -0.1, True, "all", None, float("nan")])
def test_what_is_no_floor_is_refused(bad):
    with pytest.raises(ValueError, match="minimum_kept must be a count.*Received: minimum_kept="):
        tfmot_swd.SelectiveDecay(0.7, 10, minimum_kept=bad)


@pytest.mark.parametrize("zeros", [24, 20])
def test_weights_that_are_zero_already_take_no_place(zeros):
    """A kernel that is zero, or nearly so, has fewer weights to keep than its floor."""
    keras.utils.set_random_seed(0)
    net = keras.Sequential(
        [
            keras.layers.Dense(4, use_bias=False, input_shape=(6,), name="first"),
            keras.layers.Dense(6, use_bias=False, name="empty"),
            keras.layers.Dense(4, use_bias=False, name="last"),
        ]
    )
    values = np.zeros(24, np.float32)
    values[zeros:] = 1e-3
    net.get_layer("empty").set_weights([values.reshape(4, 6)])
    pruned = tfmot_swd.prune_selective_decay(net, tfmot_swd.SelectiveDecay(0.5, end_step=8, minimum_kept=8))

    tfmot_swd.prune_now(pruned)

    kept = [np.count_nonzero(wrapper.layer.kernel.numpy()) for wrapper in pruned.layers]
    # Of 72 weights 36 are pruned; what the empty kernel has is kept by its floor.
    assert sum(kept) == 36
    assert kept[1] == 24 - zeros


def test_the_bias_of_an_einsum_is_no_kernel(recwarn):
    layer = keras.layers.EinsumDense("abc,cde->abde", output_shape=(None, 2, 3), bias_axes="de", input_shape=(2, 4))
    pruned = tfmot_swd.prune_selective_decay(keras.Sequential([layer]), tfmot_swd.SelectiveDecay(0.5, end_step=2))
    pruned.compile("sgd", "mse")

    pruned.fit(np.ones((2, 2, 4)), np.ones((2, 2, 2, 3)), 1, verbose=0, callbacks=[tfmot_swd.UpdatePruningStep()])

    assert not [each for each in recwarn if "all weights" in str(each.message)]


def test_limits_are_those_of_the_layers_that_are_trained_now():
    model = tfmot_swd.prune_selective_decay(net(), tfmot_swd.SelectiveDecay(0.8, 1000, frequency=50, minimum_kept=4))
    model.compile(keras.optimizers.SGD(0.0), "mse")
    small, middle, head = model.layers
    seen = []
    for frozen in (head, middle):
        small.trainable = middle.trainable = head.trainable = True
        frozen.trainable = False
        pool = WeightPool.of(model)
        pool.leader.threshold.assign(1e6)
        pool.join(model.optimizer)
        # No weight reaches the threshold, so each kernel keeps its floor.
        kept = [int(mask.numpy().sum()) for weight, mask in pool.decayed() if id(weight) in pool.kernels]
        seen.append(kept)
        pool.leave()

    assert seen == [[4, 4], [4, 4]]
