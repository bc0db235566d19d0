from research.turns import in_turn


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
