"""Latency as a cost, counted from a measured table of operator times."""

from __future__ import annotations

import functools
import os
import warnings
from typing import Any

from tfmot_swd.costs.cost import Cost
from tfmot_swd.costs.counts import ChannelCosts
from tfmot_swd.costs.latency_table import LatencyTable
from tfmot_swd.costs.operators import CountedOperator, count_operators
from tfmot_swd.costs.terms import CostTerms
from tfmot_swd.keras2.compat import keras
from tfmot_swd.keras2.validation import PruningWarning

_ITEMSIZE = {"int8": 1, "float32": 4}


@keras.utils.register_keras_serializable("tfmot_swd")
class LatencyCost(Cost):
    """Microseconds of one inference on a device, from a `LatencyTable` of it.

    The latency of a network is Σ (a + b·MACs + c·bytes + d·positions) over the operators that its layers become in a
    TFLite file, with the coefficients of each operator's kind, plus what an inference takes besides. Use it where the
    time on a device is what matters: the first convolution, depthwise convolutions and operators that only move bytes
    take more of it than their multiply-accumulates say.

    Layers that become several operators, as recurrent cells and attention, count as one, and a kind that the table
    lacks counts by the closest one: a `PruningWarning` says so once.

    Args:
      table: of the device.
      recipe: of the TFLite file, "int8" or "float32"; a `Budget` sets its own.

    Raises:
      TypeError: `table` is not a LatencyTable.
      ValueError: the table does not have the recipe.

    >>> import tf_keras as keras
    >>> from tfmot_swd.costs import Budget, LatencyTable, OperatorTime
    >>> table = LatencyTable((OperatorTime("int8", "dense", 2.0, 0.01, 0.0),))
    >>> net = keras.Sequential([keras.layers.Dense(100, input_shape=(10,)), keras.layers.Dense(2)])
    >>> LatencyCost(table).of(net)
    16.0
    >>> Budget(latency=0.5, custom_costs={"latency": LatencyCost(table)})
    Budget(latency=0.5, recipe='int8')
    """

    def __init__(self, table: LatencyTable, recipe: str = "int8") -> None:
        if not isinstance(table, LatencyTable):
            raise TypeError(
                "A latency is counted from a tfmot_swd.costs.LatencyTable: LatencyCost.read('device.json') reads one. "
                f"Received: {table!r}"
            )
        table.check_recipe(recipe)
        self.table, self.recipe = table, recipe

    @classmethod
    def read(cls, path: str | os.PathLike[str], recipe: str | None = None) -> LatencyCost:
        """Returns the cost of the table in a file, as `LatencyTable.read` takes it.

        Args:
          path: of the file.
          recipe: of the TFLite file; by default int8, or what the table has where it lacks that.

        Raises:
          OSError, ValueError: as `LatencyTable.read`; the table does not have the recipe.
        """
        table = LatencyTable.read(path)
        return cls(table, recipe or ("int8" if "int8" in table.recipes else table.recipes[0]))

    def terms(self, model: ChannelCosts) -> CostTerms:
        operators = count_operators(model)
        self._say(operators)
        total = CostTerms.of([]) + self.table.inference_us.get(self.recipe, 0.0)
        for each in operators:
            time = self.table.time(self.recipe, each.kind)
            moved = _ITEMSIZE[self.recipe] * each.elements
            fixed = each.repeats * time.start_us + time.us_per_position * each.positions
            total = total + fixed + time.us_per_mac * each.macs + time.us_per_byte * moved
        return total

    def for_recipe(self, recipe: str) -> LatencyCost:
        return self if recipe == self.recipe else LatencyCost(self.table, recipe)

    def get_config(self) -> dict[str, Any]:
        return {"table": self.table.to_dict(), "recipe": self.recipe}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> LatencyCost:
        return cls(LatencyTable.from_dict(config["table"]), config["recipe"])

    def __repr__(self) -> str:
        return f"LatencyCost({self.table.device or 'a table'}, recipe={self.recipe!r})"

    def _say(self, operators: list[CountedOperator]) -> None:
        """Warns of what is counted by something else."""
        lacking = dict.fromkeys(each.kind for each in operators if self.table.find(self.recipe, each.kind) is None)
        if lacking:
            closest = {kind: self.table.time(self.recipe, kind).kind for kind in lacking}
            _warn_once(
                "The table of latencies lacks kinds of operators, which are counted by the closest: measure them too "
                "(tfmot-swd calibrate does). Received: "
                + ", ".join(f"{kind} counted as {other}" for kind, other in closest.items())
            )
        unknown = dict.fromkeys(each.path for each in operators if not each.is_known)
        if unknown:
            _warn_once(
                "Layers that become operators which are not known count as one in this latency, a rough estimate: "
                f"measure the file. Received: {', '.join(unknown)}"
            )


@functools.lru_cache(maxsize=256)
def _warn_once(message: str) -> None:
    """Warns once in a process: terms are counted anew for each search."""
    warnings.warn(message, PruningWarning, stacklevel=2)
