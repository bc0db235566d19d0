import json
import math

import numpy as np

from tfmot_swd.io.json_values import plain


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
