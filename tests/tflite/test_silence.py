import io
import logging
import os
import sys
import warnings

import pytest

from tfmot_swd.tflite.silence import CapturedLogs, silenced_logs


def test_both_descriptors_are_collected_and_restored(capfd):
    with silenced_logs() as captured:
        os.write(1, b"one\n")
        os.write(2, b"two\n")
        os.system("echo three")
    assert captured.text == "one\ntwo\nthree\n"
    os.write(1, b"after\n")
    os.write(2, b"after too\n")
    assert capfd.readouterr() == ("after\n", "after too\n")


def test_python_streams_keep_their_order(capfd):
    print("before")
    with silenced_logs() as captured:
        print("within")
    print("after")
    sys.stdout.flush()
    # Python's own streams may go to these descriptors or, under a test runner, elsewhere.
    assert "within" in captured.text + capfd.readouterr().out


def test_a_logger_of_tensorflow_that_writes_elsewhere_is_collected():
    # As in a notebook: neither the logger's own handler nor the root's writes to the descriptors.
    logger, root = logging.getLogger("tensorflow"), logging.getLogger()
    own, above = (logging.StreamHandler(io.StringIO()) for _ in range(2))
    logger.addHandler(own)
    root.addHandler(above)
    try:
        with silenced_logs() as captured:
            logger.error("Assets %s", "written")
        logger.error("after")
    finally:
        logger.removeHandler(own)
        root.removeHandler(above)
    assert captured.text == "ERROR:tensorflow:Assets written\n"
    assert own.stream.getvalue() == "after\n"
    assert above.stream.getvalue() in ("", "after\n")


def test_an_error_restores_them_and_leaves_the_text(capfd):
    kept: list[CapturedLogs] = []

    def fail() -> None:
        with silenced_logs() as captured:
            kept.append(captured)
            os.write(2, b"last words")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert kept[0].tail(5) == "words"
    os.write(2, b"after")
    assert capfd.readouterr().err == "after"


def test_no_descriptor_is_leaked():
    before = len(os.listdir("/dev/fd"))
    for _ in range(3):
        with silenced_logs():
            pass
    assert len(os.listdir("/dev/fd")) == before


def test_warnings_are_dropped_within_only():
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        with silenced_logs():
            warnings.warn("within", stacklevel=1)
        warnings.warn("after", stacklevel=1)
    assert [str(each.message) for each in seen] == ["after"]


def test_a_process_without_standard_output(capfd):
    kept = os.dup(1)
    os.close(1)
    try:
        with silenced_logs() as captured:
            os.write(2, b"err")
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.write(1, b"still closed")
    finally:
        os.dup2(kept, 1)
        os.close(kept)
    assert captured.text == "err"
