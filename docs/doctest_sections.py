"""Griffe extension that makes the doctests of a docstring an Examples section, as Griffe knows that title alone."""

from __future__ import annotations

import re
from typing import Any

import griffe

_EXAMPLE = re.compile(r"^Example:$", re.MULTILINE)
# A paragraph that begins with a prompt, outside of any section.
_DOCTEST = re.compile(r"^>>> .*?(?=\n\n|\Z)", re.MULTILINE | re.DOTALL)


class DoctestSections(griffe.Extension):
    """Renames "Example:", and puts doctests that stand outside of a section into one."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring is not None:
            obj.docstring.value = _DOCTEST.sub(_section, _EXAMPLE.sub("Examples:", obj.docstring.value))


def _section(found: re.Match[str]) -> str:
    return "Examples:\n" + "\n".join(f"    {line}" for line in found[0].splitlines())
