"""The bracket closes around the smallest share that holds, in few tries, and forgets nothing."""

import math

import pytest

from tfmot_swd.workflows.bracket import Tried, next_share


def search(holds, first, least=0.001, tolerance=0.1, reached=lambda share: share, **options):
    tried = []
    while (share := next_share(tried, first, least=least, tolerance=tolerance, **options)) is not None:
        tried.append(Tried(share, reached(share), holds(share)))
        assert len(tried) < 20
    return tried


@pytest.mark.parametrize(("edge", "first"), [(0.3, 0.27), (0.3, 0.5), (0.3, 0.9), (0.05, 0.2), (0.8, 0.3), (0.02, 1.0)])
def test_the_edge_is_found_within_the_tolerance(edge, first):
    tried = search(lambda share: share >= edge, first)
    found = min(each.share for each in tried if each.holds)
    assert edge <= found <= edge * 1.1
    # Halvings down to the edge, one step beyond, and three that bisect a factor of two to a tenth.
    assert len(tried) <= math.ceil(max(math.log2(first / edge), 0)) + 6


def test_known_tries_count_in_any_order():
    known = [Tried(0.2, 0.2, False), Tried(0.8, 0.8, True), Tried(0.1, 0.1, False), Tried(0.4, 0.4, True)]
    assert next_share(known, 0.9) == pytest.approx(math.sqrt(0.2 * 0.4))
    # A share that misses above one that holds is noise.
    assert next_share([*known, Tried(0.5, 0.5, False)], 0.9) == pytest.approx(math.sqrt(0.2 * 0.4))


def test_what_a_model_really_costs_is_the_upper_end():
    assert next_share([Tried(0.5, 0.4, True), Tried(0.38, 0.3, False)], 0.5) is None
    # An estimate that was too low does not widen the bracket.
    assert next_share([Tried(0.5, 0.6, True)], 0.5) == 0.25


def test_a_model_of_more_than_was_asked_for_is_no_narrow_end():
    held, missed = Tried(0.375, 0.3904, True), Tried(0.35, 0.35, False)
    # .3904 is more than a tenth above .35, .375 is not.
    assert next_share([held, missed], 0.5) == pytest.approx(math.sqrt(0.375 * 0.35))
    # Where the one that missed has more than was asked for too, the two models are as close as was asked.
    assert next_share([held, Tried(0.35, 0.364, False)], 0.5) is None


def test_models_of_more_than_asked_for_do_not_keep_the_search_going():
    tried = search(lambda share: share >= 0.3, 0.5, reached=lambda share: 1.3 * share)
    assert len(tried) <= 6


def test_it_ends_at_the_least_share_and_at_the_whole():
    assert [each.share for each in search(lambda share: True, 0.3, least=0.1)] == [0.3, 0.15, 0.1]
    assert search(lambda share: False, 0.5)[-1].share > 1 / 1.1
    assert next_share([], 0.5, least=0.95) is None


def test_a_floor_above_the_whole_model_is_tried_once_at_the_top():
    assert [each.share for each in search(lambda share: False, 0.3, whole_holds=False)] == [1 / 1.1]
    # A training may improve the model.
    tried = search(lambda share: share >= 0.5, 0.3, whole_holds=False)
    assert 0.5 <= min(each.share for each in tried if each.holds) <= 0.55
