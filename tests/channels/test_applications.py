"""Networks of tf_keras.applications that have every kind of block between them, at small sizes.

All 71 at their own sizes: `python -m research.applications_coverage`.
"""

import pytest
import tf_keras as keras

from research.applications_coverage import measure

OUTPUT = {"reason": "model output", "layers": 1, "channels": 10}
# Coverage must not fall unnoticed: (size, groups, channels that can leave).
NETWORKS = {
    "MobileNet": (32, 14, 5984),
    "MobileNetV2": (32, 25, 9128),
    "MobileNetV3Small": (32, 27, 4872),
    "EfficientNetB0": (32, 40, 11404),
    "EfficientNetV2B0": (32, 44, 15840),
    "ResNet50V2": (32, 37, 11456),
    "DenseNet121": (32, 120, 10240),
    "NASNetMobile": (32, 125, 11956),
    "Xception": (71, 28, 19304),
    # Grouped convolutions let whole groups go, and those of a stage go together.
    "RegNetY002": (32, 33, 1794),
}


@pytest.fixture(autouse=True)
def _double_precision():
    """A deep random network multiplies rounding, more so at a small size: in float32 some come near the tolerance."""
    before = keras.backend.floatx()
    keras.backend.set_floatx("float64")
    yield
    keras.backend.set_floatx(before)
    keras.backend.clear_session()


@pytest.mark.parametrize("name", NETWORKS)
def test_half_of_all_channels_leave_and_only_the_outputs_must_stay(name):
    size, groups, channels = NETWORKS[name]
    found = measure(name, size, classes=10)

    assert found["exact"], found
    assert found["difference"] < 1e-10
    assert found["barriers"] == [OUTPUT]
    assert (found["groups"], found["channels"]) == (groups, channels)
    assert found["parameters"][1] < 0.4 * found["parameters"][0]
    assert found["macs"][1] < 0.4 * found["macs"][0]


def test_layer_normalization_lets_only_the_wide_part_of_a_block_shrink():
    found = measure("ConvNeXtTiny", 32, classes=10)

    assert found["exact"], found
    assert found["difference"] < 1e-10
    # Four times the width of each of its 3, 3, 9 and 3 blocks.
    assert found["groups"] == 18
    assert found["channels"] == 4 * (3 * 96 + 3 * 192 + 9 * 384 + 3 * 768)
    assert {"its statistics are taken across channels", "model output"} == {row["reason"] for row in found["barriers"]}
