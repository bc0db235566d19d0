import numpy as np
import pytest

from examples.detection_data import Scenes, compose
from examples.detection_decoding import Detections, Precision, boxes_of, decode, precision
from examples.detection_targets import targets_of

BOXES = np.float32([[[2, 2, 14, 22], [16, 16, 60, 40]], [[30, 8, 62, 30], [0, 0, 0, 0]]])
SCENES = Scenes(np.zeros((2, 64, 64, 1), np.uint8), BOXES, np.array([[1, 0], [1, -1]]))


def perfect_outputs(scenes, num_classes=2):
    """What a detector would put out that has learnt its targets by heart."""
    outputs = {}
    for name, target in targets_of(scenes).items():
        if name.startswith("boxes"):
            outputs[name] = np.log(np.maximum(target, 1e-3))
        else:
            outputs[name] = np.where(target[..., None] == np.arange(num_classes), 9.0, -9.0).astype(np.float32)
    return outputs


def found(boxes, labels, scores=None):
    """One scene's detections."""
    boxes, labels = np.float32(boxes), np.array(labels)
    scores = np.linspace(0.9, 0.5, len(labels)) if scores is None else np.array(scores)
    return Detections(boxes[None], np.float32(scores)[None], labels[None], np.array([len(labels)]))


def scene(boxes, labels):
    return Scenes(np.zeros((1, 64, 64, 1), np.uint8), np.float32(boxes)[None], np.array(labels)[None])


def test_boxes_of_a_place_by_hand():
    outputs = {
        "classes_8": np.zeros((1, 2, 2, 1)),
        "boxes_8": np.zeros((1, 2, 2, 4)),
        "classes_16": np.full((1, 1, 1, 1), np.log(3)),
        "boxes_16": np.log([[[[0.25, 0.5, 1.0, 2.0]]]]),
    }
    boxes, scores = boxes_of(outputs, (16, 16))
    # One stride to each side of y = 4, x = 12; then 4 left, 8 up, 16 right and 32 down of the middle of the image.
    np.testing.assert_allclose(boxes[0, 1], [-4, 4, 12, 20], atol=1e-5)
    np.testing.assert_allclose(boxes[0, 4], [0, 4, 40, 24], atol=1e-5)
    np.testing.assert_allclose(scores[0, :, 0], [0.5, 0.5, 0.5, 0.5, 0.75], rtol=1e-6)


def test_targets_decode_to_the_boxes_they_were_made_of():
    detections = decode(perfect_outputs(SCENES), (64, 64))
    assert detections.counts.tolist() == [2, 1]
    order = detections.labels[0, :2].argsort()[::-1]
    np.testing.assert_allclose(detections.boxes[0, :2][order], BOXES[0], atol=1e-4)
    np.testing.assert_allclose(detections.boxes[1, 0], BOXES[1, 0], atol=1e-4)
    assert precision(detections, SCENES) == Precision(pytest.approx(1.0), pytest.approx(1.0))


def test_the_places_suffice_for_nearly_all_items_of_composed_scenes():
    items, rng = np.full((10, 28, 28, 1), 255, np.uint8), np.random.default_rng(0)
    composed = [compose(items, np.arange(10), rng) for _ in range(60)]
    boxes, labels = np.zeros((60, 6, 4), np.float32), np.full((60, 6), -1)
    for index, (_, each, names) in enumerate(composed):
        boxes[index, : len(each)], labels[index, : len(each)] = each, names
    scenes = Scenes(np.stack([image for image, _, _ in composed]), boxes, labels)
    assert precision(decode(perfect_outputs(scenes, 10), (96, 96)), scenes).mean > 0.95


@pytest.mark.parametrize(("other", "count"), [(0, 1), (1, 2)])
def test_boxes_over_one_another_are_one_object_of_a_class(other, count):
    outputs = {name: np.full_like(each, -9.0) for name, each in perfect_outputs(SCENES).items()}
    # Two neighbours at stride 8 name boxes of 32 by 32 pixels, of which they share three quarters.
    for place, label in ((2, 0), (3, other)):
        outputs["classes_8"][0, 3, place, label] = 2.0 + place
        outputs["boxes_8"][0, 3, place] = np.log(2.0)
    assert decode(outputs, (64, 64)).counts.tolist() == [count, 0]


def test_boxes_end_with_the_image():
    outputs = {name: np.full_like(each, -9.0) for name, each in perfect_outputs(SCENES).items()}
    outputs["classes_16"][0, 0, 0, 0], outputs["boxes_16"][0, 0, 0] = 5.0, np.log(9.0)
    np.testing.assert_array_equal(decode(outputs, (64, 64)).boxes[0, 0], [0, 0, 64, 64])


def test_precision_counts_overlaps_from_half_to_95_hundredths():
    # 10 · 62 of 10 · 100 pixels: right at .5, .55 and .6 only.
    result = precision(found([[0, 0, 10, 62]], [0]), scene([[0, 0, 10, 100]], [0]))
    assert result == Precision(pytest.approx(0.3), pytest.approx(1.0))


def test_precision_is_the_mean_over_classes():
    truth = scene([[0, 0, 10, 10], [20, 20, 40, 40]], [0, 1])
    assert precision(found([[0, 0, 10, 10]], [0]), truth).mean == pytest.approx(0.5)
    # The right box by another name is a miss.
    assert precision(found([[0, 0, 10, 10]], [1]), truth).mean == 0.0


def test_a_surer_wrong_box_halves_the_precision():
    boxes, truth = [[40, 40, 50, 50], [0, 0, 10, 10]], scene([[0, 0, 10, 10]], [0])
    assert precision(found(boxes, [0, 0], [0.9, 0.8]), truth).at_half == pytest.approx(0.5)
    assert precision(found(boxes, [0, 0], [0.8, 0.9]), truth).at_half == pytest.approx(1.0)


def test_nothing_found_is_no_precision():
    assert precision(found(np.zeros((0, 4)), np.zeros(0, int)), SCENES) == Precision(0.0, 0.0)
