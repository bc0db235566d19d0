"""Deprecated names, arguments and attributes, kept for one release with a warning that names the replacement."""

from __future__ import annotations

import functools
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import sys
import types
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


def warn_deprecated(old: str, new: str, *, stacklevel: int = 3) -> None:
    """Warns that `old` goes in the next release, and says what to write.

    Args:
      old: what was written, as code.
      new: what to write in its place, as code.
      stacklevel: that of `warnings.warn`, seen from the caller of this function; 3 points at the user's line where the
        caller is a public function.
    """
    warnings.warn(
        f"{old} is deprecated and will be removed in the next release: write {new} instead.",
        DeprecationWarning,
        stacklevel=stacklevel,
    )


def renamed_arguments(**renamed: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Returns a decorator that accepts keyword arguments under their old names too, with a `DeprecationWarning`.

    Args:
      renamed: old name → new name.

    Raises:
      TypeError: (the decorated function) an argument is given under both names.

    >>> @renamed_arguments(protect="skip")
    ... def remove(model, skip=()):
    ...     return skip
    >>> remove("net", skip=["head"])
    ['head']
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(function)
        def accept(*args: P.args, **kwargs: P.kwargs) -> R:
            for old, new in renamed.items():
                if old in kwargs:
                    if new in kwargs:
                        raise TypeError(
                            f"{old} is the deprecated name of {new}: pass {new} alone. "
                            f"Received: {old}={kwargs[old]!r} and {new}={kwargs[new]!r}"
                        )
                    warn_deprecated(f"{function.__name__}({old}=...)", f"{new}=")
                    kwargs[new] = kwargs.pop(old)
            return function(*args, **kwargs)

        return accept

    return decorate


class RenamedAttribute:
    """Read-only attribute of a class under its old name; made by `renamed_attribute`.

    Args:
      new: name of the attribute today.
    """

    def __init__(self, new: str) -> None:
        self.new = new

    def __set_name__(self, owner: type, name: str) -> None:
        self._old = name

    def __get__(self, instance: Any, owner: type) -> Any:
        if instance is None:
            return self
        warn_deprecated(f"{owner.__name__}.{self._old}", f".{self.new}")
        return getattr(instance, self.new)


def renamed_attribute(new: str) -> Any:
    """Returns a class attribute that reads another one under an old name, with a `DeprecationWarning`.

    Without an annotation it is no field of a dataclass, so neither `__init__` nor `dataclasses.asdict` has it.

    Args:
      new: name of the attribute today.

    >>> import dataclasses
    >>> @dataclasses.dataclass
    ... class Report:
    ...     prunable_weights: int
    ...     pool = renamed_attribute("prunable_weights")
    >>> report = Report(8)
    >>> report.pool, dataclasses.asdict(report)
    (8, {'prunable_weights': 8})
    """
    return RenamedAttribute(new)


def with_new_names(kind: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns values by name, such as a saved dictionary, with old names replaced by those of today.

    Args:
      kind: class whose `renamed_attribute`s say how the names have changed.
      values: by name; a value that is given under its new name stays.

    >>> class Report:
    ...     pool = renamed_attribute("prunable_weights")
    >>> with_new_names(Report, {"pool": 8, "step": 1})
    {'prunable_weights': 8, 'step': 1}
    """
    renamed = {
        old: attribute.new
        for base in kind.__mro__
        for old, attribute in vars(base).items()
        if isinstance(attribute, RenamedAttribute)
    }
    return {renamed.get(name, name): value for name, value in values.items()}


def deprecated_names(module: str, moved: Mapping[str, str]) -> Callable[[str], Any]:
    """Returns a module's `__getattr__` that finds names where they have moved, with a `DeprecationWarning`.

    Args:
      module: name of the module whose names have moved.
      moved: old name → "module.name" of today.
    """

    def find(name: str) -> Any:
        place = moved.get(name)
        if place is None:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        warn_deprecated(f"{module}.{name}", place)
        holder, _, attribute = place.rpartition(".")
        found = getattr(importlib.import_module(holder), attribute, None)
        return importlib.import_module(place) if found is None else found

    return find


def deprecated_modules(moved: Mapping[str, str]) -> None:
    """Has modules imported under their old names too, with a `DeprecationWarning`.

    Args:
      moved: old name → name of today.
    """
    # Before the finder of files, which would find a folder in a package that has moved, and run it again.
    sys.meta_path.insert(0, _MovedModules(moved))


class _MovedModules(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def __init__(self, moved: Mapping[str, str]) -> None:
        self._moved = dict(moved)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        new = self._new_name(fullname)
        if new is None or importlib.util.find_spec(new) is None:
            return None
        warn_deprecated(f"import {fullname}", f"import {new}")
        return importlib.machinery.ModuleSpec(fullname, self)

    def _new_name(self, fullname: str) -> str | None:
        """Returns the name of today of a module that has moved, or of one inside of it."""
        parent, _, own = fullname.rpartition(".")
        if fullname in self._moved:
            return self._moved[fullname]
        above = self._new_name(parent) if parent else None
        return None if above is None else f"{above}.{own}"

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        module = importlib.import_module(self._new_name(spec.name) or spec.name)
        spec.loader_state = module.__spec__
        return module

    def exec_module(self, module: types.ModuleType) -> None:
        """Gives the module, which has run under its own name, that name back."""
        if module.__spec__ is not None:
            module.__spec__ = module.__spec__.loader_state
