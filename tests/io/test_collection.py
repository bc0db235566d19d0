"""The collector waits, and is then as it was."""

import gc

import pytest

from tfmot_swd.io.collection import collection_paused


def test_the_collector_waits_and_goes_on_after_an_error_too():
    with collection_paused():
        assert not gc.isenabled()
    assert gc.isenabled()
    with pytest.raises(KeyError), collection_paused():
        raise KeyError
    assert gc.isenabled()


def test_one_that_is_off_stays_off():
    gc.disable()
    try:
        with collection_paused():
            assert not gc.isenabled()
        assert not gc.isenabled()
    finally:
        gc.enable()
