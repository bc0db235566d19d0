"""Profiles of a model, layer by layer: parameters, multiply-accumulates, activation bytes."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from typing import Any, NamedTuple

from rich.table import Table

from tfmot_swd.costs.liveness import CallTrace, Step
from tfmot_swd.io.deprecation import warn_deprecated
from tfmot_swd.io.json_files import JsonResult
from tfmot_swd.io.tables import COMPACT, Printable, ResultTable, View
from tfmot_swd.keras2.compat import master_variable
from tfmot_swd.keras2.graph import class_name
from tfmot_swd.keras2.layer_weights import weights_inside
from tfmot_swd.keras2.validation import check_keras_model
from tfmot_swd.keras3.door import opened
from tfmot_swd.layers.macs import Shape, count_macs
from tfmot_swd.layers.sample import InputShape

_COSTS = ("parameters", "macs", "activation_bytes")


@dataclasses.dataclass(frozen=True)
class LayerProfile:
    """Costs of one layer.

    Args:
      layer: path of the layer; layers of nested models are written model/layer.
      kind: name of its class; for a pruning wrapper, of the layer inside.
      calls: number of calls in the model.
      output_shapes: distinct output shapes for one sample, without the batch axis.
      parameters: number of parameters; weights shared with an earlier layer count there.
      trainable_parameters: number of those that are trainable.
      macs: multiply-accumulates for one sample, over all calls.
      macs_known: False where the MACs of the class are unknown, so that `macs` is 0.
      activation_bytes: bytes of its outputs for a batch, over all calls.
    """

    layer: str
    kind: str
    calls: int
    output_shapes: tuple[Shape, ...]
    parameters: int
    trainable_parameters: int
    macs: int
    macs_known: bool
    activation_bytes: int


@dataclasses.dataclass(frozen=True)
class Profile(Printable, JsonResult):
    """Costs of the layers of a model in the order in which Keras runs them, and totals; prints as a table.

    The table has the totals and the layers that cost most; that of `full()` has all layers.

    Args:
      rows: one per layer, model inputs included.
      batch_size: batch size for which activations are counted.
      peak_activation_bytes: the largest number of activation bytes alive at once.
      peak_layer: path of the first layer during whose call they are.
    """

    rows: tuple[LayerProfile, ...]
    batch_size: int
    peak_activation_bytes: int
    peak_layer: str

    @property
    def parameters(self) -> int:
        """The number of parameters, moving statistics included."""
        return sum(row.parameters for row in self.rows)

    @property
    def trainable_parameters(self) -> int:
        """The number of trainable parameters."""
        return sum(row.trainable_parameters for row in self.rows)

    @property
    def macs(self) -> int:
        """Multiply-accumulates for one sample."""
        return sum(row.macs for row in self.rows)

    @property
    def activation_bytes(self) -> int:
        """The bytes of all tensors between layers, without reuse of memory."""
        return sum(row.activation_bytes for row in self.rows)

    @property
    def unknown(self) -> tuple[str, ...]:
        """The paths of layers whose multiply-accumulates are unknown, and missing in the total."""
        return tuple(row.layer for row in self.rows if not row.macs_known)

    def against(self, after: Profile) -> ProfileComparison:
        """Returns the comparison of this profile with that of the model after a change.

        Raises:
          TypeError: `after` is not a `Profile`.
          ValueError: it has another batch size.
        """
        if not isinstance(after, Profile):
            raise TypeError(f"A profile is compared with a profile: call profile(model). Received: {after!r}")
        if after.batch_size != self.batch_size:
            raise ValueError(
                "Profiles of different batch sizes cannot be compared: make both with the same. "
                f"Received: {self.batch_size} and {after.batch_size}"
            )
        return ProfileComparison(self, after)

    def to_dict(self) -> dict[str, Any]:
        """Returns the totals and the layers as plain types, ready for JSON."""
        return {
            "batch_size": self.batch_size,
            "parameters": self.parameters,
            "trainable_parameters": self.trainable_parameters,
            "macs": self.macs,
            "activation_bytes": self.activation_bytes,
            "peak_activation_bytes": self.peak_activation_bytes,
            "peak_layer": self.peak_layer,
            "unknown": list(self.unknown),
            "layers": [
                {**dataclasses.asdict(row), "output_shapes": [list(shape) for shape in row.output_shapes]}
                for row in self.rows
            ],
        }

    def to_json(self) -> dict[str, Any]:
        """Deprecated: `to_dict`."""
        warn_deprecated("Profile.to_json()", "to_dict()")
        return self.to_dict()

    def tables(self, view: View = COMPACT) -> tuple[Table, ...]:
        table = ResultTable(
            f"{self.parameters:,} parameters ({self.trainable_parameters:,} trainable), {self.macs:,} MACs, "
            f"at most {self.peak_activation_bytes:,} activation bytes at once (batch of {self.batch_size}, "
            f"in {self.peak_layer})"
        )
        table.add_column("layer", overflow="fold")
        table.add_column("class")
        table.add_column("output")
        for heading in ("parameters", "MACs", "activation bytes"):
            table.add_column(heading, justify="right")
        table.add_row("total", "", "", *(f"{getattr(self, name):,}" for name in _COSTS), end_section=True)
        whole = [getattr(self, name) or 1 for name in _COSTS]
        shown, rest = view.split(
            self.rows, lambda row: max(getattr(row, name) / all_ for name, all_ in zip(_COSTS, whole, strict=True))
        )
        for row in shown:
            shapes = " ".join("x".join(map(str, shape)) for shape in row.output_shapes)
            macs = f"{row.macs:,}" if row.macs_known else "unknown"
            table.add_row(row.layer, row.kind, shapes, f"{row.parameters:,}", macs, f"{row.activation_bytes:,}")
        if rest:
            sums = (sum(getattr(row, name) for row in rest) for name in _COSTS)
            table.add_row(f"and {len(rest)} more", "", "", *(f"{each:,}" for each in sums))
        table.explain(_missing(self), view.note(shown, rest, "layers, those that cost most"))
        return (table,)


@dataclasses.dataclass(frozen=True)
class ProfileComparison(Printable, JsonResult):
    """Two profiles side by side, with layers matched by path; prints as a table with three digits per number.

    The table has the totals and the layers that changed most; that of `full()` has all layers.
    """

    before: Profile
    after: Profile

    def to_dict(self) -> dict[str, Any]:
        """Returns both profiles as plain types, ready for JSON; a ratio is after / before, None where before is 0."""
        keys = ("parameters", "trainable_parameters", "macs", "activation_bytes", "peak_activation_bytes")
        ratios = {key: _ratio(getattr(self.before, key), getattr(self.after, key)) for key in keys}
        return {"before": self.before.to_dict(), "after": self.after.to_dict(), "ratios": ratios}

    def to_json(self) -> dict[str, Any]:
        """Deprecated: `to_dict`."""
        warn_deprecated("ProfileComparison.to_json()", "to_dict()")
        return self.to_dict()

    def tables(self, view: View = COMPACT) -> tuple[Table, ...]:
        table = ResultTable(f"before → after, batch of {self.before.batch_size}")
        table.add_column("layer", overflow="fold")
        for heading in ("parameters", "MACs", "activation bytes"):
            table.add_column(heading, justify="right")
            table.add_column("ratio", justify="right")
        table.add_row("total", *_cells(self.before, self.after, *_COSTS))
        table.add_row("trainable", *_cells(self.before, self.after, "trainable_parameters"))
        table.add_row("at once", *[""] * 4, *_cells(self.before, self.after, "peak_activation_bytes"), end_section=True)
        sides = [{row.layer: row for row in side.rows} for side in (self.before, self.after)]
        pairs = [_Pair(each, sides[0].get(each), sides[1].get(each)) for each in dict.fromkeys([*sides[0], *sides[1]])]
        costly = [pair for pair in pairs if any(_cells(pair.before, pair.after, *_COSTS))]
        shown, rest = view.split(costly, self._changed)
        for pair in shown:
            table.add_row(pair.layer, *_cells(pair.before, pair.after, *_COSTS))
        if rest:
            before, after = _Sums.of(pair.before for pair in rest), _Sums.of(pair.after for pair in rest)
            table.add_row(f"and {len(rest)} more", *_cells(before, after, *_COSTS))
        missing = dict.fromkeys((_missing(self.before), _missing(self.after)))
        table.explain("; ".join(filter(None, missing)), view.note(shown, rest, "layers, those that changed most"))
        return (table,)

    def _changed(self, pair: _Pair) -> tuple[float, float]:
        """Returns the largest change of the costs of a layer, and its largest cost before, as shares of the model's."""
        changes, costs = [], []
        for name in _COSTS:
            whole = getattr(self.before, name) or 1
            before, after = (0 if row is None else getattr(row, name) for row in (pair.before, pair.after))
            changes.append(abs(after - before) / whole)
            costs.append(before / whole)
        return max(changes), max(costs)


class _Pair(NamedTuple):
    """A layer before and after; None where the model has no such layer."""

    layer: str
    before: LayerProfile | None
    after: LayerProfile | None


class _Sums(NamedTuple):
    """Total costs of several layers."""

    parameters: int
    macs: int
    activation_bytes: int

    @classmethod
    def of(cls, rows: Iterable[LayerProfile | None]) -> _Sums:
        found = [row for row in rows if row]
        return cls(*(sum(getattr(row, name) for row in found) for name in _COSTS))


def _missing(costs: Profile) -> str:
    return f"MACs not known, counted as 0: {', '.join(costs.unknown)}" if costs.unknown else ""


def _cells(before: Any, after: Any, *keys: str) -> list[str]:
    """Returns "before → after" and the ratio for each key; empty where both are 0, a dash for no layer."""
    cells = []
    for key in keys:
        pair = [None if side is None else getattr(side, key) for side in (before, after)]
        shown = " → ".join("-" if count is None else _short(count) for count in pair)
        ratio = _ratio(*pair)
        cells += [shown if any(pair) else "", "" if ratio is None else f"{ratio:.3g}"]
    return cells


def _ratio(before: int | None, after: int | None) -> float | None:
    return after / before if before and after is not None else None


def _short(count: int) -> str:
    """Returns three digits of a count, such as 41.4M."""
    # The exponent after rounding, so that 999,999 is 1M and not 1e+03k.
    unit = int(f"{count:.2e}".partition("e")[2]) // 3
    return f"{count / 1000**unit:.3g}{('', 'k', 'M', 'G', 'T', 'P')[unit]}"


def profile(model: Any, batch_size: int = 1, input_shape: InputShape | None = None) -> Profile:
    """Returns the parameters, multiply-accumulates and activation bytes of a model by layer, without running it.

    Use it to find out where a model is expensive, and `profile(a).against(profile(b))` to compare two.

    Parameters of a shared layer count once; masks and step counters of pruning wrappers, and ranges of
    quantization-aware training, do not count. MACs are for one sample and count every call (see
    `tfmot_swd.layers.macs`). Activation bytes are those of the tensors between layers, in their Keras dtypes, for
    `batch_size` samples.

    The peak follows the calls in Keras's order. A tensor lives from the call that writes it to the last that reads it;
    model inputs live from the start and outputs to the end. Layers that return their input unchanged at inference
    (flatten, reshape, dropout, noise, identity) allocate nothing and keep their input alive. Nothing is fused or
    written in place, and buffers inside a layer, such as attention scores, do not count: a runtime may do better or
    worse.

    Args:
      model: a built tf_keras or Keras 3 Sequential or Functional model, plain, wrapped for pruning or
        quantization-aware.
      batch_size: batch size for the activation bytes, also if the model's inputs have a fixed one.
      input_shape: the shape of the input without the batch axis, as (224, 224, 3), for a model that leaves sizes open;
        for several inputs a list of shapes, in the order of model.inputs.

    Raises:
      TypeError: `model` is not a model of tf_keras or Keras 3, or `batch_size` not an int.
      ValueError: the model is subclassed or not built; a size other than the batch size is neither fixed nor given, or
        given as another; a nested model is called on another size than it was built for; or `batch_size` is below 1.

    >>> import tf_keras as keras
    >>> net = keras.Sequential([keras.layers.Dense(2, input_shape=(3,)), keras.layers.ReLU()])
    >>> costs = profile(net)
    >>> costs.parameters, costs.macs, costs.peak_activation_bytes
    (8, 6, 20)
    """
    model = opened(model)
    check_keras_model(model)
    if not isinstance(batch_size, int) or isinstance(batch_size, bool):
        raise TypeError(f"batch_size must be an int, a number of samples. Received: {batch_size!r}")
    if batch_size < 1:
        raise ValueError(f"batch_size must be 1 or more. Received: {batch_size}")
    trace = CallTrace(model, batch_size, input_shape)
    steps: dict[int, list[Step]] = {}
    for step in trace.steps:
        steps.setdefault(id(step.layer), []).append(step)
    counted: set[int] = set()
    rows = tuple(_row(calls, counted) for calls in steps.values())
    peak, index = trace.peak()
    return Profile(rows, batch_size, peak, trace.steps[index].path)


def _row(steps: list[Step], counted: set[int]) -> LayerProfile:
    """Returns the costs of all calls of one layer; adds its weights to `counted`, by identity."""
    layer, wrapper = steps[0].layer, steps[0].wrapper
    weights = [weight for weight in weights_inside(wrapper) if id(weight) not in counted]
    counted.update(map(id, weights))
    trained = {id(master_variable(weight)) for weight in wrapper.trainable_weights}
    macs = [count_macs(layer, step.call) for step in steps]
    shapes = [
        write.shape[1:] if write.batched and write.shape[0] == 1 else write.shape
        for step in steps
        for write in step.writes
    ]
    return LayerProfile(
        layer=steps[0].path,
        kind=class_name(layer),
        calls=len(steps),
        output_shapes=tuple(dict.fromkeys(shapes)),
        parameters=sum(math.prod(weight.shape) for weight in weights),
        trainable_parameters=sum(math.prod(weight.shape) for weight in weights if id(weight) in trained),
        macs=sum(count for count in macs if count is not None),
        macs_known=None not in macs,
        activation_bytes=sum(step.activation_bytes for step in steps),
    )
