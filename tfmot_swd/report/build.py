"""Assembly of a device report from models, files and a training."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterable, Mapping
from numbers import Integral
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from tfmot_swd.channels import RemovalPlan, channel_groups
from tfmot_swd.channels.plan import ChannelPlan
from tfmot_swd.costs.profile import LayerProfile, Profile, profile
from tfmot_swd.io.json_files import plain
from tfmot_swd.keras2.layer_weights import layers_with_weights, unwrapped
from tfmot_swd.keras3.door import opened
from tfmot_swd.pruning.sparsity import LayerSparsity, sparsity_report
from tfmot_swd.report import provenance
from tfmot_swd.report.data import BarrierRow, LayerRow, Totals
from tfmot_swd.report.files import file_rows
from tfmot_swd.report.panels import training_panels
from tfmot_swd.report.result import DeviceReport
from tfmot_swd.report.scoring import Metric, compiled_metric, measure_scores, metric_name, scores_of_proofs
from tfmot_swd.tflite.measure import FileMeasure
from tfmot_swd.tflite.result import ExportResult

_Result = TypeVar("_Result", ExportResult, FileMeasure)


def device_report(
    dense: Any,
    small: Any,
    exports: Iterable[ExportResult] = (),
    measures: Iterable[FileMeasure] = (),
    history: Any = None,
    statuses: Iterable[Any] = (),
    *,
    steps_per_epoch: int | None = None,
    removal: Any = None,
    advice: Iterable[Any] = (),
    data: Any = None,
    metric: Metric | None = None,
    title: str | None = None,
    command: str | None = None,
    seed: int | None = None,
) -> DeviceReport:
    """Builds the report on a pruned model: both models by layer, its files, their scores and the training.

    Args:
        dense: the model before; a built tf_keras or Keras 3 Sequential or Functional model without wrappers.
        small: the model after, with layers of the same names; the same model if nothing was done yet.
        exports: what `export_tflite` returned.
        measures: what `measure_files` returned; those of the same path join the exports.
        history: what `fit` returned, or its dictionary.
        statuses: `UpdatePruningStep.history`.
        steps_per_epoch: to draw both over updates, where the history does not know it.
        removal: the `RemovalPlan` or `ChannelPlan` that was followed: its reasons join those of the model.
        advice: on each file: dictionaries, or objects with a `to_dict`, such as those of `advise`.
        data: `(x, y)`, or a `tf.data.Dataset` of such batches, to measure both models and all files on. Without them
            the accuracies are those of the exports' proofs, and that of the dense model is not known.
        metric: a metric of tf_keras or Keras 3, or a function of targets and outputs; None for the first of `compile`
            where a model was trained with one, else the accuracy. A str is the name that the accuracy is shown under.
        title: of the page; the name of the model by default.
        command: that made it; how this process was started by default.
        seed: of the training.

    Raises:
        TypeError, ValueError: models that `profile` refuses; exports, measures, a plan, a history, status, advice,
            title, command or seed of another kind; data or a metric that `scoring.measure_scores` refuses; a file
            that is not the one any more that was proven.

    >>> import tf_keras as keras, tfmot_swd
    >>> net = keras.Sequential([keras.layers.Dense(3, input_shape=(4,), name="hidden"), keras.layers.Dense(2)])
    >>> report = device_report(net, tfmot_swd.channels.remove_channels(net, {"hidden": [True, False, True]}))
    >>> report.layers[0].channels_before, report.layers[0].channels_after
    (3, 2)
    """
    exports = _results("exports", exports, ExportResult, "export_tflite")
    measures = _results("measures", measures, FileMeasure, "measure_files")
    if removal is not None and not isinstance(removal, RemovalPlan | ChannelPlan):
        raise TypeError(
            f"removal must be the RemovalPlan or ChannelPlan that was followed. Received: removal={removal!r}"
        )
    for name, text in (("title", title), ("command", command)):
        if text is not None and not isinstance(text, str):
            raise TypeError(f"{name} must be text, or None. Received: {name}={text!r}")
    seed = _checked_seed(seed)
    if metric is None:
        metric = compiled_metric(small, dense)
    # The same model, if nothing was done yet, is converted once.
    dense, small = (opened(dense),) * 2 if small is dense else (opened(dense), opened(small))
    before, after = profile(dense), profile(small)
    name = metric_name(metric)
    paths = list(dict.fromkeys([*(str(each.path) for each in measures), *(str(each.path) for each in exports)]))
    scores = None if data is None else measure_scores(dense, small, paths, data, metric)
    weights_before, weights_after = ({row.layer: row for row in sparsity_report(net).layers} for net in (dense, small))
    totals = _totals(before, after, weights_before, weights_after)
    known = scores or scores_of_proofs(name, exports, totals.kernels_before or 0, totals.kernels_after or 0)
    return DeviceReport(
        title=f"{dense.name} on its way to a device" if title is None else title,
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        command=provenance.command() if command is None else command,
        seed=seed,
        machine=provenance.machine(),
        versions=provenance.versions(),
        totals=totals,
        layers=_layers(dense, small, before, after, weights_before, weights_after),
        files=file_rows(exports, measures, scores),
        panels=training_panels(history, statuses, steps_per_epoch),
        barriers=_barriers(dense, removal),
        advice=tuple(_advice(each) for each in advice),
        metric=known.metric,
        samples=known.samples,
        dense_score=known.dense,
        small_score=known.small,
    )


def _results(name: str, given: Any, kind: type[_Result], maker: str) -> tuple[_Result, ...]:
    if isinstance(given, kind | str | Mapping) or not isinstance(given, Iterable):
        raise TypeError(f"{name} must be a list of what {maker} returned. Received: {name}={type(given).__name__}")
    results = tuple(given)
    for each in results:
        if not isinstance(each, kind):
            raise TypeError(f"{name} must be a list of what {maker} returned. Received: {type(each).__name__} among it")
    return results


def _checked_seed(seed: Any) -> int | None:
    """Returns a seed as JSON has it; NumPy's whole numbers are whole numbers too."""
    if seed is None:
        return None
    if isinstance(seed, bool | np.bool_) or not isinstance(seed, Integral):
        raise TypeError(f"seed must be a whole number, or None. Received: seed={seed!r}")
    return int(seed)


def _totals(
    before: Profile, after: Profile, weights_before: dict[str, LayerSparsity], weights_after: dict[str, LayerSparsity]
) -> Totals:
    return Totals(
        before.parameters,
        after.parameters,
        sum(row.prunable_weights for row in weights_before.values()),
        sum(row.prunable_weights for row in weights_after.values()),
        sum(row.nonzero_prunable_weights for row in weights_before.values()),
        sum(row.nonzero_prunable_weights for row in weights_after.values()),
        before.macs,
        after.macs,
        before.peak_activation_bytes,
        after.peak_activation_bytes,
        sum(row.kernels for row in weights_before.values()),
        sum(row.kernels for row in weights_after.values()),
        sum(row.nonzero_kernels for row in weights_before.values()),
        sum(row.nonzero_kernels for row in weights_after.values()),
    )


def _layers(
    dense: Any,
    small: Any,
    before: Profile,
    after: Profile,
    weights_before: dict[str, LayerSparsity],
    weights_after: dict[str, LayerSparsity],
) -> tuple[LayerRow, ...]:
    """Returns a row for each layer with parameters or MACs on either side."""
    axes = _channel_axes(dense) | _channel_axes(small)
    sides = [{row.layer: row for row in each.rows} for each in (before, after)]
    rows = []
    for name in dict.fromkeys([*sides[0], *sides[1]]):
        first, last = (side.get(name) for side in sides)
        some = first or last
        if some is None or not any(each.parameters or each.macs for each in (first, last) if each is not None):
            continue
        pools = weights_before.get(name), weights_after.get(name)
        axis = axes.get(name, -1)
        rows.append(
            LayerRow(
                name,
                some.kind,
                *(_channels(each, axis) for each in (first, last)),
                *(None if each is None else each.parameters for each in (first, last)),
                *(None if each is None else each.prunable_weights for each in pools),
                *(None if each is None else each.nonzero_prunable_weights for each in pools),
                *(None if each is None or not each.macs_known else each.macs for each in (first, last)),
                *(None if each is None else each.kernels for each in pools),
                *(None if each is None else each.nonzero_kernels for each in pools),
            )
        )
    return tuple(rows)


def _channel_axes(model: Any) -> dict[str, int]:
    """Returns the axis of the channels in one sample, of layers that put them first."""
    inner = {name: unwrapped(layer) for name, layer in layers_with_weights(model)}
    return {name: 0 for name, layer in inner.items() if getattr(layer, "data_format", None) == "channels_first"}


def _channels(row: LayerProfile | None, axis: int) -> int | None:
    if row is None or not row.output_shapes or not row.output_shapes[0]:
        return None
    return int(row.output_shapes[0][axis])


def _barriers(dense: Any, removal: Any) -> tuple[BarrierRow, ...]:
    groups = channel_groups(dense)
    rows = [BarrierRow(each.layer, each.channels, each.total_channels, tuple(each.reasons)) for each in groups.barriers]
    for row in () if removal is None else removal.rows:
        if row.reason:
            rows.append(
                BarrierRow(row.group, getattr(row, "remaining_channels", row.channels), row.channels, (row.reason,))
            )
    return tuple(rows)


def _advice(entry: Any) -> dict[str, Any]:
    content = entry.to_dict() if hasattr(entry, "to_dict") else entry
    if not isinstance(content, Mapping):
        raise TypeError(f"advice is made of dictionaries. Received: {type(entry).__name__} among it")
    known: dict[str, Any] = json.loads(json.dumps(plain(content), default=str))
    # Directories of this machine are nobody's business where the report goes.
    return {name: Path(value).name if name in ("file", "path") and value else value for name, value in known.items()}
