"""Sums of products of sizes, by hand."""

import numpy as np
import pytest

from tfmot_swd.costs.terms import CostTerms

SIZES = np.array([1.0, 4.0, 5.0])


def test_terms_of_the_same_axes_are_one_and_scale_as_a_line():
    terms = CostTerms.of([(2.0, [1, 2]), (3.0, [2, 1]), (7.0, [])])
    assert len(terms.coefficients) == 2
    assert terms.count(SIZES) == 5 * 20 + 7
    assert terms.scaled(0.5, 11.0).count(SIZES) == 0.5 * 107 + 11


def test_terms_add_up_to_each_other_and_to_numbers():
    first, second = CostTerms.of([(2.0, [1, 2]), (1.0, [1])]), CostTerms.of([(3.0, [2, 2, 1])])
    assert (first + second).count(SIZES) == 2 * 20 + 4 + 3 * 100
    assert sum([first, 0.5 * second, 7]).count(SIZES) == 44 + 150 + 7


def test_terms_of_the_same_axes_become_one():
    double = CostTerms.of([(2.0, [1, 2])]) + CostTerms.of([(1.0, [2, 1]), (1.0, [])]) + 3
    merged = double.merged()
    assert sorted(merged.coefficients) == [3.0, 4.0]
    assert merged.count(SIZES) == double.count(SIZES) == pytest.approx(64)


def test_whole_numbers_and_others_are_no_whole_number():
    whole = CostTerms.of([(1.0, [1])])
    other = CostTerms(whole.coefficients, whole.axes, integral=False)
    assert (whole + whole).integral
    assert not (whole + other).integral
