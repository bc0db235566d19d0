"""Walk over the description of a saved model that finds what is not known to be harmless."""

from __future__ import annotations

import abc
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

_LAMBDAS = frozenset({"Lambda", "__lambda__"})
# Strings under such keys are names of objects that Keras makes.
_NAMING = ("activation", "_initializer", "_regularizer", "_constraint")
# Objects that a file of tf_keras has in the place of what only Keras 3 has, and the keys of what Keras 3 is given.
_CARRIERS = frozenset(f"Carried{kind}" for kind in ("Constraint", "Initializer", "Layer", "Operation", "Regularizer"))
_GIVEN = ("inner", "example")


@dataclass(frozen=True)
class Scan(abc.ABC):
    """A walk over a description; a subclass for each Keras that loads one.

    Attributes:
      trusted: modules whose classes and functions may be named.
    """

    trusted: frozenset[str]

    def unknown_in(self, node: Any) -> Iterator[str]:
        """Yields what is not allowed, in words, at any depth."""
        if isinstance(node, list):
            for each in node:
                yield from self.unknown_in(each)
        if not isinstance(node, dict):
            return
        kind = node.get("class_name")
        if kind is not None:
            yield from self.unknown_object(node, kind)
            if is_lambda(kind):
                return
        for key, value in node.items():
            yield from self._in_entry(str(key), value)
            yield from self.unknown_value(node, str(key), value)

    def unknown_value(self, owner: dict[str, Any], key: str, value: Any) -> Iterator[str]:
        """Yields what is not allowed in what an object has under a key."""
        yield from self.unknown_in(value)

    @abc.abstractmethod
    def unknown_object(self, node: dict[str, Any], kind: Any) -> Iterator[str]:
        """Yields what is not allowed of an object itself, whatever is inside."""

    @abc.abstractmethod
    def is_named(self, name: str) -> bool:
        """Returns whether a name alone stands for a function, initializer or the like that is allowed."""

    @abc.abstractmethod
    def is_call(self, node: Any) -> bool:
        """Returns whether the description of a layer's call has a tensor of another layer in it."""

    def _in_entry(self, key: str, value: Any) -> Iterator[str]:
        # So wrappers of recurrent cells mark bytecode.
        if key.endswith("_type") and value == "lambda":
            yield "a lambda"
        if key.endswith(("vocabulary", "vocabulary_file", "idf_weights")) and isinstance(value, str):
            yield f"a {key} from the file {value!r}"
        if key.endswith(_NAMING) and isinstance(value, str) and not self.is_named(value):
            yield f"{key} {value!r}"
        # Keras runs such a layer at once, while it puts the model together.
        if key == "inbound_nodes" and isinstance(value, list) and not all(map(self.is_call, value)):
            yield "a layer that computes with constants alone"


def given_to_keras3(node: Any) -> dict[str, Any]:
    """Returns the parts of the config of a tf_keras object that its class, or what may be that, hands to Keras 3."""
    config = node.get("config") if isinstance(node, dict) else None
    if not isinstance(config, dict):
        return {}
    names = [node.get("registered_name"), node.get("class_name")]
    if not any(isinstance(each, str) and plain(each) in _CARRIERS for each in names):
        return {}
    return {key: config[key] for key in _GIVEN if key in config}


def is_lambda(kind: Any) -> bool:
    """Returns whether a class, by its name, holds bytecode."""
    return isinstance(kind, str) and plain(kind) in _LAMBDAS


def lambda_in(node: dict[str, Any]) -> str:
    """Returns the words for an object that holds bytecode."""
    config = node.get("config")
    return f"Lambda layer {config['name']!r}" if isinstance(config, dict) and "name" in config else "a lambda"


def plain(kind: str) -> str:
    """Returns the name of a class; registered ones are saved as package>class."""
    return kind.rpartition(">")[2].rpartition(".")[2]


def is_in(module: str, packages: Collection[str]) -> bool:
    """Returns whether a module is one of some packages, or in one."""
    return any(f"{module}.".startswith(f"{each}.") for each in packages)
