"""Products of two tensors: matmul, einsum, tensordot and Dot, and attention written with them."""

from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from tests.channels.exactness import assert_removal_is_exact, members, reasons, sizes
from tfmot_swd import profile
from tfmot_swd.channels import channel_groups, plan_removal, remove_channels, remove_dead_channels
from tfmot_swd.costs.cost import find_cost
from tfmot_swd.costs.counts import ChannelCosts
from tfmot_swd.layers.call import LayerCall
from tfmot_swd.layers.labels import Labels, Ties
from tfmot_swd.layers.products import contracted
from tfmot_swd.layers.record import LayerRecord

L = keras.layers
PLACES = 5


def three(*widths: int) -> tuple[Any, list[Any]]:
    """An input of places, and dense layers q, k and v on it."""
    x = L.Input((PLACES, 3))
    return x, [L.Dense(width, name=name)(x) for width, name in zip(widths, "qkv", strict=False)]


def split(x: Any, heads: int, *, by_layers: bool = False) -> Any:
    """(batch, places, heads · size) → (batch, heads, places, size)."""
    size = x.shape[-1] // heads
    if by_layers:
        return L.Permute((2, 1, 3))(L.Reshape((PLACES, heads, size))(x))
    return tf.transpose(tf.reshape(x, (-1, PLACES, heads, size)), (0, 2, 1, 3))


def has_einsum(model: keras.Model) -> bool:
    """Keras cannot load what it saves of a model with tf.einsum, smaller or not."""
    return any("einsum" in layer.name for layer in model.layers)


def joined(x: Any) -> Any:
    return tf.reshape(tf.transpose(x, (0, 2, 1, 3)), (-1, PLACES, x.shape[1] * x.shape[-1]))


def test_attention_by_hand():
    x, (q, k, v) = three(6, 6, 4)
    scores = tf.nn.softmax(tf.matmul(q, k, transpose_b=True) / 3.0)
    model = keras.Model(x, L.Dense(2, name="d")(scores @ v))

    assert sizes(model) == {"q": 6, "v": 4}
    assert members(model, "q", "produce")["k.kernel[1]"] == [0, 1, 2, 3, 4, 5]
    assert members(model, "v", "consume") == {"d.kernel[0]": [0, 1, 2, 3]}
    assert_removal_is_exact(model, save=True, tflite=True, train=True)


def test_the_terms_of_removed_channels_are_dropped():
    """By hand: q·k = 1·2 + 3·4 is 2 without the second channel."""
    x = L.Input((1,))
    q, k = L.Dense(2, name="q")(x), L.Dense(2, name="k")(x)
    model = keras.Model(x, L.Dense(1, name="d")(tf.matmul(q[:, None], k[:, :, None])[:, 0]))
    model.set_weights([np.array(each, "float32") for each in ([[1, 3]], [0, 0], [[2, 4]], [0, 0], [[1]], [0])])

    assert model(np.ones((1, 1))).numpy() == 14
    assert remove_channels(model, {"q": [True, False]})(np.ones((1, 1))).numpy() == 2


@pytest.mark.parametrize("by_layers", [False, True], ids=["operators", "layers"])
@pytest.mark.parametrize(
    ("heads", "expected"),
    # Three heads of two: queries have channels on the longer axis, that of heads, and values within heads.
    [(2, {"q": 3, "v": 4}), (3, {"v": 4})],
    ids=["within heads", "both"],
)
def test_heads(heads, expected, by_layers):
    x, (q, k, v) = three(6, 6, 4 * heads)
    q, k, v = (split(each, heads, by_layers=by_layers) for each in (q, k, v))
    scores = tf.nn.softmax(tf.matmul(q, k, transpose_b=True) / 3.0)
    model = keras.Model(x, L.Dense(2)(joined(tf.matmul(scores, v))))

    assert sizes(model) == expected
    assert all(each[0].endswith("a product with channels on two axes") for each in reasons(model).values())
    assert_removal_is_exact(model, save=True, tflite=True)


def test_whole_heads_leave_where_there_are_more_of_them_than_features_in_each():
    x, (q, k, v) = three(8, 8, 8)
    q, k, v = (split(each, 4) for each in (q, k, v))
    scores = tf.nn.softmax(tf.einsum("bhqd,bhkd->bhqk", q, k))
    model = keras.Model(x, L.Dense(2)(joined(tf.einsum("bhqk,bhkd->bhqd", scores, v))))

    assert sizes(model) == {"q": 4}
    assert channel_groups(model)["q"].multiplied_in == ()
    assert_removal_is_exact(model, tflite=True, train=True)


def test_queries_keys_and_values_of_one_layer():
    x = L.Input((PLACES, 3))
    both = tf.transpose(tf.reshape(L.Dense(24, name="qkv")(x), (-1, PLACES, 3, 2, 4)), (2, 0, 3, 1, 4))
    scores = tf.nn.softmax(tf.matmul(both[0], both[1], transpose_b=True))
    model = keras.Model(x, L.Dense(2)(joined(tf.matmul(scores, both[2]))))

    assert sizes(model) == {"qkv": 4}
    assert_removal_is_exact(model, save=True, tflite=True)


def test_shared_keys_for_all_heads():
    x, (q, k, v) = three(8, 4, 4)
    q = split(q, 2)
    scores = tf.nn.softmax(tf.matmul(q, k[:, None], transpose_b=True))
    model = keras.Model(x, L.Dense(2)(joined(tf.matmul(scores, v[:, None]))))

    assert sizes(model) == {"q": 4, "v": 4}
    assert_removal_is_exact(model, save=True)


@pytest.mark.parametrize(
    "product",
    [
        lambda q, k: tf.matmul(q, k, transpose_b=True),
        lambda q, k: tf.matmul(q, k, adjoint_b=True),
        lambda q, k: tf.matmul(tf.transpose(q, (0, 2, 1)), k, transpose_a=True, transpose_b=True),
        lambda q, k: tf.linalg.matvec(q, k[:, 0]),
        lambda q, k: tf.einsum("bic,bjc->bij", q, k),
        lambda q, k: tf.einsum("bic, bjc", q, k),
        lambda q, k: tf.einsum("...c,...c->...", q, k),
        lambda q, k: tf.einsum("...ic,...jc->...ij", q, k),
        lambda q, k: tf.einsum("bic,...jc->...bij", q, k[0]),
        lambda q, k: tf.einsum("bic,bic->b", q, k)[:, None],
        lambda q, k: tf.tensordot(q, k[0], [[2], [1]]),
        lambda q, k: tf.tensordot(q, tf.transpose(k[0]), 1),
        lambda q, k: tf.tensordot(q, k[0], ((-1,), (-1,))),
        lambda q, k: L.Dot(-1)([q, k]),
        lambda q, k: L.Dot((2, 2))([q, k]),
        lambda q, k: L.Dot((2, 1))([q, L.Permute((2, 1))(k)]),
        lambda q, k: L.Dot(1)([q[:, 0], k[:, 0]]),
        lambda q, k: L.Dot(1)([q[:, 0], L.Permute((2, 1))(k)]),
    ],
)
def test_channels_that_are_summed_over_leave_together(product):
    x = L.Input((PLACES, 3), batch_size=2)
    q, k = L.Dense(6, name="q")(x), L.Dense(6, name="k")(x)
    model = keras.Model(x, L.Dense(2)(product(q, k)))

    (group,) = channel_groups(model).values()
    assert group.size == 6
    assert {member.layer for member in group.producers} == {"q", "k"}
    assert len(group.multiplied_in) == 1
    assert_removal_is_exact(model, save=not has_einsum(model))


@pytest.mark.parametrize(
    "product",
    [
        lambda q, k: tf.einsum("bic,bc->bic", q, k[:, 0]),
        lambda q, k: tf.einsum("bic,bic->bic", q, k),
        lambda q, k: tf.einsum("...c,...c->...c", q, k),
        lambda q, k: tf.einsum("bic,bjc->bcij", q, k),
        lambda q, k: tf.einsum("bic,bjc->bcj", q, k),
    ],
)
def test_channels_of_both_that_are_passed_on_leave_together(product):
    x, (q, k) = three(6, 6)
    found = product(q, k)
    model = keras.Model(x, L.Dense(2)(L.Flatten()(found)))

    (group,) = channel_groups(model).values()
    assert (group.size, group.multiplied_in) == (6, ())
    assert_removal_is_exact(model)


def test_a_gate_of_an_image():
    image = L.Input((4, 4, 3))
    x = L.Conv2D(6, 1, name="a")(image)
    gate = L.Dense(6, activation="sigmoid", name="g")(L.GlobalAveragePooling2D()(x))
    model = keras.Model(image, L.Conv2D(2, 1)(tf.einsum("bhwc,bc->bhwc", x, gate)))

    assert sizes(model) == {"a": 6}
    assert_removal_is_exact(model, train=True)


def test_an_einsum_of_one_tensor():
    x, (q,) = three(6)
    model = keras.Model(x, L.Dense(2)(tf.einsum("bic->bc", tf.einsum("bic->bic", q))))

    assert sizes(model) == {"q": 6}
    assert_removal_is_exact(model)


def test_a_constant_that_mixes_places():
    x, (q,) = three(6)
    mixing = np.random.default_rng(0).normal(size=(4, PLACES)).astype("float32")
    model = keras.Model(x, L.Dense(2)(tf.matmul(mixing, q)))

    assert sizes(model) == {"q": 6}
    assert_removal_is_exact(model, save=True)


@pytest.mark.parametrize(
    "product", [lambda q, k: tf.einsum("bi,bj->bij", q, k), lambda q, k: q[:, :, None] @ k[:, None]]
)
def test_of_an_outer_product_the_shorter_side_stays(product):
    x = L.Input((3,))
    q, k = L.Dense(6, name="q")(x), L.Dense(4, name="k")(x)
    model = keras.Model(x, L.Dense(2)(L.Flatten()(product(q, k))))

    assert sizes(model) == {"q": 6}
    assert reasons(model)["k"][0].endswith("a product with channels on two axes")
    assert_removal_is_exact(model, save=not has_einsum(model), tflite=True)


def test_attention_across_channels_keeps_one_side():
    """Scores between channels: a softmax looks across those that the second tensor has."""
    x, (q, k, v) = three(6, 6, 6)
    scores = tf.nn.softmax(tf.matmul(q, k, transpose_a=True))
    model = keras.Model(x, L.Dense(2)(tf.matmul(v, scores, transpose_b=True)))

    assert_removal_is_exact(model)
    assert set(reasons(model)) >= {"q", "v"}


@pytest.mark.parametrize(
    ("product", "reason"),
    [
        (lambda q: tf.matmul(q, np.ones((PLACES, 3), "float32")), "a constant"),
        (lambda q: tf.einsum("bic,c->bic", q, tf.ones(PLACES)), "a constant"),
        (
            lambda q: tf.matmul(q, tf.Variable(tf.ones((PLACES, 3)))),
            "a product with anything but tensors and constants",
        ),
        (lambda q: tf.einsum("bic->bi", q), "a reduction over channels"),
        (lambda q: tf.einsum("bic,bj->bij", q, q[:, 0]), "a reduction over channels"),
        (lambda q: tf.einsum("bii->bi", q), "along the diagonal"),
        (lambda q: tf.einsum("bi,bj,bk->bijk", q[:, 0], q[:, 1], q[:, 2]), "three or more tensors"),
        (lambda q: L.Dot(-1, normalize=True)([q, q]), "a product of normalized tensors looks across channels"),
    ],
)
def test_barriers(product, reason):
    x, (q,) = three(PLACES)
    model = keras.Model(x, L.Dense(2)(L.Flatten()(product(q))))

    assert sizes(model) == {}
    assert_removal_is_exact(model)
    assert reason in " ".join(reasons(model)["q"])


def test_dot_products_over_places_pass_one_side_on():
    x, (q, k) = three(6, 4)
    model = keras.Model(x, L.Dense(2)(L.Flatten()(L.Dot(1)([q, k]))))

    assert sizes(model) == {"q": 6}
    assert reasons(model)["k"][0].endswith("a product with channels on two axes")
    assert_removal_is_exact(model, save=True)


def attended(heads: int = 2) -> keras.Model:
    x, (q, k, v) = three(4 * heads, 4 * heads, 3 * heads)
    q, k, v = (split(each, heads) for each in (q, k, v))
    scores = tf.nn.softmax(tf.matmul(q * 0.5, k, transpose_b=True))
    return keras.Model(x, L.Dense(2, name="d")(joined(tf.matmul(scores, v))))


def test_a_product_reads_what_it_sums_over():
    """No channel of queries and keys is dead because no weight reads it."""
    model = attended()

    small = remove_dead_channels(model)

    assert [layer.units for layer in small.layers if isinstance(layer, L.Dense)] == [8, 8, 6, 2]


@pytest.mark.parametrize("name", ["q", "k"])
def test_where_one_factor_is_zero_in_all_heads_the_channels_of_both_are_dead(name):
    model = attended()
    for weight in model.get_layer(name).weights:
        value = weight.numpy()
        # The second feature of both heads, and the third of one.
        value[..., [1, 5, 2]] = 0.0
        weight.assign(value)

    small = remove_dead_channels(model)

    assert [layer.units for layer in small.layers if isinstance(layer, L.Dense)] == [6, 6, 6, 2]
    x = np.random.default_rng(0).normal(size=(2, PLACES, 3)).astype("float32")
    np.testing.assert_allclose(small(x), model(x), rtol=1e-5, atol=1e-6)


def test_a_constant_factor_that_is_not_zero_is_read():
    model = attended()
    kernel, bias = model.get_layer("q").get_weights()
    kernel[:, [1, 5]], bias[[1, 5]] = 0.0, 2.0
    model.get_layer("q").set_weights([kernel, bias])

    small = remove_dead_channels(model)

    assert small.get_layer("q").units == 8


def gram(x: Any) -> Any:
    return L.Attention(name="attention")([L.Dense(6, name="a")(x), L.Dense(5, name="b")(x), L.Dense(6, name="c")(x)])


@pytest.mark.parametrize(
    "build",
    [
        attended,
        lambda: attended(4),
        lambda: (lambda x: keras.Model(x, L.Dense(2)(gram(x))))(L.Input((PLACES, 3))),
        lambda: (lambda x: keras.Model(x, L.Dense(2)(L.AdditiveAttention()([L.Dense(6)(x), L.Dense(6)(x)]))))(
            L.Input((PLACES, 3))
        ),
    ],
    ids=["by hand", "whole heads", "layer", "additive"],
)
def test_the_cost_of_products_is_that_of_the_smaller_model(build):
    model = build()
    groups = channel_groups(model)
    costs = ChannelCosts(groups)
    terms = find_cost("macs").terms(costs)
    assert terms.count(costs.sizes()) == profile(model).macs
    for left in (1, 2):
        keep = {name: np.arange(group.size) < left for name, group in groups.items()}
        plan = plan_removal(model, keep, groups=groups)
        assert terms.count(costs.sizes(plan.stays)) == profile(plan.apply()).macs < profile(model).macs


def test_channels_on_several_axes_of_a_factor_are_a_barrier():
    ties = Ties()
    labels = Labels(ties.new(6).reshape(1, 2, 3), (None, 2, 3))
    record = LayerRecord("m", L.Dot(-1))
    call = LayerCall(record, [labels, labels], [(None, 2, 2)], {}, ties)

    contracted(call, [labels, labels], ["bic", "bjc"], "bij")

    assert record.blocked == "m: a product of a tensor with channels on several axes has no rule"
    assert ties.resolve().is_pinned(labels.ids).all()
