"""Processes that hang, and times that are none."""

import sys
import time

import numpy as np
import pytest

from tfmot_swd.tflite.result import ExportError
from tfmot_swd.tflite.subprocesses import check_timeout, describe_exit, run_subprocess


def test_what_it_says_and_how_it_ends_come_back():
    program = "import sys; print('out'); print('err', file=sys.stderr); sys.exit(sys.stdin.read() or 3)"
    done = run_subprocess([sys.executable, "-c", program], 60, "It")
    assert (done.returncode, done.stdout, done.stderr) == (3, "out\n", "err\n")


@pytest.mark.parametrize(
    ("code", "said"),
    [(0, "exit code 0"), (3, "exit code 3"), (-6, "SIGABRT"), (-11, "SIGSEGV"), (-99, "signal 99")],
)
def test_how_a_process_ended(code, said):
    assert describe_exit(code) == f"it ended with {said}"


def test_a_process_that_hangs_is_killed(tmp_path):
    alive = tmp_path / "alive"
    program = f"import time; time.sleep(3); open({str(alive)!r}, 'w')"
    start = time.monotonic()
    with pytest.raises(ExportError, match=r"It had not ended after 0.5 s.*larger timeout.*Received: timeout=0.5$"):
        run_subprocess([sys.executable, "-c", program], 0.5, "It")
    assert time.monotonic() - start < 2.5
    time.sleep(3.5)
    assert not alive.exists()


@pytest.mark.parametrize(
    ("timeout", "error"),
    [(0, ValueError), (-1.0, ValueError), (float("nan"), ValueError), ("60", TypeError), (True, TypeError)],
)
def test_what_is_no_time(timeout, error):
    with pytest.raises(error, match=f"timeout must be .*Received: timeout={timeout!r}$"):
        check_timeout(timeout)


def test_times_that_are_taken():
    for timeout in (1, 0.5, np.float32(3)):
        check_timeout(timeout)
