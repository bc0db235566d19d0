"""Peak memory of one inference, measured in a separate process."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from tfmot_swd.tflite.layout import open_size
from tfmot_swd.tflite.result import ExportError
from tfmot_swd.tflite.subprocesses import TIMEOUT, check_timeout, describe_exit, run_subprocess

# Runs alone, with nothing imported but the interpreter. The peak is reset after the imports, where the system can:
# they touch more memory than a small file. VmHWM belongs to this program, while ru_maxrss begins at the parent's.
_PROGRAM = """
import json, sys, warnings
warnings.simplefilter("ignore")
path, threads = sys.argv[1], int(sys.argv[2])
import numpy as np
try:
    from ai_edge_litert.interpreter import Interpreter
except (ImportError, OSError):
    import tensorflow as tf
    Interpreter = tf.lite.Interpreter

def peak():
    try:
        with open("/proc/self/status") as file:
            return next(1024 * int(line.split()[1]) for line in file if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        import resource
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)

try:
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")
except OSError:
    pass
try:
    before = peak()
except ImportError:
    print(json.dumps({"unmeasured": sys.platform}))
    sys.exit()
try:
    interpreter = Interpreter(model_path=path, num_threads=threads)
    for detail in interpreter.get_input_details():
        if min(detail["shape_signature"][1:], default=0) < 0:
            print(json.dumps({"open": [detail["name"], detail["shape_signature"].tolist()]}))
            sys.exit()
    interpreter.allocate_tensors()
    for detail in interpreter.get_input_details():
        interpreter.set_tensor(detail["index"], np.zeros(detail["shape"], detail["dtype"]))
    interpreter.invoke()
except (RuntimeError, ValueError) as error:
    print(json.dumps({"failed": f"{type(error).__name__}: {error}"}))
else:
    print(json.dumps({"bytes": peak() - before}))
"""


def peak_memory(path: str | os.PathLike[str], threads: int = 1, timeout: float = TIMEOUT) -> int:
    """Returns by how many bytes loading and running a file once raises the peak resident memory of a process.

    A fresh process imports the interpreter and nothing more, then loads the file, allocates and runs it on zeros. That
    counts the pages of the file that are touched, the activations, what is packed or unpacked of the weights at load,
    and the interpreter's own code on its first use, which is 3 MB or so: compare files rather than read one figure.

    Args:
        path: the file.
        threads: that the interpreter may use.
        timeout: seconds after which the process is stopped.

    Raises:
        TypeError, ValueError: `timeout` is not a positive number of seconds.
        ValueError: the file leaves the size of an input open.
        FileNotFoundError: there is no such file.
        ExportError: the file does not run, takes the process down with it, or does not end in time.
        OSError: this system does not tell a process's peak, or no process can be started.
    """
    check_timeout(timeout)
    file = Path(path)
    if not file.is_file():
        raise FileNotFoundError(f"There is no file to run: export it first. Received: path={os.fspath(path)!r}")
    # -P: what lies in the working directory is not to be imported in place of packages.
    command = [sys.executable, "-P", "-c", _PROGRAM, str(file), str(threads)]
    done = run_subprocess(command, timeout, f"One run of {os.fspath(path)!r}, to measure its memory,")
    last = done.stdout.strip().splitlines()[-1:]
    if done.returncode or not last:
        words = done.stderr.strip()[-1000:]
        raise ExportError(
            "The process that ran the file ended early: if that was for lack of memory, run it where there is more. "
            f"Received: {describe_exit(done.returncode)}, path={os.fspath(path)!r}. It said:\n{words}"
        )
    answer = json.loads(last[0])
    if "unmeasured" in answer:
        raise OSError(
            "This system does not tell the peak memory of a process: measure on Linux or macOS. "
            f"Received: platform {answer['unmeasured']!r}"
        )
    if "open" in answer:
        name, sides = answer["open"]
        raise ValueError(open_size(name, tuple(None if axis and side < 0 else side for axis, side in enumerate(sides))))
    if "failed" in answer:
        raise ExportError(
            "The file does not run on this machine, so its memory is not known: export it again, or measure it where "
            f"it is meant to run. Received: {answer['failed']}"
        )
    added: int = answer["bytes"]
    return added
