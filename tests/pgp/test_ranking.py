"""Which filters are weak and which leave, on scores written out."""

import numpy as np
import pytest

from tfmot_swd.pgp.ranking import Ranked, Selection, any_leaves, count_weak, select_filters


def group(scores, initial=None, name="g", parts=()):
    scores = np.array(scores, np.float64)
    return Ranked(name, len(scores) if initial is None else initial, scores, tuple(map(np.array, parts)))


def lists(selection: Selection) -> tuple[list[int], list[int]]:
    return selection.hard.tolist(), selection.soft.tolist()


@pytest.mark.parametrize(
    ("initial", "now", "share", "weak"),
    [
        (64, 60, 0.5**0.3, 8),
        # 20 - 20·(1 - 0.7) is 13.999... in float64
        (20, 20, 1 - 0.7, 14),
        (10, 10, 0.96, 0),
        (10, 4, 0.5, 0),
        (4, 4, 0.01, 3),
        (1, 1, 0.1, 0),
        # A group whose filters have become larger counts them in parts of the larger ones.
        (9.5, 9, 0.5, 4),
    ],
)
def test_the_number_of_weak_filters_is_truncated_and_one_stays(initial, now, share, weak):
    assert count_weak(initial, now, share) == weak


def test_the_weakest_leave_and_the_next_are_silenced():
    selection = select_filters([group([5, 1, 4, 2, 3, 9, 8, 7])], 0.5, 0.5)["g"]
    assert lists(selection) == ([1, 3], [4, 2])


@pytest.mark.parametrize(("share", "hard"), [(0.0, []), (0.3, [1]), (1.0, [1, 3, 4, 2])])
def test_the_hard_share_is_truncated(share, hard):
    selection = select_filters([group([5, 1, 4, 2, 3, 9, 8, 7])], 0.5, share)["g"]
    assert selection.hard.tolist() == hard
    assert len(selection.soft) == 4 - len(hard)


def test_of_equal_scores_the_first_go():
    assert lists(select_filters([group([0, 0, 0, 0])], 0.5, 0.5)["g"]) == ([0], [1])


def test_at_least_one_stays():
    assert lists(select_filters([group([2, 1])], 0.01, 1.0)["g"]) == ([1], [])
    assert lists(select_filters([group([2])], 0.01, 1.0)["g"]) == ([], [])


@pytest.mark.parametrize(("minimum", "hard", "soft"), [(3, [0, 1, 2], []), (6, [], []), (9, [], [])])
def test_a_minimum_stays(minimum, hard, soft):
    assert lists(select_filters([group([1, 2, 3, 4, 5, 6])], 0.2, 1.0, minimum=minimum)["g"]) == (hard, soft)


def test_the_minimum_bounds_the_silenced_ones_too():
    # 4 are weak, of which 2 are hard, but 3 stay whole.
    assert lists(select_filters([group([1, 2, 3, 4, 5, 6])], 0.2, 0.5, minimum=3)["g"]) == ([0, 1], [2])


@pytest.mark.parametrize(
    ("round_to", "hard", "soft"),
    [
        (1, [0, 1, 2], [3, 4]),
        (4, [0, 1], [2, 3, 4]),
        # Eight, or all ten, stay for ever.
        (8, [0, 1], []),
        (16, [], []),
    ],
)
def test_what_is_kept_is_rounded_up_and_the_rest_is_silenced_if_it_can_leave(round_to, hard, soft):
    assert lists(select_filters([group(np.arange(10))], 0.5, 0.6, round_to=round_to)["g"]) == (hard, soft)


@pytest.mark.parametrize(
    ("final_left", "soft"),
    # 4.8 → 8 stay at the end, so that all 6 weak ones leave; of 8.8 → 16 none does.
    [(0.3, 6), (0.55, 0)],
)
def test_what_rounding_keeps_at_the_end_is_never_silenced(final_left, soft):
    selection = select_filters([group(np.arange(16))], 0.6, 0.5, round_to=8, final_left=final_left)["g"]
    assert lists(selection) == ([], list(range(soft)))


def test_no_more_are_silenced_than_leave_at_the_end():
    # 12 of 16 stay, so of the 6 that are weak now only 4 go.
    selection = select_filters([group(np.arange(16))], 0.6, 0.5, round_to=4, final_left=0.7)["g"]
    assert lists(selection) == ([], [0, 1, 2, 3])


def test_each_part_keeps_its_strongest():
    # The first three are made by one convolution, the others by another; all weak ones stand in the first.
    weak_half = group([1, 2, 3, 7, 8, 9], parts=[[0, 1, 2], [3, 4, 5]])
    assert lists(select_filters([weak_half], 0.5, 1.0)["g"]) == ([0, 1, 3], [])
    assert lists(select_filters([weak_half], 0.5, 1.0, minimum=2)["g"]) == ([0, 3], [])


def test_global_compares_scores_over_the_norm_of_their_group():
    # Over the norms, which are 5 and about 50.6: .6 .8 and .61 .79 .01 .005; the absolute ones of "a" are no weaker.
    groups = [group([3, 4], name="a"), group([31, 40, 0.5, 0.25], name="b")]
    selections = select_filters(groups, 0.5, 1.0, scope="global")
    assert lists(selections["a"]) == ([0], [])
    assert lists(selections["b"]) == ([3, 2], [])


def test_global_splits_hard_and_soft_over_all_groups():
    groups = [group([1, 2, 100, 100], name="a"), group([30, 40, 50, 60], name="b")]
    selections = select_filters(groups, 0.5, 0.5, scope="global")
    assert lists(selections["a"]) == ([0, 1], [])
    assert lists(selections["b"]) == ([], [0, 1])


def test_global_removes_as_many_as_asked_of_all_together():
    # "a" has lost more than its share before: that counts for "b".
    groups = [group([5, 6], initial=10, name="a"), group(np.arange(1, 11), initial=10, name="b")]
    selections = select_filters(groups, 0.5, 1.0, scope="global")
    assert sum(len(each.hard) for each in selections.values()) == 2
    assert not sum(len(each.hard) for each in select_filters(groups, 0.6, 1.0, scope="global").values())


def test_global_leaves_one_of_each_group():
    groups = [group([0, 0, 0], name="a"), group([1, 1, 1], name="b")]
    selections = select_filters(groups, 0.01, 1.0, scope="global")
    assert [len(each.hard) for each in selections.values()] == [2, 2]


def test_no_groups_no_selections():
    assert select_filters([], 0.5, 0.5) == select_filters([], 0.5, 0.5, scope="global") == {}


@pytest.mark.parametrize(
    ("sizes", "share_left", "scope", "round_to", "minimum", "expected"),
    [
        ((8,), 0.9, "layer", 1, 1, False),  # int(8 - 7.2) is 0
        ((8,), 0.875, "layer", 1, 1, True),
        ((8,), 0.5, "layer", 1, 8, False),
        ((8,), 0.5, "layer", 1, 7, True),
        ((8,), 0.5, "layer", 8, 1, False),
        ((8,), 0.5, "layer", 6, 1, True),
        ((8,), 0.51, "layer", 4, 1, False),  # 5 would be left, rounded up to 8
        ((8, 12), 0.51, "layer", 4, 1, True),  # 7 of 12, rounded up to 8
        ((8, 12), 0.95, "layer", 1, 1, False),
        ((8, 12), 0.95, "global", 1, 1, True),  # int(20 - 19) of both
        ((8, 12), 0.96, "global", 1, 1, False),
        ((8, 12), 0.6, "global", 8, 1, True),  # all 8 weak ones may be of the group of 12
        ((8, 12), 0.9, "global", 8, 1, False),
    ],
)
def test_whether_any_filter_can_leave(sizes, share_left, scope, round_to, minimum, expected):
    groups = [Ranked(str(place), size, np.zeros(size)) for place, size in enumerate(sizes)]
    assert any_leaves(groups, share_left, scope=scope, round_to=round_to, minimum=minimum) is expected
