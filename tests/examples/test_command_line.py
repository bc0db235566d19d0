import dataclasses
import json
import math

import pytest
from absl import app, flags

from examples.command_line import check_batches, check_names, table, write_results
from examples.job import Recipe


@dataclasses.dataclass
class Outcome:
    value: float

    def to_dict(self):
        return {"value": self.value}


def test_names_of_a_list_flag_must_be_known():
    holder = flags.DEFINE_list("colours", ["red"], "", flag_values=flags.FlagValues())
    holder._flagvalues(["program", "--colours=red,blue,mauve"])
    check_names(holder, ("red", "blue", "mauve"))
    with pytest.raises(app.UsageError, match="--colours takes red, green. Received: blue, mauve"):
        check_names(holder, (each for each in ("red", "green")))


def test_a_batch_must_be_full():
    holder = flags.DEFINE_integer("batch", 8, "", flag_values=flags.FlagValues())
    holder._flagvalues(["program"])
    check_batches(holder, 8)
    with pytest.raises(app.UsageError, match="--batch must be 7 or less.*Received: 8"):
        check_batches(holder, 7)


def test_results_are_one_file_of_json(tmp_path):
    path = tmp_path / "results.json"
    write_results(path, Recipe(3, seed=5), [Outcome(1), Outcome(math.nan)], 2.5, dataset="digits")
    found = json.loads(path.read_text())
    assert list(found) == ["command", "versions", "dataset", "recipe", "seconds", "outcomes"]
    assert (found["dataset"], found["seconds"], found["outcomes"]) == ("digits", 2.5, [{"value": 1}, {"value": None}])
    assert (found["recipe"]["epochs"], found["recipe"]["seed"]) == (3, 5)
    assert list(tmp_path.iterdir()) == [path]


def test_numbers_stand_to_the_right():
    columns = table("Files", "method", "bytes").columns
    assert [(each.header, each.justify) for each in columns] == [("method", "left"), ("bytes", "right")]
