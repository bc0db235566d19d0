"""The search for the smallest model: by hand on a net whose error is known, kept on disk, honest where it fails."""

import dataclasses
import json

import keras as keras3
import pytest

from tests.workflows.nets import TRAIN, VALIDATION, Cut, ladder
from tfmot_swd.workflows import Trial, smallest
from tfmot_swd.workflows.job import Job
from tfmot_swd.workflows.smallest import Search


@pytest.fixture
def cut(monkeypatch):
    def use(**options):
        made = Cut(**options)
        monkeypatch.setattr(Job, "trained_to", made)
        return made

    return use


def find(net=None, **options):
    return smallest(net or ladder(), TRAIN, VALIDATION, epochs=1, verbose=0, **options)


def test_the_smallest_of_a_known_net_and_its_table(cut, tmp_path):
    made, net = cut(), ladder(keras3)
    before = [each.copy() for each in net.get_weights()]
    found = find(net, floor=4.0)
    # Without the k weakest channels the error is k(k+1)/2. The one-shot curve says .2652, where two channels are left
    # and 21 of 28 lost; then its square root again and again, until six channels fit.
    assert [round(each.share, 4) for each in found.trials] == [0.2652, 0.515, 0.7176, 0.8471]
    assert [(each.cost, round(each.metric, 3), each.holds) for each in found.trials] == [
        (18, 21.0, False),
        (36, 10.0, False),
        (45, 6.0, False),
        (54, 3.0, True),
    ]
    assert (found.met, found.best, found.floor, found.baseline, found.whole) == (True, 3, 4.0, 0.0, 72)
    assert not found.ended_early
    assert len(made.goals) == 4
    assert isinstance(found.model, keras3.Model)
    assert found.model.get_layer("hidden").units == 6
    for now, then in zip(net.get_weights(), before, strict=True):
        assert (now == then).all()
    text = " ".join(str(found).split())
    assert text.startswith(
        "The smallest model found with mae 4.0000 or less has 75.0% of the parameters (54 of 72) and mae 3.0000; 4"
    )
    assert "within, taken" in text
    # An error has no such bound.
    assert "standard error" not in text
    known = dataclasses.replace(
        found, metric="accuracy", samples=400, trials=(Trial(0.5, 36, 0.5, 0.8, 0.0, True, 1),), best=0
    )
    assert "Of 400 samples an accuracy is known to ±2.0 points" in " ".join(str(known).split())
    content = json.loads(found.write_json(tmp_path / "found.json").read_text())
    assert "model" not in content
    assert content["trials"][3]["reached"] == 0.75


def test_a_killed_search_goes_on_and_another_floor_begins_with_what_is_known(cut, tmp_path):
    folder = tmp_path / "tries"
    cut(dies_at=2)
    with pytest.raises(KeyboardInterrupt):
        find(floor=4.0, folder=folder)
    assert {each.name for each in folder.iterdir()} == {"journal.jsonl", "parameters_0.2652.keras"}
    made = cut()
    found = find(floor=4.0, folder=folder)
    assert len(made.goals) == 3
    assert [each.cost for each in found.trials] == [18, 36, 45, 54]
    made = cut()
    again = find(floor=4.0, folder=folder)
    assert made.goals == []
    assert again.model.get_layer("hidden").units == 6
    # Half is within a floor of 12, a quarter is not: only the bracket between them closes.
    looser = find(floor=12.0, folder=folder)
    assert looser.trial.cost == 36
    assert 0 < len(made.goals) <= 4
    assert all(0.2652 < goal.budget.parameters < 0.5 for goal in made.goals)
    with pytest.raises(ValueError, match="another job, with another epochs"):
        smallest(ladder(), TRAIN, VALIDATION, floor=4.0, folder=folder, epochs=2, verbose=0)


def test_earlier_starts_count_among_the_trainings_for_a_floor(cut, tmp_path):
    folder, made = tmp_path / "tries", cut()
    whole = find(floor=4.0, max_trials=3)
    cut(dies_at=3)
    with pytest.raises(KeyboardInterrupt):
        find(floor=4.0, max_trials=3, folder=folder)
    made = cut()
    found = find(floor=4.0, max_trials=3, folder=folder)
    # As without the kill: the third one, and no more.
    assert len(made.goals) == 1
    assert (len(found.trials), found.ended_early) == (len(whole.trials), whole.ended_early) == (3, True)
    assert [each.cost for each in found.trials] == [each.cost for each in whole.trials]
    # Another floor has trainings of its own, and a larger number goes on.
    find(floor=12.0, max_trials=1, folder=folder)
    assert len(made.goals) == 2
    assert not find(floor=4.0, max_trials=4, folder=folder).ended_early
    assert len(made.goals) == 3


@pytest.mark.parametrize("reached", [0.92, 0.5])
def test_where_nearly_the_whole_model_misses_the_floor_the_training_is_blamed(reached, cut):
    cut()
    found = find(floor=4.0, max_trials=1)
    tries = (Trial(0.1, 7, 0.1, 0.85, 0.08, False, 1.0), Trial(reached, 66, reached, 0.9, 0.03, False, 1.0))
    missed = dataclasses.replace(found, met=False, metric="accuracy", mode="max", baseline=0.93, floor=0.92)
    words = dataclasses.replace(missed, trials=tries, best=1).words()
    blamed = "Even with 92.0% of the parameters it has 0.9000, where the whole model, as it was given, has 0.9300"
    assert (blamed in words) == ("another learning_rate, more epochs or more data" in words) == (reached == 0.92)
    assert ("or accept a larger drop" in words) == (reached == 0.5)


@pytest.mark.parametrize(
    ("share", "least", "rounded", "key"),
    [
        (0.26516, 0.0, 0.2652, "parameters_0.2652"),
        (0.00012345, 0.0, 0.0001234, "parameters_0.0001234"),
        (0.0123412, 0.0123412, 0.01235, "parameters_0.01235"),
        (0.515, 0.0, 0.515, "parameters_0.5150"),
    ],
)
def test_a_small_share_keeps_its_digits(share, least, rounded, key):
    assert Search._rounded(share, least) == rounded
    search = Search.__new__(Search)
    search._by = "parameters"
    assert search._key(rounded) == key
    assert float(key.rpartition("_")[2]) == rounded


def test_a_floor_that_cannot_be_met_gives_the_best_and_says_so_first(cut):
    cut()
    found = find(floor=-1.0)
    assert not found.met
    # The whole model misses it too, so that one try at the top is all there is.
    assert [round(each.share, 4) for each in found.trials] == [0.9091]
    assert found.model.get_layer("hidden").units == 7
    assert str(found).lstrip().startswith("The floor was not met: no model with mae -1.0000 or less")


def test_the_search_ends_after_so_many_trainings_and_says_so(cut):
    made = cut()
    found = find(floor=4.0, max_trials=2, by="macs")
    assert len(made.goals) == 2
    assert found.ended_early
    assert not found.met
    # Of those that miss, the one that misses least.
    assert found.trial.metric == min(each.metric for each in found.trials)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({}, ValueError, "in one way: max_drop=1.0"),
        ({"max_drop": 0.0}, ValueError, "above 0"),
        ({"max_drop": 1.0, "by": "watts"}, ValueError, "no cost of this name"),
        ({"max_drop": 1.0, "by": "macs", "method": "swd"}, ValueError, "makes zeros.*Received: by='macs'"),
        ({"max_drop": 1.0, "method": "magic"}, ValueError, "method must be one of"),
        ({"max_drop": 1.0, "tolerance": 0}, ValueError, "tolerance must be in"),
        ({"max_drop": 1.0, "max_trials": 0}, ValueError, "max_trials must be a whole number"),
        ({"floor": 4.0, "skip": ["hiden"]}, ValueError, "did you mean hidden"),
        ({"max_drop": 1.0, "learning_rate": -1}, ValueError, "learning_rate must be"),
        ({"max_drop": 1.0, "optimizer": "adam"}, TypeError, "function of the number of updates"),
        ({"max_drop": 1.0, "folder": 3}, TypeError, "folder must be the path of a folder"),
    ],
)
def test_bad_input_is_refused_before_any_training(changes, error, message, cut):
    made = cut()
    with pytest.raises(error, match=message):
        find(**changes)
    assert made.goals == []


def test_data_models_and_folders_that_cannot_be_meant(cut, tmp_path):
    made, net = cut(), ladder()
    with pytest.raises(ValueError, match="train must have inputs and targets"):
        smallest(net, (TRAIN[0], None), VALIDATION, max_drop=1.0, verbose=0)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="nothing in it is overwritten.*notes.txt"):
        find(max_drop=1.0, folder=tmp_path)
    with pytest.raises(NotADirectoryError, match="this is a file"):
        find(max_drop=1.0, folder=tmp_path / "notes.txt")
    net.compile("sgd", metrics=["mae"])
    with pytest.raises(ValueError, match="compiled without a loss"):
        find(net, max_drop=1.0)
    assert made.goals == []
