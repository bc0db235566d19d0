"""What the tests of Progressive Gradient Pruning look into."""

from typing import Any

import numpy as np
import pytest

from tfmot_swd.keras2.layer_weights import weight_at
from tfmot_swd.pgp import selection as decision


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, np.ndarray]]:
    """Of each time that filters were ranked, the scores of each layer's filters; of its other weights by path."""
    found: list[dict[str, np.ndarray]] = []
    original = decision._scores

    def recorded(pool: Any, *args: Any) -> Any:
        scores = original(pool, *args)
        found.append(
            {
                wrapper.layer.name + (f"/{each.path}" if each is not wrapper.scored[0] else ""): scores[
                    id(weight_at(wrapper.layer, each.path))
                ].values
                for wrapper in pool.wrappers
                for each in wrapper.scored
            }
        )
        return scores

    monkeypatch.setattr(decision, "_scores", recorded)
    return found
