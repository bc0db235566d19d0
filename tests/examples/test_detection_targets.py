import numpy as np
import pytest
import tf_keras as keras

from examples.detection_data import Scenes
from examples.detection_network import detector
from examples.detection_targets import BoxLoss, FocalLoss, assign, losses, middles, targets_of


def assigned(*objects, size=(48, 48)):
    boxes = np.array([box for box, _ in objects], np.float32).reshape(-1, 4)
    return assign(boxes, np.array([label for _, label in objects], np.int64), size)


def test_middles():
    np.testing.assert_array_equal(middles((16, 32), 16), [[[8, 8], [8, 24]]])


def test_places_in_a_box_learn_its_class_and_sides():
    targets = assigned(((2, 2, 14, 22), 3))
    expected = np.full((6, 6), -1)
    expected[:2, :3] = 3
    np.testing.assert_array_equal(targets["classes_8"], expected)
    # Left, top, right, bottom of the place whose middle is y = 4, x = 12.
    np.testing.assert_array_equal(targets["boxes_8"][0, 1], [1.25, 0.25, 1.25, 1.25])
    assert (targets["boxes_8"].any(axis=-1) == (expected >= 0)).all()
    assert (targets["classes_16"] == -1).all()
    assert not targets["boxes_16"].any()


def test_places_far_from_the_middle_learn_nothing():
    # Places at 4, 12, 20 and 28 lie in it; its middle is 18, and 12 pixels are 1.5 strides.
    targets = assigned(((2, 2, 34, 34), 0))
    chosen = np.zeros(6, bool)
    chosen[1:4] = True
    np.testing.assert_array_equal(targets["classes_8"] == 0, chosen[:, None] & chosen)


@pytest.mark.parametrize(("length", "stride"), [(32, 8), (33, 16), (48, 16)])
def test_each_box_has_one_scale(length, stride):
    targets = assigned(((0, 0, 10, length), 1))
    assert {each: bool((targets[f"classes_{each}"] == 1).any()) for each in (8, 16)} == {
        8: stride == 8,
        16: stride == 16,
    }


@pytest.mark.parametrize("first", [0, 1])
def test_the_smaller_of_two_boxes_is_learnt(first):
    objects = [((0, 0, 24, 24), 5), ((8, 8, 16, 16), 7)]
    classes = assigned(objects[first], objects[1 - first])["classes_8"]
    np.testing.assert_array_equal(classes[:3, :3], [[5, 5, 5], [5, 7, 5], [5, 5, 5]])


def test_padding_and_empty_scenes_are_background():
    boxes, labels = np.zeros((2, 1, 4), np.float32), np.array([[0], [-1]])
    boxes[0, 0] = 0, 0, 16, 16
    targets = targets_of(Scenes(np.zeros((2, 32, 32, 1), np.uint8), boxes, labels))
    assert {name: each.shape for name, each in targets.items()} == {
        "classes_8": (2, 4, 4),
        "boxes_8": (2, 4, 4, 4),
        "classes_16": (2, 2, 2),
        "boxes_16": (2, 2, 2, 4),
    }
    assert (targets["classes_8"][0, :2, :2] == 0).all()
    assert (targets["classes_8"][1] == -1).all()
    assert (assigned()["classes_8"] == -1).all()


def test_focal_loss_by_hand():
    # Undecided everywhere: an object costs .25 · .5² · ln 2, what is absent .75 · .5² · ln 2; three are absent.
    y_true, y_pred = np.array([1, -1]).reshape(2, 1, 1), np.zeros((2, 1, 1, 2), np.float32)
    expected = (0.25 + 3 * 0.75) * 0.25 * np.log(2)
    assert float(FocalLoss()(y_true, y_pred)) == pytest.approx(expected, rel=1e-6)
    # The same by two places with an object.
    doubled = FocalLoss()(np.array([1, 0]).reshape(2, 1, 1), y_pred)
    assert float(doubled) == pytest.approx((2 * 0.25 + 2 * 0.75) * 0.25 * np.log(2) / 2, rel=1e-6)


def test_focal_loss_of_a_sure_answer():
    y_true, y_pred = np.zeros((1, 1, 1), int), np.full((1, 1, 1, 1), 3.0, np.float32)
    right = 1 / (1 + np.exp(-3.0))
    assert float(FocalLoss()(y_true, y_pred)) == pytest.approx(-0.25 * (1 - right) ** 2 * np.log(right), rel=1e-5)


@pytest.mark.parametrize(
    ("truth", "found", "expected"),
    [
        ((1, 1, 1, 1), (1, 1, 1, 1), 0.0),
        ((1, 1, 1, 1), (2, 1, 1, 1), 1 - 4 / 6),
        # Areas 4 and 4.5, of which 3 are shared, and 6 around both.
        ((1, 1, 1, 1), (2, 0.5, 1, 1), 1 - 3 / 5.5 + 0.5 / 6),
    ],
)
def test_box_loss_by_hand(truth, found, expected):
    y_true, y_pred = np.zeros((2, 1, 3, 4), np.float32), np.zeros((2, 1, 3, 4), np.float32)
    y_true[1, 0, 2], y_pred[1, 0, 2] = truth, np.log(found)
    # What is said of the background, however wild, costs nothing.
    y_pred[0] = 90.0
    assert float(BoxLoss()(y_true, y_pred)) == pytest.approx(expected, abs=1e-6)


def test_losses_have_finite_gradients_and_survive_saving():
    model = detector((32, 32, 1), 3, width=2)
    model.compile("sgd", losses())
    again = keras.losses.deserialize(keras.losses.serialize(FocalLoss(0.5, 1.0)))
    assert (again.alpha, again.gamma) == (0.5, 1.0)
    scenes = Scenes(np.zeros((4, 32, 32, 1), np.uint8), np.zeros((4, 1, 4), np.float32), np.full((4, 1), -1))
    model.fit(np.ones((4, 32, 32, 1), np.float32), targets_of(scenes), verbose=0)
    assert all(np.isfinite(weight).all() for weight in model.get_weights())
