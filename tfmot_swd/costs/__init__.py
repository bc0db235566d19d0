"""Costs of a model (parameters, MACs, bytes, custom ones), its profile, and budgets."""

from tfmot_swd.costs.budget import Budget
from tfmot_swd.costs.cost import Cost, find_cost, register_cost
from tfmot_swd.costs.counts import CountedCall
from tfmot_swd.costs.latency_cost import LatencyCost
from tfmot_swd.costs.latency_fit import OperatorRun, OperatorTime
from tfmot_swd.costs.latency_table import LatencyTable
from tfmot_swd.costs.limits import BudgetFit, fit_budget
from tfmot_swd.costs.profile import LayerProfile, Profile, ProfileComparison, profile
from tfmot_swd.costs.terms import CostTerms

__all__ = [
    "Budget",
    "BudgetFit",
    "Cost",
    "CostTerms",
    "CountedCall",
    "LatencyCost",
    "LatencyTable",
    "LayerProfile",
    "OperatorRun",
    "OperatorTime",
    "Profile",
    "ProfileComparison",
    "find_cost",
    "fit_budget",
    "profile",
    "register_cost",
]
