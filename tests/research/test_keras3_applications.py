"""Two networks of keras.applications at a small size; all of them: `python -m research.keras3_applications`."""

import pytest

from research.keras3_applications import measure


# Squeeze-and-excite with hard activations as operators; adapted statistics, depthwise convolutions and swish.
@pytest.mark.parametrize("name", ["MobileNetV3Small", "EfficientNetB0"])
def test_a_network_goes_to_tf_keras_and_back_and_into_files(name):
    found = measure(name, 64)
    assert found["exact"], found
    assert found["same_count"]
    assert found["carried"] == []
    assert found["back"] == 0.0
