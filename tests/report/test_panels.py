"""Histories and statuses as panels."""

import dataclasses
import math
from types import SimpleNamespace

import pytest

from tfmot_swd.pgp.status import ProgressiveStatus
from tfmot_swd.report.panels import training_panels
from tfmot_swd.swd.monitor import PruningStatus
from tfmot_swd.swd.structured.monitor import StructuredStatus

HISTORY = {"loss": [2.0, 1.0], "accuracy": [0.5, 0.75], "val_accuracy": [0.6], "threshold": [0.1, 0.2]}


def selective(step, **changes):
    given = {"a": 0.01 * 100**step, "shrink": None, "threshold": 0.1, "penalty": 0.0, "targeted": 3 * step}
    given |= changes
    fixed = {
        "prunable_weights": 10,
        "entered": 0,
        "left": 0,
        "sparsity": {},
        "is_pruned": False,
        "target_sparsity": 0.5,
    }
    return PruningStatus(step=step, **fixed, **given)


def titles(panels):
    return [panel.title for panel in panels]


def test_a_history_is_drawn_over_epochs_metrics_first():
    panels = training_panels(HISTORY, ())
    assert titles(panels) == ["accuracy", "loss"]
    training, validation = panels[0].series
    assert (training.x, training.y) == ((1.0, 2.0), (0.5, 0.75))
    # One look at the validation split in two epochs is the one after the second.
    assert (validation.x, validation.y) == ((2.0,), (0.6,))
    assert {panel.x_label for panel in panels} == {"epochs"}


def test_metrics_have_the_names_that_users_gave_them():
    history = {"loss": [1.0], "top_5": [0.5], "val_top_5": [0.4], "out_acc": [0.5]}
    panels = training_panels(history, ())
    assert [(panel.title, panel.unit) for panel in panels] == [
        *(("top_5", "number"), ("out_acc", "share"), ("loss", "number"))
    ]


@pytest.mark.parametrize(
    ("history", "statuses", "given"),
    [
        (SimpleNamespace(history=HISTORY, params={"steps": 5, "epochs": 2}), (), None),
        (HISTORY, (), 5),
        (HISTORY, (selective(5), selective(10)), None),
    ],
)
def test_epochs_become_updates_where_their_length_is_known(history, statuses, given):
    accuracy = training_panels(history, statuses, given)[0]
    assert accuracy.x_label == "updates"
    assert accuracy.series[0].x == (5.0, 10.0)


def test_selective_decay_shows_what_is_targeted_and_its_strength():
    panels = training_panels(None, [selective(1), selective(2, a=math.inf), selective(3)])
    # No penalty in the implicit form: nothing to draw.
    assert titles(panels) == ["weights targeted", "threshold", "strength of the decay"]
    targeted, wanted = panels[0].series
    assert targeted.y == (0.3, 0.6, 0.9)
    assert wanted.y == (0.5, 0.5, 0.5)
    assert wanted.is_target
    assert panels[2].series[0].y == pytest.approx((1.0, None, 10_000.0))
    assert panels[2].is_log
    assert not panels[1].is_log


def test_structured_decay_shows_what_is_left_against_what_is_allowed():
    fixed = {"a": None, "threshold": 0.1, "channels": 8, "entered": 0, "left": 0, "sizes": {}, "floored": ()}
    statuses = [
        StructuredStatus(
            step=step,
            costs={"macs": 100 - step},
            limits={"macs": 90},
            shrink=0.5,
            targeted=step,
            penalty=0.25,
            is_pruned=False,
            **fixed,
        )
        for step in (1, 2)
    ]
    panels = training_panels({}, statuses)
    assert titles(panels)[:2] == ["macs without what is targeted", "channels left"]
    assert [line.y for line in panels[0].series] == [(99.0, 98.0), (90.0, 90.0)]
    assert panels[1].series[0].y == (7.0, 6.0)
    assert titles(panels)[2:] == ["threshold", "penalty", "strength of the decay"]


def test_progressive_removal_is_drawn_an_epoch_at_a_time():
    status = ProgressiveStatus(1, 0.5, 12, 3, 4, 500, 0.2, {}, False)
    panels = training_panels(None, [status], steps_per_epoch=7)
    assert titles(panels) == ["filters", "parameters left", "threshold"]
    assert [(line.x, line.y) for line in panels[0].series] == [((7.0,), (12.0,)), ((7.0,), (3.0,))]


@pytest.mark.parametrize(
    ("status", "old"),
    [
        (selective(3), {"prunable_weights": "pool", "is_pruned": "is_cut"}),
        (ProgressiveStatus(1, 0.5, 12, 3, 4, 500, 0.2, {}, False), {"soft_pruned": "silenced"}),
    ],
)
def test_dictionaries_of_an_earlier_version_are_drawn_alike(status, old):
    saved = {old.get(name, name): value for name, value in dataclasses.asdict(status).items()}
    assert not set(old) & set(saved)
    assert training_panels(None, [saved]) == training_panels(None, [status])


def test_other_things_are_refused():
    with pytest.raises(TypeError, match="history must be what fit returned.*Received: list"):
        training_panels([1], ())
    with pytest.raises(TypeError, match="statuses must be.*Received: int"):
        training_panels(None, [1])
