"""Metadata of a backup: epoch, checksums, and the configs of method, schedule, optimizers and model."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from tfmot_swd.keras2.compat import keras
from tfmot_swd.keras2.graph import calls_of, has_graph, input_layers, layer_behind, layers_inside
from tfmot_swd.pruning.backup_directory import checksums
from tfmot_swd.pruning.wrapped_models import collect_wrappers, wrapped_graphs
from tfmot_swd.pruning.wrapper import PruningWrapper

# Module paths change from one release to the next, and Keras numbers names by process.
_NOT_COMPARED = frozenset({"module", "registered_name", "name", "inbound_nodes", "shared_object_id"})
# Longer values, such as a vocabulary, are replaced by their hash.
_LONGEST = 500

NOTE = "training.json"
# The checkpoint; backups of releases without checksums have these two files.
STATE = "state"
_STATE_FILES = (f"{STATE}.index", f"{STATE}.data-00000-of-00001")


def write_note(directory: Path, note: dict[str, Any]) -> None:
    """Writes the metadata into a directory that has the checkpoint already; the last file of a backup."""
    whole = json.loads(json.dumps({**note, "files": checksums(directory)}))
    (directory / NOTE).write_text(json.dumps({**whole, "checksum": _checksum(whole)}, indent=1))


def read_note(directory: Path) -> dict[str, Any]:
    """Returns the metadata of a backup, after checking the files beside it against their checksums.

    Args:
      directory: of one backup, as `write_note` has left it.

    Returns:
      A dictionary with "epoch", "training", "filters", "optimizers" and, except in old backups, "files" and "model".

    Raises:
      ValueError: a file is missing or has changed; the message names it.
    """
    try:
        note = json.loads((directory / NOTE).read_text())
    except FileNotFoundError as error:
        raise ValueError(damaged(directory, f"no {NOTE}")) from error
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(damaged(directory, f"{NOTE}, and {type(error).__name__}: {error}")) from error
    if not _is_note(note) or note.pop("checksum", None) not in (None, _checksum(note)):
        raise ValueError(damaged(directory, f"{NOTE} with other content than was written"))
    for name, expected in note.get("files", dict.fromkeys(_STATE_FILES)).items():
        if not (directory / name).is_file():
            raise ValueError(damaged(directory, f"no {name}"))
        if expected is not None and checksums(directory).get(name) != expected:
            raise ValueError(damaged(directory, f"{name} with other content than was written"))
    return dict(note)


def damaged(directory: Path, received: str) -> str:
    """Returns the error message of a damaged backup."""
    return (
        f"The backup in {directory} is damaged: put a copy of it in its place, or remove this directory and start the "
        f"training from the beginning. Received: {received}"
    )


def _checksum(note: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(note, sort_keys=True).encode()).hexdigest()


def _is_note(note: Any) -> bool:
    """Returns whether a JSON value has the parts of a backup's metadata, each of the right type."""
    if not isinstance(note, dict) or not _is_count(note.get("epoch")) or not isinstance(note.get("training"), dict):
        return False
    filters, optimizers, files = note.get("filters"), note.get("optimizers"), note.get("files", {})
    if not isinstance(filters, list) or not isinstance(optimizers, list) or not isinstance(files, dict):
        return False
    if not all(isinstance(name, str) and Path(name).name == name for name in files):
        return False
    return all(map(_are_filters, filters)) and all(each is None or _are_counts(each) for each in optimizers)


def _are_filters(value: Any) -> bool:
    if not isinstance(value, dict) or not all(_are_counts(value.get(name)) for name in ("origin", "initial")):
        return False
    return 0 < len(value["origin"]) == len(value["initial"])


def _are_counts(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_count, value))


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def training_of(model: Any, optimizers: list[Any]) -> dict[str, Any]:
    """Returns the settings of the pruning method as JSON; a training resumes only with equal ones."""
    wrapper = collect_wrappers(model, PruningWrapper)[0]
    parts = wrapper.method_config() | {"optimizer": [type(each).__name__ for each in optimizers]}
    found: dict[str, Any] = json.loads(json.dumps(parts))
    return found


def model_of(model: Any, optimizers: list[Any]) -> dict[str, Any]:
    """Returns a description that tells a model and its optimizers from others of the same shapes.

    Call it before any channel is removed.

    Returns:
      "classes" of the layers, "connections" as the numbers of the layers that each one reads, "layers" and "optimizers"
      with the configs of each.
    """
    # In the order of addition; `submodules` sorts layers by names, which Keras numbers by process.
    layers = list(dict.fromkeys(layers_inside(model)))
    return {
        "classes": [keras.utils.get_registered_name(type(each)) for each in layers],
        "connections": [_connections(graph) for graph in wrapped_graphs(model)],
        "layers": [_config(each) for each in layers],
        "optimizers": [_config(each) for each in optimizers],
    }


def difference(before: Any, now: Any, where: str = "") -> str | None:
    """Returns the first setting that differs, in words, or None; settings that `before` does not have are ignored."""
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
    """Returns [layer, layers that it reads] of each call in a graph, as numbers of layers."""
    numbers = {id(layer): number for number, layer in enumerate(graph.layers)}
    if not has_graph(graph):
        return []
    reads = [(layer, ()) for layer in input_layers(graph)]
    reads += [(call.layer, tuple(map(layer_behind, call.inputs))) for call in calls_of(graph)]
    return sorted([numbers.get(id(each), -1) for each in (layer, *read)] for layer, read in reads)


def _config(each: Any) -> Any:
    """Returns a config as JSON; None for an object without a config that JSON can represent."""
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
