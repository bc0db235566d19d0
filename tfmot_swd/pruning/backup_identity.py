"""What must be the same for a training to go on from a backup: method, schedule, optimizers and model, by config."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from tfmot_swd.keras2.compat import keras
from tfmot_swd.keras2.graph import calls_of, has_graph, input_layers, layer_behind, layers_inside
from tfmot_swd.pruning.wrapped_models import collect_wrappers, wrapped_graphs
from tfmot_swd.pruning.wrapper import PruningWrapper

# Where a class was found, which moves from one release to the next, and names, which Keras numbers by process.
_NOT_COMPARED = frozenset({"module", "registered_name", "name", "inbound_nodes", "shared_object_id"})
# Longer values, a vocabulary for example, are kept as their hash.
_LONGEST = 500


def training_of(model: Any, optimizers: list[Any]) -> dict[str, Any]:
    """Returns the settings that belong to the method, as JSON has them; with others the training cannot go on."""
    wrapper = collect_wrappers(model, PruningWrapper)[0]
    parts = wrapper.method_config() | {"optimizer": [type(each).__name__ for each in optimizers]}
    found: dict[str, Any] = json.loads(json.dumps(parts))
    return found


def model_of(model: Any, optimizers: list[Any]) -> dict[str, Any]:
    """Returns what tells a model and its optimizers from others of the same shapes, before any channel has left.

    Returns:
      "classes" of the layers, "connections" as the numbers of the layers that each one reads, "layers" and "optimizers"
      with the configs of each.
    """
    # In the order in which they were added; `submodules` sorts them by names, which Keras numbers by process.
    layers = list(dict.fromkeys(layers_inside(model)))
    return {
        "classes": [keras.utils.get_registered_name(type(each)) for each in layers],
        "connections": [_connections(graph) for graph in wrapped_graphs(model)],
        "layers": [_config(each) for each in layers],
        "optimizers": [_config(each) for each in optimizers],
    }


def difference(before: Any, now: Any, where: str = "") -> str | None:
    """Returns the first setting that is not the same, in words, or None; those newer than `before` are left aside."""
    if isinstance(before, dict) and isinstance(now, dict):
        for name, value in before.items():
            if name in _NOT_COMPARED:
                continue
            path = f"{where}.{name}" if where else str(name)
            if name not in now:
                return f"{path} was {value}, and there is no such setting now"
            found = difference(value, now[name], path)
            if found:
                return found
        return None
    if isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        pairs = enumerate(zip(before, now, strict=True))
        return next((found for number, pair in pairs if (found := difference(*pair, f"{where}[{number}]"))), None)
    return None if before == now else f"{where} was {before}, and is {now}"


def _connections(graph: Any) -> list[Any]:
    """Returns for each call in a graph which layer it is of and which layers it reads, by their numbers."""
    numbers = {id(layer): number for number, layer in enumerate(graph.layers)}
    if not has_graph(graph):
        return []
    reads = [(layer, ()) for layer in input_layers(graph)]
    reads += [(call.layer, tuple(map(layer_behind, call.inputs))) for call in calls_of(graph)]
    return sorted([numbers.get(id(each), -1) for each in (layer, *read)] for layer, read in reads)


def _config(each: Any) -> Any:
    """Returns a config as JSON has it; None where an object has no config, or not one that JSON can say."""
    if isinstance(each, keras.Model):
        # Its layers follow one by one.
        return None
    try:
        return _brief(json.loads(json.dumps(keras.utils.serialize_keras_object(each)["config"])))
    except (TypeError, ValueError, KeyError, AttributeError, NotImplementedError):
        return None


def _brief(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _brief(part) for name, part in value.items() if name not in _NOT_COMPARED}
    text = json.dumps(value)
    if isinstance(value, list | str) and len(text) > _LONGEST:
        return "sha256:" + hashlib.sha256(text.encode()).hexdigest()
    return [_brief(part) for part in value] if isinstance(value, list) else value
