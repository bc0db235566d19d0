"""Old names and arguments work, and say what replaces them."""

import math

import pytest

from tfmot_swd.io.deprecation import deprecated_names, renamed_arguments


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
