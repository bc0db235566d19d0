"""Safety scan of a file that Keras 3 wrote, or of what Keras 3 makes in a file of tf_keras.

Keras 3 makes everything of what a file names: a class or function of `keras` that is public, or any class of a module
of it that can be saved, and what is registered. Its safe mode refuses bytecode and some functions that load files; what
each class does with the strings that it is given, it does not look at. So what may be named is listed
(`allowed_keras3.py`), by module and name together.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Collection, Iterator
from typing import Any

from tfmot_swd.cli.allowed_keras3 import CLASSES, FUNCTIONS, NAMES, VALUES
from tfmot_swd.cli.layer_order import keras3_references
from tfmot_swd.cli.scan import Scan, is_in, is_lambda, lambda_in

_SHORT = frozenset(
    name.lower().replace("_", "")
    for module in ("keras.activations", "keras.constraints", "keras.initializers", "keras.layers", "keras.regularizers")
    for name in (*CLASSES.get(module, ()), *FUNCTIONS.get(module, ()))
)


class Keras3Scan(Scan):
    """A walk over a description that Keras 3 loads."""

    def unknown_object(self, node: dict[str, Any], kind: Any) -> Iterator[str]:
        """Yields what is not allowed of an object itself, whatever is inside."""
        module, config = node.get("module"), node.get("config")
        if is_lambda(kind):
            yield lambda_in(node)
        elif not isinstance(kind, str) or not isinstance(module, str | None) or not self._is_allowed(node, kind):
            called = config if kind == "function" else kind
            yield f"class {called!r}" if module is None else f"{called} of module {module!r}"

    def is_named(self, name: str) -> bool:
        """Returns whether a name alone stands for a function, initializer or the like that is allowed."""
        return name.lower().replace("_", "") in _SHORT or _is_registered(name)

    def is_call(self, node: Any) -> bool:
        """Returns whether the description of a layer's call has a tensor of another layer in it."""
        return bool(keras3_references(node))

    def _is_allowed(self, node: dict[str, Any], kind: str) -> bool:
        """Returns whether all that Keras 3 may take an object for is allowed.

        It looks for what is registered first: of a function by its name, of a class by `registered_name`, or in an .h5
        file, which names no modules, by `class_name`.
        """
        module, fallback = node.get("module"), node.get("registered_name")
        if kind in VALUES:
            return True
        if module is not None and is_in(module, self.trusted):
            return True
        if kind == "function":
            name = node.get("config")
            if not isinstance(name, str):
                return False
            # Where it may only be a function of a kind, as an activation, it is looked for by either name.
            others = {fallback} - {None, name, kind}
            is_known = _is_registered(name) or name in FUNCTIONS.get(str(module), ())
            is_known = is_known or (module == "builtins" and _own(name, self.trusted) is not None)
            return is_known and all(map(_is_registered, others))
        if module is None:
            return (kind in NAMES or _is_registered(kind)) and (fallback in (None, kind) or _is_registered(fallback))
        if _is_registered(fallback):
            return True
        return fallback in (None, kind) and kind in CLASSES.get(module, ())


def has_tensor(node: Any) -> bool:
    """Returns whether there is a symbolic tensor in a description, of a model or not."""
    if isinstance(node, dict):
        return node.get("class_name") == "__keras_tensor__" or any(map(has_tensor, node.values()))
    return isinstance(node, list) and any(map(has_tensor, node))


def trusted_objects(node: Any, trusted: Collection[str]) -> dict[str, Any]:
    """Returns the classes and functions of trusted modules that a description names, by the names it has for them."""
    found: dict[str, Any] = {}
    waiting = [node]
    while waiting:
        each = waiting.pop()
        if isinstance(each, list):
            waiting += each
        elif isinstance(each, dict):
            waiting += each.values()
            module, kind = each.get("module"), each.get("class_name")
            name = each.get("config") if kind == "function" else kind
            known = name if kind == "function" else each.get("registered_name")
            if not isinstance(module, str) or not isinstance(name, str) or not isinstance(known, str):
                continue
            if is_in(module, trusted):
                item = _own(name, [module])
            else:
                # Of functions that are not registered Keras 3 writes no module.
                item = _own(name, trusted) if (kind, module) == ("function", "builtins") else None
            if item is not None:
                found[known] = item
    return found


def _own(name: str, modules: Collection[str]) -> Any:
    """Returns what one of some modules calls by a name and has not imported; None if there is no such thing."""
    for module in modules:
        item = vars(importlib.import_module(module)).get(name)
        if item is not None and is_in(str(getattr(item, "__module__", "")), [module.partition(".")[0]]):
            return item
    return None


def _is_registered(name: Any) -> bool:
    """Returns whether Keras 3 takes it from what this process has registered, whatever module is named."""
    if not isinstance(name, str) or "keras" not in sys.modules:
        return False
    import keras

    return keras.saving.get_registered_object(name) is not None
