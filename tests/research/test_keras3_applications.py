"""A network of keras.applications at a small size; all of them: `python -m research.keras3_applications`."""

from research.keras3_applications import measure


def test_a_network_goes_to_tf_keras_and_back_and_into_files():
    # Squeeze-and-excite with hard activations as operators, depthwise convolutions.
    found = measure("MobileNetV3Small", 64)
    assert found["exact"], found
    assert found["same_count"]
    assert found["carried"] == []
    assert found["back"] == 0.0
