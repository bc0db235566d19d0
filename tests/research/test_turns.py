import time

from research.turns import WARM_UP, in_turn, steps_in_turn


def test_each_way_trains_each_epoch_and_goes_first_in_every_other():
    calls = []

    def way(name, seconds):
        def train(epoch):
            calls.append((name, epoch))
            return seconds + epoch, 10 * seconds

        return train

    found = in_turn({"dense": way("dense", 1.0), "pruned": way("pruned", 0.5)}, 3)
    assert [name for name, _ in calls] == ["pruned", "dense", "dense", "pruned", "pruned", "dense"]
    assert found["seconds"] == {"dense": [1.0, 2.0, 3.0], "pruned": [0.5, 1.5, 2.5]}
    assert found["processor_seconds"] == {"dense": [10.0] * 3, "pruned": [5.0] * 3}


def test_steps_turn_their_order_and_those_of_the_warm_up_are_not_timed(monkeypatch):
    calls, clock = [], [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])

    def way(name, seconds):
        def step():
            calls.append(name)
            clock[0] += 100.0 if calls.count(name) <= WARM_UP else seconds

        return step

    found = steps_in_turn({"dense": way("dense", 2.0), "pruned": way("pruned", 3.0)}, 2)
    assert calls == ["dense", "pruned", "pruned", "dense"] * 2 + ["dense", "pruned"]
    assert found == {"seconds": {"dense": 2.0, "pruned": 3.0}, "ratio": {"dense": 1.0, "pruned": 1.5}}
