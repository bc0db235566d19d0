"""The public surface: a short front row, the rest in rooms, and every old name for one release."""

import importlib

import pytest
import tf_keras as keras

import tfmot_swd
from tfmot_swd.swd import final_step

FRONT = [
    "AfterPruning",
    "Budget",
    "ProgressiveRate",
    "PruningSummaries",
    "PruningWarning",
    "SelectiveDecay",
    "StructuredDecay",
    "UpdatePruningStep",
    "compress",
    "device_report",
    "export_tflite",
    "plan_channels",
    "plan_pruning",
    "profile",
    "prune_low_magnitude",
    "prune_now",
    "prune_progressive_gradient",
    "prune_selective_decay",
    "quantize_aware",
    "register_layer",
    "sparsity_report",
    "strip_pruning",
]
ROOMS = ["channels", "costs", "keras3", "layers", "magnitude", "pgp", "pruning", "report", "swd", "tflite", "workflows"]
# Where version 0.1.0 had everything in one row.
MOVED = {
    "channels": """ChannelCriterion ChannelGroup ChannelGroups ChannelPlan RemovalPlan channel_groups channel_scores
        plan_dead_removal plan_removal register_channel_rule remove_channels remove_dead_channels shrink_model
        sliced_optimizer""",
    "costs": "BudgetFit Profile fit_budget",
    "pruning": "PruningPlan SparsityReport reestimate_batch_norm",
    "report": "DeviceReport",
    "tflite": "ExportError ExportResult FileAdvice FileMeasure advise measure_files run_tflite",
    "tflite.micro": "run_micro write_c_source",
    "swd": "PruneSelectiveDecay PruneStructuredDecay",
    "pgp": "PruneProgressiveGradient",
}


def test_the_front_row_is_short():
    assert sorted(tfmot_swd.__all__) == sorted(FRONT + ROOMS)
    for name in tfmot_swd.__all__:
        assert getattr(tfmot_swd, name).__doc__


@pytest.mark.parametrize("room", [*ROOMS, "tflite.micro"])
def test_what_a_room_names_is_there(room):
    module = importlib.import_module(f"tfmot_swd.{room}")
    assert module.__doc__
    for name in module.__all__:
        assert hasattr(module, name)


@pytest.mark.parametrize(("name", "room"), [(name, room) for room, names in MOVED.items() for name in names.split()])
def test_an_old_name_is_that_of_its_room(name, room):
    with pytest.warns(DeprecationWarning, match=rf"write tfmot_swd\.{room}\.{name} instead"):
        found = getattr(tfmot_swd, name)
    assert found is getattr(importlib.import_module(f"tfmot_swd.{room}"), name)


def test_cut_now_is_prune_now():
    with pytest.warns(DeprecationWarning, match=r"write tfmot_swd\.prune_now instead"):
        assert tfmot_swd.cut_now is tfmot_swd.prune_now


def test_a_name_that_never_was_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'magic'"):
        getattr(tfmot_swd, "magic")  # noqa: B009


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("tfmot_swd.export", "tfmot_swd.tflite"),
        ("tfmot_swd.export.micro", "tfmot_swd.tflite.micro"),
        ("tfmot_swd.macs", "tfmot_swd.layers.macs"),
        ("tfmot_swd.progressive", "tfmot_swd.pgp"),
        ("tfmot_swd.prunable", "tfmot_swd.layers.prunable"),
        ("tfmot_swd.structured", "tfmot_swd.swd.structured"),
        ("tfmot_swd.export.advice", "tfmot_swd.tflite.advice"),
        ("tfmot_swd.progressive.criteria", "tfmot_swd.pgp.criteria"),
    ],
)
def test_an_old_module_is_that_of_today(old, new):
    assert importlib.import_module(old) is importlib.import_module(new)


def pruned():
    net = keras.Sequential([keras.layers.Dense(4, input_shape=(8,), use_bias=False)])
    model = tfmot_swd.prune_selective_decay(net, tfmot_swd.SelectiveDecay(0.5, end_step=4))
    tfmot_swd.prune_now(model)
    return tfmot_swd.strip_pruning(model)


@pytest.mark.parametrize(
    ("result", "old", "new"),
    [
        (lambda: tfmot_swd.sparsity_report(pruned()), "pool", "prunable_weights"),
        (lambda: tfmot_swd.sparsity_report(pruned()), "pool_kept", "nonzero_prunable_weights"),
        (lambda: tfmot_swd.sparsity_report(pruned()), "kernels_kept", "nonzero_kernels"),
        (lambda: tfmot_swd.sparsity_report(pruned()), "parameters_kept", "nonzero_parameters"),
        (lambda: tfmot_swd.plan_pruning(pruned()), "pool_size", "prunable_weights"),
        (lambda: tfmot_swd.channels.plan_dead_removal(pruned()), "removed", "removed_channels"),
        (tfmot_swd.UpdatePruningStep, "cut_report", "final_step"),
    ],
)
def test_an_old_attribute_is_that_of_today(result, old, new):
    result = result()
    with pytest.warns(DeprecationWarning, match=rf"{old} is deprecated .*{new}"):
        assert getattr(result, old) == getattr(result, new)


def test_the_class_of_the_final_pruning_step_has_its_old_name():
    with pytest.warns(DeprecationWarning, match="CutReport"):
        assert final_step.CutReport is final_step.FinalStepReport


@pytest.mark.parametrize("name", ["export", "macs", "progressive", "prunable", "structured"])
def test_an_old_module_is_an_attribute_too(name, monkeypatch):
    monkeypatch.delitem(vars(tfmot_swd), name, raising=False)
    with pytest.warns(DeprecationWarning, match=rf"tfmot_swd\.{name} is deprecated"):
        assert getattr(tfmot_swd, name).__name__.startswith("tfmot_swd.")
