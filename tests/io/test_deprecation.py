"""Old names and arguments work, and say what replaces them."""

import dataclasses
import importlib
import math
import sys

import pytest

from tfmot_swd.io import deprecation
from tfmot_swd.io.deprecation import (
    deprecated_modules,
    deprecated_names,
    renamed_arguments,
    renamed_attribute,
    with_new_names,
)


@renamed_arguments(protect="skip")
def remove(model, skip=()):
    return model, skip


def test_an_old_argument_is_handed_on_under_its_new_name():
    with pytest.warns(DeprecationWarning, match=r"remove\(protect=...\) is deprecated .*: write skip= instead"):
        assert remove("net", protect=["head"]) == ("net", ["head"])


def test_the_new_argument_does_not_warn(recwarn):
    assert remove("net", skip=["head"]) == ("net", ["head"])
    assert not recwarn.list


def test_both_names_at_once_are_refused():
    with pytest.raises(TypeError, match="pass skip alone. Received: protect=1 and skip=2"):
        remove("net", protect=1, skip=2)


def test_an_old_name_is_found_where_it_is_now():
    find = deprecated_names("here", {"square_root": "math.sqrt"})
    with pytest.warns(DeprecationWarning, match="here.square_root is deprecated .* math.sqrt"):
        assert find("square_root") is math.sqrt
    with pytest.raises(AttributeError, match="module 'here' has no attribute 'cube_root'"):
        find("cube_root")


def test_a_module_that_has_moved_is_imported_under_its_old_name(monkeypatch):
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path])
    monkeypatch.delitem(sys.modules, "tfmot_swd.old_name", raising=False)
    deprecated_modules({"tfmot_swd.old_name": "tfmot_swd.io.deprecation"})
    with pytest.warns(DeprecationWarning, match="import tfmot_swd.old_name is deprecated .* tfmot_swd.io.deprecation"):
        found = importlib.import_module("tfmot_swd.old_name")
    assert found is deprecation
    assert (found.__name__, found.__spec__.name) == ("tfmot_swd.io.deprecation",) * 2
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("tfmot_swd.other_name")


@dataclasses.dataclass(frozen=True)
class Report:
    prunable_weights: int
    pool = renamed_attribute("prunable_weights")


class Longer(Report):
    """A subclass, whose own name the warning has."""


def test_an_old_attribute_reads_the_new_one():
    with pytest.warns(DeprecationWarning, match=r"^Longer.pool is deprecated .*: write .prunable_weights instead"):
        assert Longer(8).pool == 8


def test_an_old_attribute_is_no_field(recwarn):
    assert dataclasses.asdict(Report(8)) == {"prunable_weights": 8}
    assert [field.name for field in dataclasses.fields(Report)] == ["prunable_weights"]
    assert Report(8) == dataclasses.replace(Report(9), prunable_weights=8)
    with pytest.raises(dataclasses.FrozenInstanceError):
        Report(8).pool = 9
    assert not recwarn.list


def test_a_dictionary_under_old_names_has_those_of_today(recwarn):
    assert with_new_names(Longer, {"pool": 8, "step": 1}) == {"prunable_weights": 8, "step": 1}
    assert with_new_names(Longer, {"prunable_weights": 8}) == {"prunable_weights": 8}
    assert not recwarn.list
