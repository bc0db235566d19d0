"""Networks of tf_keras.applications that have every kind of block between them, at small sizes.

All 71 at their own sizes: `python -m research.applications_coverage`.
"""

import pytest
import tf_keras as keras
from tf_keras.src.applications import convnext, densenet

from research import applications_coverage

OUTPUT = {"reason": "model output", "layers": 1, "channels": 10}
# Coverage must not fall unnoticed: (groups, channels that can leave).
NETWORKS = {
    # Depthwise convolutions, residual blocks, squeeze and excite.
    "MobileNetV3Small": (27, 4872),
    # Concatenations of all that came before; the four blocks of DenseNet121 with 2, 3, 2 and 2 layers.
    "DenseNet": (22, 1720),
    # Grouped convolutions let whole groups go, and those of a stage go together.
    "RegNetY002": (33, 1794),
}


def dense_net(name, size, classes):
    return densenet.DenseNet([2, 3, 2, 2], True, None, None, (size, size, 3), None, classes, None)


def conv_next(name, size, classes):
    depths, widths = (1, 2, 1, 1), (16, 24, 32, 40)
    return convnext.ConvNeXt(
        depths, widths, weights=None, input_shape=(size, size, 3), classes=classes, classifier_activation=None
    )


@pytest.fixture(autouse=True)
def _double_precision():
    """A deep random network multiplies rounding, more so at a small size: in float32 some come near the tolerance."""
    before = keras.backend.floatx()
    keras.backend.set_floatx("float64")
    yield
    keras.backend.set_floatx(before)
    keras.backend.clear_session()


@pytest.mark.parametrize("name", NETWORKS)
def test_half_of_all_channels_leave_and_only_the_outputs_must_stay(name, monkeypatch):
    if name == "DenseNet":
        monkeypatch.setattr(applications_coverage, "build", dense_net)
    found = applications_coverage.measure(name, 32, classes=10, zeros=name == "DenseNet")

    assert found["exact"], found
    assert found["difference"] < 1e-10
    assert found["barriers"] == [OUTPUT]
    assert (found["groups"], found["channels"]) == NETWORKS[name]
    assert found["parameters"][1] < 0.4 * found["parameters"][0]
    assert found["macs"][1] < 0.4 * found["macs"][0]


def test_layer_normalization_lets_only_the_wide_part_of_a_block_shrink(monkeypatch):
    monkeypatch.setattr(applications_coverage, "build", conv_next)
    found = applications_coverage.measure("ConvNeXt", 32, classes=10, zeros=False)

    assert found["exact"], found
    assert found["difference"] < 1e-10
    # Four times the width of each of its 1, 2, 1 and 1 blocks.
    assert found["groups"] == 5
    assert found["channels"] == 4 * (16 + 2 * 24 + 32 + 40)
    assert {"its statistics are taken across channels", "model output"} == {row["reason"] for row in found["barriers"]}
