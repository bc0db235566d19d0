import numpy as np
import pytest
import tf_keras as keras

from examples.networks import NETWORKS, fashion_net, lenet5, mobilenet_v1, resnet8, resnet20, resnet56, vgg8, vgg19

# ResNet-56 and VGG-19 are ResNet-20 and VGG-8 with more of the same blocks.
SMALLER = [name for name in NETWORKS if name not in ("resnet56", "vgg19")]


def trainable(model):
    return sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)


def test_fashion_net_kernels():
    model = fashion_net((28, 28, 1), 10)

    assert [tuple(w.shape) for w in model.trainable_weights if "kernel" in w.name] == [
        (3, 3, 1, 32),
        (3, 3, 32, 64),
        (7 * 7 * 64, 128),
        (128, 10),
    ]
    kernels = sum(int(np.prod(w.shape)) for w in model.trainable_weights if "kernel" in w.name)
    assert kernels == 421_408


def test_lenet5_parameters():
    assert lenet5((28, 28, 1), 10).count_params() == 61_706


def test_lenet5_with_its_convolution_of_1998_has_as_many_parameters():
    model = lenet5((28, 28, 1), 10, convolutional=True)
    assert model.count_params() == 61_706
    assert model.get_layer("conv3").output.shape[1:] == (1, 1, 120)


def test_resnet56_parameters():
    assert trainable(resnet56((32, 32, 3), 10)) == 855_770


def test_vgg_parameters():
    assert trainable(vgg8((32, 32, 3), 10)) == 289_194
    assert trainable(vgg19((32, 32, 3), 10)) == 20_040_522


def test_resnet8_parameters():
    assert resnet8((32, 32, 3), 10).count_params() == 78_666


@pytest.mark.parametrize(
    ("width", "post_add_bn", "parameters"),
    [(16, True, 273_146), (16, False, 272_474), (64, True, 4_330_442)],
)
def test_resnet20_parameters(width, post_add_bn, parameters):
    model = resnet20((32, 32, 3), 10, width=width, post_add_bn=post_add_bn)

    assert trainable(model) == parameters


def test_resnet20_halves_evenly_at_each_stage():
    model = resnet20((32, 32, 3), 10, width=2)

    shapes = [model.get_layer(f"stage{stage}_block3_relu").output.shape[1:] for stage in (1, 2, 3)]
    assert shapes == [(32, 32, 2), (16, 16, 4), (8, 8, 8)]
    strided = model.get_layer("stage2_block1_a_conv")
    assert (strided.padding, strided.strides) == ("valid", (2, 2))


@pytest.mark.parametrize(
    ("name", "layer", "fan_in"),
    [
        ("resnet20", "stage3_block1_b_conv", 9 * 64),
        ("fashion_net", "conv2", 9 * 32),
        ("fashion_net", "dense", 7 * 7 * 64),
        ("lenet5", "dense1", 5 * 5 * 16),
    ],
)
def test_kernels_start_as_in_pytorch(name, layer, fan_in):
    """Uniform over +-1/sqrt(fan_in), hence with a standard deviation of 1/sqrt(3 fan_in)."""
    kernel = NETWORKS[name]((28, 28, 1), 10).get_layer(layer).kernel.numpy()

    bound = fan_in**-0.5
    assert np.abs(kernel).max() <= bound
    assert kernel.std() == pytest.approx(bound / 3**0.5, rel=0.02)


def test_no_two_kernels_start_alike():
    model = resnet20((32, 32, 3), 10, width=4)
    first, second = (model.get_layer(f"stage1_block{block}_a_conv").kernel.numpy() for block in (2, 3))

    assert not np.array_equal(first, second)


@pytest.mark.parametrize("name", SMALLER)
def test_weight_decay_is_half_its_factor_times_the_squares_of_all_kernels(name):
    model = NETWORKS[name]((32, 32, 3), 10, weight_decay=0.01)

    kernels = [w.numpy() for w in model.trainable_weights if "kernel" in w.name]
    expected = 0.005 * sum(np.sum(np.square(kernel, dtype=np.float64)) for kernel in kernels)
    assert len(model.losses) == len(kernels) > 0
    assert float(sum(model.losses)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_end_in_logits_of_the_asked_width(name):
    model = NETWORKS[name]((32, 32, 3), 7)

    logits = model(np.random.default_rng(0).normal(size=(2, 32, 32, 3)).astype(np.float32))
    assert logits.shape == (2, 7)
    assert not model.losses
    assert not np.allclose(logits.numpy().sum(axis=1), 1, atol=1e-3)


@pytest.mark.parametrize("name", SMALLER)
def test_networks_survive_their_config(name):
    model = NETWORKS[name]((32, 32, 3), 10, weight_decay=0.01)

    again = keras.Model.from_config(model.get_config())
    assert [layer.name for layer in again.layers] == [layer.name for layer in model.layers]
    assert len(again.losses) == len(model.losses)


def test_mobilenet_alpha_scales_its_channels():
    first = "conv1"
    assert mobilenet_v1((32, 32, 3), 10, alpha=0.25).get_layer(first).filters == 8
    assert mobilenet_v1((32, 32, 3), 10, alpha=0.5).get_layer(first).filters == 16


def test_negative_weight_decay_is_refused():
    with pytest.raises(ValueError, match=r"zero or more\. Received: -0\.1"):
        lenet5((28, 28, 1), 10, weight_decay=-0.1)
