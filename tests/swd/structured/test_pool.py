"""Which channels are targeted, what is decayed of them, and what the cut leaves."""

import numpy as np
import pytest
import tf_keras as keras

import tfmot_swd
from tests.pgp.nets import begun, layer_of, network, residual, sgd
from tfmot_swd import StructuredDecay, prune_selective_decay
from tfmot_swd.swd.structured.pool import ChannelPool

# Of the network's 8 + 6 channels: a owns 18 + 4 + 24 each (with statistics 2 more), b 33 + 1 + 16·3.
GAMMAS = [0.9, 0.1, 0.8, 0.2, 0.7, 0.3, 0.6, 0.4]


def wrapped(budget=0.5, net=None, **changes) -> keras.Model:
    net = net or network()
    if any(each.name == "norm" for each in net.layers):
        layer_of(net, "norm").gamma.assign(GAMMAS)
    return prune_selective_decay(net, StructuredDecay(budget, **{"end_step": 4, "ramp": 0.0, **changes}))


def joined(model: keras.Model) -> ChannelPool:
    model.optimizer = sgd()
    pool = ChannelPool.of(model)
    pool.join(model.optimizer)
    return pool


def keep_of(pool: ChannelPool, name: str) -> np.ndarray:
    return next(mask for group, mask in pool.search.split(pool.keep().numpy()).items() if group.endswith(f"_{name}"))


def test_all_equal_scales_target_nothing_yet():
    net = keras.Sequential(
        [
            keras.layers.Conv2D(4, 3, use_bias=False, input_shape=(6, 6, 2), name="a"),
            keras.layers.BatchNormalization(),
            keras.layers.Flatten(),
            keras.layers.Dense(2),
        ]
    )
    pool = joined(prune_selective_decay(net, StructuredDecay(0.5, end_step=4, ramp=0.0)))
    pool.decay()
    assert pool.keep().numpy().all()
    # The cut has to meet the budget, whatever it takes.
    pool.finish()
    assert pool.left().sum() == 1


@pytest.mark.parametrize("mode", ["filter", "scale"])
def test_what_a_targeted_channel_owns_is_divided_and_nothing_else(mode):
    model = wrapped(0.6, mode=mode)
    pool = joined(model)
    before = {each.name: each.numpy() for each in model.weights}
    keep = pool.search.within(pool.scores(), pool.limits_at(0)).keep.numpy()
    keep_a, keep_b = pool.search.split(keep).values()
    assert not keep_a.all()
    assert not keep_b.all()
    # X is shrink_min at step 0.
    pool.decay()
    factor = np.float32(1 / 1.001)
    for name, axes in {
        "a/kernel": (None, keep_a),
        "norm/gamma": (keep_a,),
        "norm/beta": (keep_a,),
        "b/kernel": (keep_a, keep_b),
        "b/bias": (keep_b,),
    }.items():
        (value,) = [each for each in model.weights if each.name.endswith(f"{name}:0")]
        stays = np.ones(value.shape, bool)
        for axis, keep in enumerate(reversed(axes)):
            if keep is not None:
                shape = [1] * len(value.shape)
                shape[-1 - axis] = -1
                stays &= keep.reshape(shape)
        if mode == "scale" and name == "a/kernel":
            stays[:] = True
        if mode == "scale" and name == "b/kernel":
            # b has no batch norm of its own: its filters are decayed, and not what reads a.
            stays = np.broadcast_to(keep_b, value.shape)
        expected = np.where(stays, before[value.name], before[value.name] * factor)
        np.testing.assert_allclose(value.numpy(), expected, rtol=1e-6, err_msg=name)
    head = layer_of(model, "head").kernel
    rows = np.tile(keep_b, 9)[:, None]
    expected = before[head.name] * (1.0 if mode == "scale" else np.where(rows, 1.0, factor))
    np.testing.assert_allclose(head.numpy(), expected, rtol=1e-6)


def test_the_penalty_is_that_of_the_targeted_slices():
    model = wrapped(0.3, penalty="coupled", mu=0.1, a_min=2.0, a_max=2.0)
    callback = begun(model)
    pool = callback._run._pool
    pool.advance()
    keep_a, keep_b = keep_of(pool, "a"), keep_of(pool, "b")
    weights = {name: layer_of(model, name) for name in ("a", "norm", "b", "head")}
    squares = (weights["a"].kernel.numpy()[..., ~keep_a] ** 2).sum()
    squares += (weights["norm"].gamma.numpy()[~keep_a] ** 2).sum() + (weights["norm"].beta.numpy()[~keep_a] ** 2).sum()
    stays = keep_a[:, None] & keep_b
    squares += (weights["b"].kernel.numpy() ** 2 * ~stays).sum() + (weights["b"].bias.numpy()[~keep_b] ** 2).sum()
    squares += (weights["head"].kernel.numpy()[~np.tile(keep_b, 9)] ** 2).sum()
    assert float(pool.penalty(pool.leader)) == pytest.approx(0.1 * 2.0 / 2 * squares, rel=1e-5)
    assert sum(float(pool.penalty(each)) for each in pool.wrappers[1:]) == 0.0


@pytest.mark.parametrize("build", [network, residual])
@pytest.mark.parametrize("rate", [0.3, 0.6, 0.85])
@pytest.mark.parametrize("scope", ["global", "layer"])
def test_the_cut_leaves_what_the_budget_allows_to_the_parameter(build, rate, scope):
    net = build()
    pool = joined(wrapped(rate, net, scope=scope))
    assert pool.limits.whole["parameters"] == net.count_params()
    scores = pool.scores().numpy()
    pool.finish()
    limit = int((1 - rate) * net.count_params() + 1e-6)
    (left,) = pool.search.costs_of(pool.left())
    assert left <= limit
    # The best of the channels that have left would be too much.
    more = pool.left()
    more[np.flatnonzero(~more)[np.argmax(scores[~more])]] = True
    (over,) = pool.search.costs_of(more)
    assert over > limit


def test_the_stripped_model_is_the_net_that_was_counted():
    net = residual()
    model = wrapped(0.6, net)
    pool = joined(model)
    pool.finish()
    (left,) = pool.search.costs_of(pool.left())
    small = tfmot_swd.strip_pruning(model)
    x = np.random.default_rng(0).normal(size=(4, *net.input_shape[1:])).astype(np.float32)
    assert small.count_params() == left == tfmot_swd.profile(small).parameters
    np.testing.assert_allclose(small(x), model(x), atol=1e-5)
    full = tfmot_swd.strip_pruning(model, remove_channels=False)
    assert full.count_params() == net.count_params()


def test_several_networks_in_one_model_are_refused():
    class Both(keras.Model):
        def __init__(self):
            super().__init__()
            self.first, self.second = wrapped(), wrapped()

        def call(self, inputs):
            return self.first(inputs) + self.second(inputs)

    model = Both()
    model(np.zeros((1, 6, 6, 2), np.float32))
    with pytest.raises(ValueError, match="A budget applies to one network.*Received: net, net"):
        ChannelPool.of(model)
