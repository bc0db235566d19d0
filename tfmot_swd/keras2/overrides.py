"""Overridden methods and properties, on an object or in a subclass, which may change what a layer computes."""

from __future__ import annotations

from typing import Any

from tfmot_swd.keras2.compat import Functional, keras
from tfmot_swd.keras2.graph import has_graph

# Where the classes of Keras, TFMOT and this package are.
_KNOWN_HOMES = ("tf_keras.", "tensorflow_model_optimization.", "tfmot_swd.")
# What a subclass may define and still compute what its ancestor does.
_HARMLESS = frozenset({"build", "get_config", "from_config", "compute_output_shape"})
_ACCESS = frozenset({"__call__", "__getattribute__", "__getattr__"})


def replaced_on_object(item: Any, kind: type | None = None) -> dict[str, Any]:
    """Returns the attributes of an object that hide a method or property of its class, by name.

    Attributes that `kind` or an ancestor of it sets itself are left out, such as the `call` of Keras's operators. A
    convolution whose `build` sets another `convolution_op` has replaced a method of Conv2D, but none of its own class.

    Args:
      item: any object.
      kind: a class in its ancestry; by default its class.
    """
    own = type(item)
    trusted = (own if kind is None else kind).__mro__
    return {
        name: value
        for name, value in vars(item).items()
        if _is_computed(_static(own, name)) and not _is_made_by(value, trusted, item)
    }


def replaced_below(kind: type, own: type) -> list[str]:
    """Returns the methods, properties and attribute access that a class redefines of its ancestor `kind`, by name.

    A new property counts under any name, as it may stand for a weight.
    """
    found: dict[str, None] = {}
    for each in own.__mro__[: own.__mro__.index(kind)]:
        for name, value in vars(each).items():
            special = name.startswith("__")
            overrides = _is_computed(value) and not special and name not in _HARMLESS and hasattr(kind, name)
            if name in _ACCESS or overrides or (not special and _is_property(value)):
                found[name] = None
    return list(found)


def is_of_users(module: str) -> bool:
    """Returns whether a module is neither Keras's nor TFMOT's nor this package's."""
    return not f"{module}.".startswith(_KNOWN_HOMES)


def check_is_its_graph(model: Any) -> None:
    """Raises a ValueError unless calling a model runs its layer graph."""
    if not has_graph(model):
        problem = "has no graph of layers, as one of them cannot be traced: give the first one an input_shape"
    elif type(model).call not in (Functional.call, keras.Sequential.call) or "call" in replaced_on_object(model):
        problem = "has a call method of its own: write what it does as layers of a Functional model"
    else:
        return
    raise ValueError(f"Channels are found in the graph of a model, and this one {problem}. Received: {model.name!r}")


def computes_as(item: Any, kind: type) -> bool:
    """Returns whether an object computes what its ancestor `kind` does: nothing is overridden in between."""
    return isinstance(item, kind) and not replaced_below(kind, type(item)) and not replaced_on_object(item, kind)


def methods_of(kind: type) -> dict[tuple[type, str], Any]:
    """Returns the methods and properties of a class and its ancestors, to detect later replacements."""
    return {
        (each, name): value
        for each in kind.__mro__[:-1]
        for name, value in vars(each).items()
        if _is_computed(value) and not name.startswith("__") and name not in _HARMLESS
    }


def _static(kind: type, name: str) -> Any:
    """Returns an attribute of a class without running descriptors; None where it has none.

    `inspect.getattr_static` looks for metaclasses too, and takes ten times as long: a quarter of the time of a copy.
    """
    return next((vars(each)[name] for each in kind.__mro__ if name in vars(each)), None)


def _is_property(value: Any) -> bool:
    return hasattr(type(value), "__get__") and not callable(value) and not isinstance(value, classmethod)


def _is_computed(value: Any) -> bool:
    return callable(value) or hasattr(type(value), "__get__")


def _is_made_by(value: Any, kinds: tuple[type, ...], item: Any) -> bool:
    """Returns whether a function was defined in a method of these classes, and is bound to the object itself."""
    if getattr(value, "__self__", item) is not item:
        return False
    function = getattr(value, "__func__", value)
    code = getattr(function, "__code__", None)
    return code is not None and any(
        code.co_qualname.startswith(f"{kind.__qualname__}.") and function.__globals__.get("__name__") == kind.__module__
        for kind in kinds
    )
