"""Labels of tensors, and the classes that ties and pins make of them; arrays of a few elements by hand."""

import numpy as np
import pytest

from tfmot_swd.layers.labels import Labels, Ties


def ids(*values: int) -> np.ndarray:
    return np.array(values)


def test_labels_on_an_axis():
    labels = Labels.on_axis(ids(5, 6, 7), -1, (None, 2, 3))

    assert labels.ids.tolist() == [[[5, 6, 7]]]
    assert (labels.rank, labels.varying) == (3, (2,))
    assert labels.along(-1).tolist() == labels.along(2).tolist() == [5, 6, 7]
    assert labels.along(1).tolist() == [5, 5]
    assert labels.whole().tolist() == [[[5, 6, 7]] * 2]


def test_one_channel_varies_along_no_axis():
    labels = Labels.on_axis(ids(5), -1, (None, 2, 1))

    assert labels.varying == ()
    assert labels.along(1).tolist() == [5, 5]
    assert labels.along(0).tolist() == [5]


def test_compressed_makes_axes_one_on_which_nothing_changes():
    whole = np.array([[[1, 2], [1, 2], [1, 2]]])

    labels = Labels.compressed(whole, (None, 3, 2))
    assert labels.ids.tolist() == [[[1, 2]]]
    assert labels.whole().tolist() == whole.tolist()
    assert Labels.compressed(np.array([[4, 4]]), (None, 2)).ids.tolist() == [[4]]
    assert Labels.compressed(np.array([[1, 2, 1]]), (None, 3)).ids.tolist() == [[1, 2, 1]]


def test_new_ids_are_new():
    ties = Ties()

    assert (ties.new(2).tolist(), ties.new(0).tolist(), ties.new(3).tolist()) == ([0, 1], [], [2, 3, 4])
    assert (ties.count, ties.ties_anything) == (5, False)


def test_ties_are_transitive():
    ties = Ties()
    a, b, c = ties.new(2), ties.new(2), ties.new(2)
    ties.tie(a, b)
    ties.tie(c, b)

    classes = ties.resolve()
    assert classes.root.tolist() == [0, 1] * 3
    assert classes.of(c).tolist() == [0, 1]
    assert not classes.is_pinned(a).any()


def test_ties_broadcast():
    ties = Ties()
    a, one = ties.new(3), ties.new(1)
    ties.tie(a, one)

    assert ties.resolve().root.tolist() == [0, 0, 0, 0]


def test_ties_of_a_channel_with_itself_are_nothing():
    ties = Ties()
    a = ties.new(2)
    ties.tie(a, a)

    assert not ties.ties_anything
    assert ties.resolve().root.tolist() == [0, 1]


def test_a_ring():
    ties = Ties()
    a = ties.new(4)
    ties.tie(a, np.roll(a, 1))

    assert ties.resolve().root.tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize(("axis", "root"), [(0, [0, 1, 2, 0, 1, 2]), (1, [0, 0, 0, 3, 3, 3])])
def test_ties_along_an_axis(axis, root):
    ties = Ties()
    ties.tie_along(ties.new(6).reshape(2, 3), axis)

    assert ties.resolve().root.tolist() == root


def test_a_channel_that_stays_makes_its_peers_stay():
    ties = Ties()
    a, b, c = ties.new(2), ties.new(2), ties.new(2)
    ties.tie(a, b)
    ties.tie(b, c)
    ties.pin(c[:1], "why")

    classes = ties.resolve()
    assert classes.is_pinned(np.arange(6)).tolist() == [True, False] * 3
    assert classes.reasons(a) == ("why",)
    assert classes.reasons(a[1:]) == ()


def test_but_it_does_not_make_them_one():
    """Both are added to the same input channel: they must stay, and not as one channel."""
    ties = Ties()
    a, b, fixed = ties.new(1), ties.new(1), ties.new_pinned("input")
    ties.tie(a, fixed)
    ties.tie(b, fixed)

    classes = ties.resolve()
    assert len(set(classes.root.tolist())) == 3
    assert classes.is_pinned(np.arange(3)).all()


@pytest.mark.parametrize("late", [True, False])
def test_pins_before_or_after_ties_are_the_same(late):
    ties = Ties()
    a, b, c = ties.new(1), ties.new(1), ties.new(1)
    if not late:
        ties.pin(b, "why")
    ties.tie(a, b)
    ties.tie(b, c)
    if late:
        ties.pin(b, "why")

    assert ties.resolve().is_pinned(np.arange(3)).all()


def test_what_is_tied_to_a_peer_of_what_stays_stays_too():
    """a and b are one channel, b and fixed another pair: the pin reaches a through b."""
    ties = Ties()
    a, b, fixed = ties.new(1), ties.new(1), ties.new_pinned("why")
    ties.tie(b, fixed)
    ties.tie(a, b)

    classes = ties.resolve()
    assert classes.is_pinned(a).all()
    assert classes.root[a] == classes.root[b]


def test_each_reason_is_told_once():
    ties = Ties()
    a = ties.new(2)
    for reason in ("one", "two", "one"):
        ties.pin(a, reason)

    assert ties.resolve().reasons(a) == ("one", "two")


def test_two_pins_with_reasons_of_their_own():
    ties = Ties()
    a, b = ties.new_pinned("one"), ties.new_pinned("two")
    ties.tie(a, b)

    classes = ties.resolve()
    assert set(classes.reasons(a)) == set(classes.reasons(b)) == {"one", "two"}


def test_nothing_at_all():
    classes = Ties().resolve()

    assert classes.root.tolist() == []
    assert classes.is_pinned(np.array([], np.int64)).tolist() == []
