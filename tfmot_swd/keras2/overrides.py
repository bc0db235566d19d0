"""What makes an object compute something else than its class says: methods replaced on it or below an ancestor."""

from __future__ import annotations

import inspect
from typing import Any

# What a subclass may define and still compute what its ancestor does.
_HARMLESS = frozenset({"build", "get_config", "from_config", "compute_output_shape"})
_ACCESS = frozenset({"__call__", "__getattribute__", "__getattr__"})


def replaced_on_object(item: Any, kind: type | None = None) -> dict[str, Any]:
    """Returns what hides a method or a property of its class on the very object, by name.

    What `kind`, by default the object's class, or an ancestor of it puts there itself is left out: Keras's operators
    make their `call` so. A convolution whose `build` puts another `convolution_op` in place has replaced a method of
    Conv2D, and is just what its own class says.
    """
    own = type(item)
    trusted = (own if kind is None else kind).__mro__
    return {
        name: value
        for name, value in vars(item).items()
        if _is_computed(inspect.getattr_static(own, name, None)) and not _is_made_by(value, trusted, item)
    }


def replaced_below(kind: type, own: type) -> list[str]:
    """Returns what a class redefines of what its ancestor `kind` computes with: methods, properties, access itself.

    A property counts whatever it is called, as it may stand for a weight.
    """
    found: dict[str, None] = {}
    for each in own.__mro__[: own.__mro__.index(kind)]:
        for name, value in vars(each).items():
            special = name.startswith("__")
            overrides = _is_computed(value) and not special and name not in _HARMLESS and hasattr(kind, name)
            if name in _ACCESS or overrides or (not special and _is_property(value)):
                found[name] = None
    return list(found)


def computes_as(item: Any, kind: type) -> bool:
    """Whether nothing on an object, or between its class and an ancestor, replaces what the ancestor computes with."""
    return isinstance(item, kind) and not replaced_below(kind, type(item)) and not replaced_on_object(item, kind)


def methods_of(kind: type) -> dict[tuple[type, str], Any]:
    """Returns all that a class and its ancestors compute with, to tell later whether any of it was replaced."""
    return {
        (each, name): value
        for each in kind.__mro__[:-1]
        for name, value in vars(each).items()
        if _is_computed(value) and not name.startswith("__") and name not in _HARMLESS
    }


def _is_property(value: Any) -> bool:
    return hasattr(type(value), "__get__") and not callable(value) and not isinstance(value, classmethod)


def _is_computed(value: Any) -> bool:
    return callable(value) or hasattr(type(value), "__get__")


def _is_made_by(value: Any, kinds: tuple[type, ...], item: Any) -> bool:
    """Whether a function comes from the code of a method of these classes, and acts on the object itself."""
    if getattr(value, "__self__", item) is not item:
        return False
    function = getattr(value, "__func__", value)
    code = getattr(function, "__code__", None)
    return code is not None and any(
        code.co_qualname.startswith(f"{kind.__qualname__}.") and function.__globals__.get("__name__") == kind.__module__
        for kind in kinds
    )
