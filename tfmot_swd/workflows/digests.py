"""Digests by which a journal knows its model, and the costs that are not built in."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any

from tfmot_swd.costs.cost import BUILT_IN, Cost
from tfmot_swd.keras2.compat import variables_of
from tfmot_swd.keras2.graph import class_name
from tfmot_swd.keras2.layer_weights import layers_with_weights
from tfmot_swd.keras2.serialization import config_key
from tfmot_swd.keras2.weight_values import view_of


def model_digest(model: Any) -> str:
    """Returns a SHA-256 of the paths, classes and weights of a tf_keras model's layers, in hexadecimal.

    The name of the model is left out, which Keras counts up where one is made again.

    >>> import tf_keras as keras
    >>> net = keras.Sequential([keras.layers.Dense(2, input_shape=(3,))])
    >>> before = model_digest(net)
    >>> net.layers[0].bias.assign([0.0, 1.0]) is None
    False
    >>> model_digest(net) == before
    False
    """
    found = hashlib.sha256()
    for path, layer in layers_with_weights(model):
        found.update(f"{path} {class_name(layer)}".encode())
        for weight in variables_of(layer):
            found.update(f"{weight.dtype.name}{weight.shape}".encode())
            found.update(view_of(weight).tobytes())
    return found.hexdigest()


def cost_digests(costs: Mapping[str, Cost]) -> dict[str, str]:
    """Returns entries for a journal of costs by name: a SHA-256 of class and config, as the table of a latency.

    Costs that are built in are left out, which are the same everywhere. Objects of a config that are written with their
    address, as functions, are told by their name alone, so that another process knows the cost again.

    >>> from tfmot_swd.costs import LatencyCost, LatencyTable, OperatorTime, find_cost
    >>> tables = [LatencyTable((OperatorTime("int8", "dense", start, 0.01, 0.0),)) for start in (2.0, 2.0, 3.0)]
    >>> one, same, other = (cost_digests({"latency": LatencyCost(table)}) for table in tables)
    >>> list(one), one == same, one == other
    (['cost of latency'], True, False)
    >>> cost_digests({"macs": find_cost("macs")})
    {}
    """
    told = {name: f"{class_name(cost)} {_ADDRESS.sub('', config_key(cost))}" for name, cost in costs.items()}
    return {
        f"cost of {name}": hashlib.sha256(each.encode()).hexdigest()
        for name, each in told.items()
        if name not in BUILT_IN
    }


_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
