import collections
import json
import subprocess
import sys

from research import runs
from research.case import CASES
from research.claims import claim
from research.journal import Journal
from research.settings import FREQUENCY, SEARCH, TUNING


def test_every_method_is_tuned_with_eight_settings_and_the_dense_net_with_four():
    counts = collections.Counter(candidate.method for candidate in TUNING)

    assert counts.pop("dense") == 4
    assert set(counts.values()) == {8}


def test_keys_are_unique_and_survive_json():
    for stage, candidates in (("search", SEARCH), ("frequency", FREQUENCY)):
        found = list(runs.keys(stage, CASES["A6"], [100, 101], None, None))
        texts = {json.dumps(key, sort_keys=True) for key in found}

        assert len(texts) == 2 * len(candidates)
        assert json.loads(json.dumps(found)) == found


def test_all_methods_of_a_seed_come_before_the_next_seed():
    seeds = [key["seed"] for key in runs.keys("search", CASES["A6"], [100, 101], None, None)]

    assert seeds == sorted(seeds)


def test_the_best_two_settings_of_each_method_go_on_once_all_have_one_seed(monkeypatch, tmp_path):
    case = CASES["A6"]
    monkeypatch.setattr(runs, "journal_of", lambda stage, name: Journal(tmp_path / "tuning.jsonl"))
    first = list(runs.keys("tuning", case, None, None, None))
    journal = Journal(tmp_path / "tuning.jsonl")
    for place, key in enumerate(first):
        journal.append(key, {"validation_accuracy": place / 100})

    found = list(runs.keys("tuning", case, [101], None, None))

    assert [key["name"] for key in first] == [each.name for each in TUNING]
    assert {key["seed"] for key in first} == {100}
    # Later settings are better here.
    assert [key["name"] for key in found if key["method"] == "bimp"] == [
        each.name for each in TUNING if each.method == "bimp"
    ][-2:]
    assert len(found) == 2 * len({each.family for each in TUNING})


def test_tuning_and_search_stay_away_from_the_seeds_of_the_last_stage():
    assert not set(runs.TUNING_SEEDS) & set(runs.FINAL_SEEDS)


def test_the_last_stage_asks_for_committed_settings(monkeypatch):
    monkeypatch.setattr(runs, "tuned", lambda case: {"swd": SEARCH[1], "dense": SEARCH[0]} if case == "A6" else {})

    found = list(runs.keys("final", CASES["A"], [0], None, [0.99]))

    assert [(key["name"], key["rate"]) for key in found] == [(SEARCH[1].name, 0.99), ("dense", 0.0)]


def test_a_run_is_claimed_by_one_process_alone():
    key = {"test": "a claim", "seed": 0}
    other = f"from research.claims import claim\nwith claim({key!r}) as mine: print(mine)"

    with claim(key) as mine:
        taken = subprocess.run([sys.executable, "-c", other], capture_output=True, text=True, check=True)
    free = subprocess.run([sys.executable, "-c", other], capture_output=True, text=True, check=True)

    assert mine
    assert (taken.stdout.strip(), free.stdout.strip()) == ("False", "True")
