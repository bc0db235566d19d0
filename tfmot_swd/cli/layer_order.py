"""Call order of the layers of a saved network: a cycle would keep Keras busy for ever."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tfmot_swd.cli.scan import given_to_keras3

# A call that Keras describes with a constant in the place of a tensor.
_CONSTANT = "_CONSTANT_VALUE"


def check_order(config: Any, path: Path, is_keras3: bool = False) -> None:
    """Raises where a layer of a description reads what comes after it, or what is not there.

    Args:
      config: the description, or a part of it.
      path: its file, for the message.
      is_keras3: whether it is as Keras 3 writes it; 3.15 is the first that does not read a cycle for ever.

    Raises:
      ValueError: there is one.
    """
    waiting = [config]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            _check_network(node.get("layers"), path, is_keras3)
            given = {} if is_keras3 else given_to_keras3(node)
            if given:
                check_order(list(given.values()), path, is_keras3=True)
                rest = {key: value for key, value in node["config"].items() if key not in given}
                node = {**node, "config": rest}
            waiting += node.values()
        elif isinstance(node, list):
            waiting += node


def is_reference(node: Any) -> bool:
    """Returns whether there is a tensor of another layer in the description of a call, at any depth."""
    return bool(_references(node))


def _check_network(layers: Any, path: Path, is_keras3: bool) -> None:
    if not isinstance(layers, list) or not any(isinstance(each, dict) and "inbound_nodes" in each for each in layers):
        return
    made: dict[str, set[Any]] = {}
    calls: dict[str, list[tuple[int, list[tuple[str, Any]]]]] = {}
    for layer in (each for each in layers if isinstance(each, dict)):
        name, nodes = str(layer.get("name")), layer.get("inbound_nodes") or []
        if name not in made:
            # Inputs are there from the beginning.
            made[name] = {0} if layer.get("class_name") == "InputLayer" else set()
            calls[name] = []
        # A name that comes again stands for more calls of the same layer.
        first = int(not is_keras3 and _is_network(layer)) + len(calls[name])
        read = keras3_references if is_keras3 else _references
        calls[name] += [(first + number, read(node)) for number, node in enumerate(nodes)]
    progress = True
    while progress:
        progress = False
        for name, left in calls.items():
            while left and all(_is_made(number, made.get(other)) for other, number in left[0][1]):
                made[name].add(left.pop(0)[0])
                progress = True
    stuck = [name for name, left in calls.items() if left]
    if stuck:
        raise ValueError(
            "The layers of this model cannot be called in any order: they read each other in a cycle, or a layer that "
            f"is not there. The file is damaged. Received: {stuck[0]!r} in {str(path)!r}"
        )


def _is_made(number: Any, made: set[Any] | None) -> bool:
    """Returns whether the call of a number, which may be anything in a damaged file, is one that was made."""
    return made is not None and isinstance(number, int) and number in made


def _is_network(layer: dict[str, Any]) -> bool:
    """Returns whether a layer is a network called on its own inputs when it was made; Keras counts from 1 then."""
    config = layer.get("config")
    inside = config.get("layers") if isinstance(config, dict) else None
    if not isinstance(inside, list) or not inside or not isinstance(inside[0], dict):
        return False
    settings = inside[0].get("config")
    has_shape = isinstance(settings, dict) and settings.get("batch_input_shape") is not None
    return has_shape or any(isinstance(each, dict) and each.get("class_name") == "InputLayer" for each in inside)


def keras3_references(node: Any) -> list[tuple[str, Any]]:
    """Returns the calls that a call reads, as `_references` does, from the description that Keras 3 writes."""
    found: list[tuple[str, Any]] = []
    # Keras 3 also reads the lists of Keras 2, and never writes them.
    waiting = [node] if isinstance(node, dict) else []
    while waiting:
        each = waiting.pop()
        if isinstance(each, dict) and each.get("class_name") == "__keras_tensor__":
            config = each.get("config")
            history = config.get("keras_history") if isinstance(config, dict) else None
            if isinstance(history, list) and len(history) == 3:
                found.append((str(history[0]), history[1]))
        elif isinstance(each, dict):
            waiting += each.values()
        elif isinstance(each, list):
            waiting += each
    return found


def _references(node: Any) -> list[tuple[str, Any]]:
    """Returns the calls that a call reads, as the name of a layer and the number of its call.

    Keras takes any list of three or four for one that has a text in front.
    """
    found: list[tuple[str, Any]] = []
    waiting = [node]
    while waiting:
        each = waiting.pop()
        if isinstance(each, dict):
            waiting += each.values()
        elif isinstance(each, list) and len(each) in (3, 4) and isinstance(each[0], str):
            if each[0] != _CONSTANT:
                found.append((each[0], each[1]))
            waiting += each[3:]
        elif isinstance(each, list):
            waiting += each
    return found
