import pytest

from research.statistics import Difference, holm, paired


def test_the_interval_of_three_differences():
    # Differences 1, 2, 3: mean 2, standard error 1/sqrt(3), t(2) at 97.5 % is 4.30265.
    found = paired({0: 2.0, 1: 4.0, 2: 6.0, 7: 0.0}, {0: 1.0, 1: 2.0, 2: 3.0})

    assert found.mean == pytest.approx(2.0)
    assert found.low == pytest.approx(2.0 - 4.30265 / 3**0.5, rel=1e-5)
    assert found.high == pytest.approx(2.0 + 4.30265 / 3**0.5, rel=1e-5)
    assert found.seeds == 3
    # t = 2 / (1/sqrt(3)) = 3.4641 with two degrees of freedom.
    assert found.p == pytest.approx(0.0742, abs=1e-4)


def test_one_seed_compares_nothing():
    with pytest.raises(ValueError, match="Received: 1 in common"):
        paired({0: 1.0, 1: 2.0}, {0: 1.0})


def test_holm_by_hand():
    # 0.01 against 0.05/3 passes; 0.04 against 0.05/2 fails, and 0.045 is held against that level too.
    levels = holm([0.04, 0.01, 0.045])

    assert levels == pytest.approx([1 - 0.05 / 2, 1 - 0.05 / 3, 1 - 0.05 / 2])


@pytest.mark.parametrize(
    ("low", "high", "seeds", "words"),
    [
        (0.1, 0.5, 5, "better"),
        (-0.5, -0.1, 5, "worse"),
        (-0.2, 0.3, 5, "as good as"),
        (-0.2, 0.8, 5, ""),
        (0.1, 0.5, 4, ""),
    ],
)
def test_words_only_where_the_interval_allows_them(low, high, seeds, words):
    assert Difference((low + high) / 2, low, high, 0.5, seeds).verdict(margin=0.5) == words
