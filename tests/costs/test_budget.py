"""Budgets: shares and counts, and what is refused."""

import json

import numpy as np
import pytest

from tfmot_swd.costs.budget import Budget, as_budget

WHOLE = {"parameters": 1000, "macs": 80_000, "bytes": 4000}


@pytest.mark.parametrize(
    ("budget", "limits"),
    [
        (Budget(parameters=0.25), {"parameters": 250}),
        (Budget(parameters=300), {"parameters": 300}),
        (Budget(sparsity=0.9), {"parameters": 100}),
        (Budget(macs=0.5, bytes=3000), {"macs": 40_000, "bytes": 3000}),
        (Budget(parameters=1.0), {"parameters": 1000}),
        (Budget(parameters=1, macs=np.int64(1), bytes=np.float32(1)), {"parameters": 1, "macs": 1, "bytes": 4000}),
        (Budget(sparsity=0.0), {"parameters": 1000}),
        (Budget(macs=2e6), {"macs": 2_000_000}),
    ],
)
def test_limits_are_shares_of_the_whole_or_counts(budget, limits):
    assert budget.limits(WHOLE) == limits


@pytest.mark.parametrize("tenths", range(1, 10))
def test_a_share_that_is_a_whole_number_is_not_one_less(tenths):
    # 1 - 0.9 is 0.09999999999999998.
    assert Budget(sparsity=1 - tenths / 10).limits(WHOLE) == {"parameters": 100 * tenths}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "needs a limit.*Received: none"),
        ({"parameters": 0}, "count, or a share.*Received: parameters=0"),
        ({"macs": -5}, "Received: macs=-5"),
        ({"bytes": 1000.5}, "Received: bytes=1000.5"),
        ({"parameters": True}, "Received: parameters=True"),
        ({"bytes": "100k"}, "Received: bytes='100k'"),
        ({"sparsity": 1.0}, r"in \[0, 1\).*Received: 1.0"),
        ({"sparsity": 0.5, "parameters": 0.5}, "say the same"),
        ({"bytes": 1000, "recipe": "int4"}, "recipe must be one of int8, float32. Received: 'int4'"),
    ],
)
def test_what_is_no_budget_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Budget(**arguments)


def test_a_number_is_the_share_of_the_parameters_to_remove():
    assert as_budget(0.9) == Budget(sparsity=0.9)
    assert as_budget(Budget(macs=0.5)) == Budget(macs=0.5)
    with pytest.raises(ValueError, match=r"in \(0, 1\). Received: 90"):
        as_budget(90)
    with pytest.raises(TypeError, match="tfmot_swd.Budget.*Received: str"):
        as_budget("90 %")


def test_it_comes_back_from_its_config():
    budget = Budget(macs=0.5, bytes=100_000, recipe="float32")
    assert Budget.from_config(budget.get_config()) == budget


def test_numbers_of_numpy_are_numbers():
    budget = Budget(parameters=np.int64(300), macs=np.float32(0.5))
    assert budget.limits(WHOLE) == {"parameters": 300, "macs": 40_000}
    assert json.loads(json.dumps(budget.get_config()))["parameters"] == 300
    assert as_budget(np.float64(0.5)) == Budget(sparsity=0.5)
