"""What frozen layers leave in reach is known before a training: jobs refuse what is not, and search within the rest."""

import dataclasses

import keras as keras3
import numpy as np
import pytest
import tf_keras as keras

from tests.workflows.nets import TRAIN, VALIDATION, Cut
from tfmot_swd import Budget
from tfmot_swd.costs.cost import find_cost
from tfmot_swd.pruning.methods import method_named
from tfmot_swd.pruning.wrapper import PruningWrapper
from tfmot_swd.workflows import Trial, compress, smallest
from tfmot_swd.workflows.goal import Goal
from tfmot_swd.workflows.job import Job
from tfmot_swd.workflows.one_shot import OneShot
from tfmot_swd.workflows.reach import check_reach
from tfmot_swd.workflows.smallest import Search


def frozen_base(package=keras, frozen=True):
    """Returns a net of 8·8 + 8·8 + 8 = 136 parameters; one channel of the second layer is 8 + 1 of them."""
    layers = package.layers
    net = package.Sequential(
        [
            package.Input((8,), name="x"),
            layers.Dense(8, use_bias=False, name="base", trainable=not frozen),
            layers.Dense(8, use_bias=False, name="hidden"),
            layers.Dense(1, use_bias=False, name="head"),
        ]
    )
    net.set_weights([np.eye(8), np.diag(np.arange(1.0, 9.0)), np.ones((8, 1))])
    net.compile("sgd", "mse", metrics=["mae"])
    return net


def test_the_least_in_reach_is_counted_by_hand_and_shown():
    found = check_reach(frozen_base(), Goal("structured", budget=Budget(parameters=0.6)))
    # 64 of the base, and one channel.
    assert (found.whole, found.limits, found.least) == ({"parameters": 136}, {"parameters": 81}, {"parameters": 73})
    text = " ".join(str(found).split())
    assert "│ parameters │ 136 │ 81 │ 73 │ 53.7% │" in text
    assert "Frozen layers keep their channels: base." in text
    free = check_reach(frozen_base(frozen=False), Goal("structured", budget=Budget(parameters=0.6)))
    # 8 + 1 + 1, of a channel of each.
    assert (free.least, free.frozen) == ({"parameters": 10}, ())


@pytest.mark.parametrize("package", [keras, keras3])
@pytest.mark.parametrize("options", [{}, {"method": "pgp"}])
def test_a_budget_out_of_reach_is_refused_before_any_training(options, package, tmp_path, monkeypatch):
    monkeypatch.setattr(Job, "trained_to", None)
    output = tmp_path / "small"
    with pytest.raises(
        ValueError, match=r"trained cannot meet this.*such as base, or.*parameters=68 at most, where parameters=73 is"
    ):
        compress(
            frozen_base(package), TRAIN, VALIDATION, output=output, budget=Budget(parameters=0.5), verbose=0, **options
        )
    assert not output.exists()


def test_the_least_bytes_of_a_search_are_in_reach_of_its_trainings():
    layers = [keras.layers.Dense(64, "relu", name=name, trainable=name != "base") for name in ("base", "hidden")]
    net = keras.Sequential([keras.layers.Input((32,)), *layers, keras.layers.Dense(4, name="head")])
    goal = Goal("structured")
    share = Search._rounded(*2 * [OneShot(net, goal, find_cost("bytes")).least])
    found = check_reach(net, dataclasses.replace(goal, budget=Budget(bytes=share)))
    assert found.least["bytes"] <= found.limits["bytes"] <= found.least["bytes"] * 1.001


def test_what_no_layer_could_meet_is_not_for_the_frozen_ones_to_solve():
    with pytest.raises(ValueError, match=r"This budget cannot be met.*parameters=10\. Give.*Received: parameters=6$"):
        check_reach(frozen_base(), Goal("structured", rate=0.95))


def test_a_layer_that_is_unfrozen_inside_a_frozen_model_is_frozen():
    inner = keras.Sequential([keras.layers.Input((8,)), keras.layers.Dense(8, name="inside")], name="base")
    net = keras.Sequential(
        [keras.layers.Input((8,)), inner, keras.layers.Dense(4, name="hidden"), keras.layers.Dense(1)]
    )
    inner.trainable = False
    inner.layers[0].trainable = True
    plan = method_named("structured").plan(net)
    assert plan.frozen_layers == ("base/inside",)
    assert [row.group for row in plan.ranked] == ["hidden"]


@pytest.mark.parametrize("method", ["swd", "magnitude", "structured", "pgp"])
def test_a_model_whose_layers_are_all_frozen_is_refused(method, tmp_path, monkeypatch):
    monkeypatch.setattr(Job, "trained_to", None)
    net = frozen_base()
    net.trainable = False
    net.compile("sgd", "mse", metrics=["mae"])
    with pytest.raises(ValueError, match=r"All layers that could be pruned are frozen.*Received: base, hidden"):
        compress(net, TRAIN, VALIDATION, output=tmp_path / "small", budget=0.1, method=method, verbose=0)
    with pytest.raises(ValueError, match="All layers that could be pruned are frozen"):
        smallest(net, TRAIN, VALIDATION, floor=4.0, method=method, verbose=0, folder=tmp_path / "tries")
    assert not list(tmp_path.iterdir())


def test_progressive_pruning_to_a_budget_takes_from_the_trained_layers_what_the_frozen_ones_keep():
    target = Goal("pgp", budget=Budget(parameters=0.6)).target(3, 2)
    found = method_named("pgp").wrap_to(frozen_base(), target, skip=(), only=None)
    wrapped = [layer for layer in found.layers if isinstance(layer, PruningWrapper)]
    assert [each.layer.name for each in wrapped] == ["hidden"]
    # 64 + 9 · 1 is within 81, 64 + 9 · 2 is not: one of eight channels stays.
    assert wrapped[0].pruning_schedule.final_rate == pytest.approx(7 / 8, abs=0.07)


def test_a_search_is_within_reach_and_says_what_bounds_it(monkeypatch):
    monkeypatch.setattr(Job, "trained_to", Cut())
    found = smallest(frozen_base(), TRAIN, VALIDATION, floor=1000.0, epochs=1, verbose=0)
    assert found.met
    assert (found.trial.cost, found.least, found.frozen) == (73, pytest.approx(73 / 136), ("base",))
    text = " ".join(str(found).split())
    assert "Frozen layers bound it, and not the metric: with all channels of base 53.7% of the parameters" in text
    # Half of the channels of the other layer miss an error of 4: the metric bounds it.
    other = smallest(frozen_base(), TRAIN, VALIDATION, floor=4.0, epochs=1, verbose=0)
    assert other.met
    assert "Frozen" not in str(other)
    # Near the least one, and a smaller one missed.
    trials = (Trial(0.54, 73, 73 / 136, 5.0, 5.0, False, 1), Trial(0.58, 78, 78 / 136, 3.0, 3.0, True, 1))
    near = dataclasses.replace(found, floor=4.0, trials=trials, best=1)
    assert "Frozen" not in near.words()
    assert "Frozen layers bound it" in dataclasses.replace(near, trials=trials[1:], best=0).words()
