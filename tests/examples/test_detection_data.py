from itertools import pairwise

import numpy as np
import pytest
import requests
import tensorflow_datasets as tfds

from examples import datasets, detection_data
from examples.datasets import DatasetUnavailableError, ImageData
from examples.detection_data import CANVAS, FashionScenes, compose, load_scenes


def squares(count, size=28):
    """Items that fill their image, of classes in turn."""
    return np.full((count, size, size, 1), 255, np.uint8), np.arange(count) % 10


def visible_shares(boxes):
    """What is seen of each box when later ones lie over earlier ones."""
    owner = np.full((CANVAS, CANVAS), -1)
    for index, (top, left, bottom, right) in enumerate(boxes.astype(int)):
        owner[top:bottom, left:right] = index
    return np.array([(owner == index).sum() for index in range(len(boxes))]) / np.prod(boxes[:, 2:] - boxes[:, :2], 1)


def test_scenes_hold_items_of_several_sizes_that_hide_little_of_each_other():
    x, y = squares(10)
    rng = np.random.default_rng(0)
    scenes = [compose(x, y, rng) for _ in range(60)]
    for image, boxes, labels in scenes:
        assert (image.dtype, image.shape) == (np.uint8, (96, 96, 1))
        assert 1 <= len(boxes) == len(labels) <= 6
        assert (boxes[:, :2] >= 0).all()
        assert (boxes[:, 2:] <= CANVAS).all()
        assert visible_shares(boxes).min() >= 0.6
    sides = np.concatenate([boxes[:, 2] - boxes[:, 0] for _, boxes, _ in scenes])
    assert 24 <= sides.min() < 30 < 50 < sides.max() <= 60
    assert len({len(boxes) for _, boxes, _ in scenes}) >= 4
    # Some lie over one another.
    assert min(visible_shares(boxes).min() for _, boxes, _ in scenes) < 0.9


def test_boxes_are_tight_around_what_is_not_black():
    x = np.zeros((1, 28, 28, 1), np.uint8)
    x[0, 7:21, :14] = 255
    rng = np.random.default_rng(1)
    sizes = np.concatenate(
        [np.diff(compose(x, np.array([4]), rng)[1].reshape(-1, 2, 2), axis=1)[:, 0] for _ in range(20)]
    )
    # Half of the square in both directions, mirrored or not.
    assert (np.abs(sizes[:, 0] - sizes[:, 1]) <= 2).all()
    assert 11 <= sizes.min() < sizes.max() <= 32


def test_a_seed_makes_the_same_scene_again():
    first, again, other = (compose(*squares(4), np.random.default_rng(seed)) for seed in (3, 3, 4))
    for one, two in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, two)
    assert not np.array_equal(first[0], other[0])


def test_interpolation_by_hand():
    expected = [[1, 0], [0.75, 0.25], [0.25, 0.75], [0, 1]]
    np.testing.assert_allclose(detection_data._interpolation(2, 4), expected)
    np.testing.assert_allclose(detection_data._interpolation(28, 11).sum(axis=1), 1)


@pytest.fixture
def originals(monkeypatch):
    """Fashion-MNIST whose items tell by their class of which split they are."""
    x, _ = squares(3)
    splits = [array for label in (1, 2, 3) for array in (x, np.full(3, label))]
    monkeypatch.setattr(detection_data, "load_images", lambda *_: ImageData("fashion_mnist", *splits, num_classes=10))


def test_splits_are_made_of_items_of_their_own(originals, tmp_path, capsys):
    data = load_scenes("fashion_scenes/tiny", tmp_path)
    assert [len(each) for each in (data.train, data.validation, data.test)] == [96, 24, 24]
    for scenes, label in ((data.train, 1), (data.validation, 2), (data.test, 3)):
        assert set(np.unique(scenes.labels)) <= {-1, label}
        assert scenes.images.shape[1:] == data.input_shape == (96, 96, 1)
        assert (scenes.images.dtype, scenes.boxes.dtype, scenes.labels.dtype) == (np.uint8, np.float32, np.int64)
        assert ((scenes.labels >= 0) == (scenes.boxes[..., 2] > 0)).all()
    assert len(data.classes) == 10
    assert capsys.readouterr().out.count("\n") == 1
    np.testing.assert_allclose(data.to_float(data.train).mean(), 0, atol=1e-4)

    limited = load_scenes("fashion_scenes/tiny", tmp_path, train_limit=5)
    np.testing.assert_array_equal(limited.train.images, data.train.images[:5])
    assert len(limited.test) == 24


class TinyBoxes(tfds.core.GeneratorBasedBuilder):
    """Images of several sizes, with none, one or two objects."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        objects = {"bbox": tfds.features.BBoxFeature(), "label": tfds.features.ClassLabel(names=["cat", "dog"])}
        features = {
            "image": tfds.features.Image(shape=(None, None, 3)),
            "objects": tfds.features.Sequence(objects),
        }
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    def _split_generators(self, _):
        return {split: self._generate_examples() for split in ("train", "validation", "test")}

    def _generate_examples(self):
        box = tfds.features.BBox(ymin=0.25, xmin=0.5, ymax=0.75, xmax=1.0)
        for count in range(3):
            image = np.full((10 + count, 40, 3), 50 * count, np.uint8)
            yield count, {"image": image, "objects": [{"bbox": box, "label": "dog"}] * count}


def test_images_of_many_sizes_are_resized_with_their_boxes(tmp_path):
    data = load_scenes("tiny_boxes", tmp_path, size=32)
    assert (data.classes, data.input_shape) == (("cat", "dog"), (32, 32, 3))
    counts = (data.train.labels >= 0).sum(axis=1)
    np.testing.assert_array_equal(data.train.images, np.broadcast_to(50 * counts[:, None, None, None], (3, 32, 32, 3)))
    assert sorted(counts) == [0, 1, 2]
    assert set(data.train.labels[data.train.labels >= 0]) == {1}
    np.testing.assert_array_equal(data.train.boxes[counts == 2][0], [[8, 16, 24, 32]] * 2)
    np.testing.assert_array_equal(data.train.boxes[counts == 0][0], np.zeros((2, 4)))


class TinyBoxesWithoutTest(TinyBoxes):
    def _split_generators(self, _):
        return {split: self._generate_examples() for split in ("train", "validation")}


def test_a_set_without_boxes_or_splits_is_refused(tmp_path):
    with pytest.raises(ValueError, match="bbox and a label. Received: 'fashion_mnist'"):
        load_scenes("fashion_mnist", tmp_path)
    with pytest.raises(ValueError, match="1 or more, or None. Received: 0"):
        load_scenes("fashion_scenes/tiny", tmp_path, train_limit=0)
    with pytest.raises(ValueError, match="Received: 'tiny_boxes_without_test' without test"):
        load_scenes("tiny_boxes_without_test", tmp_path)


def test_voc_out_of_reach_is_reported(tmp_path, monkeypatch):
    def offline(*args, **kwargs):
        raise requests.ConnectionError("no network in this test")

    monkeypatch.setattr(requests, "head", offline)
    with pytest.raises(DatasetUnavailableError, match=r"voc .* Received: ConnectionError"):
        load_scenes("voc/2007", tmp_path)


def test_voc_is_read_where_it_can_be_downloaded(tmp_path, monkeypatch):
    def prepare(builder):
        names = ("train", "validation", "test")
        splits = [tfds.core.SplitInfo(name=each, shard_lengths=[2], num_bytes=0) for each in names]
        builder.info.set_splits(tfds.core.SplitDict(splits))

    # The specs of VOC with random pixels and boxes.
    monkeypatch.setattr(datasets, "prepare", prepare)
    with tfds.testing.mock_data(num_examples=2):
        data = load_scenes("voc/2007", tmp_path, size=48)
    assert [each.images.shape for each in (data.train, data.validation, data.test)] == [(2, 48, 48, 3)] * 3
    assert len(data.classes) == 20
    assert data.train.labels.max() < 20
    assert (data.train.boxes <= 48).all()


def test_each_configuration_has_all_splits():
    for config in FashionScenes.BUILDER_CONFIGS:
        counts = config.train, config.validation, config.test
        assert all(one > 0 for one in counts)
    assert all(first.train > second.train for first, second in pairwise(FashionScenes.BUILDER_CONFIGS))
