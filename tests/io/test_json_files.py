import dataclasses
import json
import math

import numpy as np
import pytest

from tfmot_swd.io.json_files import JsonResult, plain, write_json


@dataclasses.dataclass
class NpuResult(JsonResult):
    macs: int

    def to_dict(self):
        return dataclasses.asdict(self)


def test_what_json_lacks_becomes_what_it_has():
    found = plain(
        {
            1: np.array([[1.5, np.inf]], np.float32),
            "pair": (np.int64(3), True),
            "none": [None, math.nan, -math.inf],
            "set": {"a"},
        }
    )
    assert found == {"1": [[1.5, None]], "pair": [3, True], "none": [None, None, None], "set": ["a"]}
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert plain({"what": json})["what"] is json


def test_a_file_has_what_json_can_hold(tmp_path):
    path = write_json(tmp_path / "new" / "result.json", {"a\udcff": np.float32(0.5), "b": math.nan})
    assert json.loads(path.read_text()) == {"a\udcff": 0.5, "b": None}
    assert [each.name for each in path.parent.iterdir()] == ["result.json"]


def test_what_json_lacks_leaves_the_file_as_it_was(tmp_path):
    path = tmp_path / "result.json"
    path.write_text("old")
    with pytest.raises(TypeError, match="not JSON serializable"):
        write_json(path, {"what": json})
    assert path.read_text() == "old"


def test_results_write_the_fields_that_they_give(tmp_path):
    result = NpuResult(7)
    assert json.loads(result.write_json(tmp_path / "result.json").read_text()) == result.to_dict() == {"macs": 7}
