import pytest

from research.settings import Candidate, fine_tuning
from research.tuned import chosen, tuned


def run(name, seed, accuracy):
    key = {"name": name, "method": "swd", "learning_rate": 0.1, "setting": {"ramp": 0.5}, "seed": seed}
    return {"key": key, "result": {"validation_accuracy": accuracy}}


def test_the_best_mean_of_the_settings_with_most_seeds_is_chosen():
    records = [
        *(run("swd a", seed, accuracy) for seed, accuracy in ((100, 0.8), (101, 0.6))),
        *(run("swd b", seed, accuracy) for seed, accuracy in ((100, 0.7), (101, 0.75))),
        # Better on the one seed that it has.
        run("swd c", 100, 0.9),
        run("swd_forward a", 100, None),
    ]

    found = chosen(records)

    assert (found["swd"]["name"], found["swd"]["validation_accuracy"]) == ("swd b", pytest.approx(0.725))
    assert found["swd"]["seeds"] == [100, 101]
    assert found["swd_forward"]["validation_accuracy"] == 0.1


def test_settings_come_back_from_the_file_by_case(tmp_path):
    path = tmp_path / "tuned.json"
    path.write_text(
        '{"Fs": {"swd": {"name": "swd b", "method": "swd", "learning_rate": 0.1, "setting": {}, "seeds": [1]}}}'
    )

    assert tuned("Fs", path) == {"swd": Candidate("swd b", "swd", 0.1, {})}
    with pytest.raises(FileNotFoundError, match=r"--case=Fa\. Received: no Fa in tuned\.json"):
        tuned("Fa", path)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_each_method_has_as_many_settings_from_trained_weights(optimizer):
    counts: dict[str, int] = {}
    for candidate in fine_tuning(optimizer):
        counts[candidate.family] = counts.get(candidate.family, 0) + 1

    assert counts.pop("dense") == 2
    assert set(counts.values()) == {4}
