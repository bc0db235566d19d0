"""Calibration of a latency table: the time of small files of one operator on this machine."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import math
import platform
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from rich.console import Console

from tfmot_swd.costs.latency_fit import OperatorRun
from tfmot_swd.costs.latency_table import LatencyTable
from tfmot_swd.tflite.graph import read_graph
from tfmot_swd.tflite.latency import tflite_runner, time_in_turn
from tfmot_swd.tflite.one_operator import OperatorCase, operator_counts, operator_file, operator_kind
from tfmot_swd.tflite.samples import Array
from tfmot_swd.workflows.progress import console_of, progress_bar

RECIPES = ("float32", "int8")
# Operators in the two files of a case, whose difference is timed: from two on the weights of one do not wait in the
# fastest cache for the next inference, as they do not in a network.
_FEW, _MANY = 2, 6
_LEAST_ROUNDS = 3
# From this ratio of the 90th to the 10th percentile on, a file's times are noisy, and from this share of noisy files on
# the table says that it is not to be trusted.
_MOST_SPREAD, _MOST_NOISY = 1.5, 0.2


def _convolutions() -> list[OperatorCase]:
    found = [
        OperatorCase("CONV_2D", *each)
        for each in (
            (32, 3, 16, 3),
            (28, 1, 32, 3),
            (48, 3, 8, 3, 2),
            (49, 1, 64, 7, 2),
            (96, 3, 8, 3, 2),
            (24, 3, 32, 5),
        )
    ]
    found += [OperatorCase("CONV_2D", *each) for each in ((28, 1, 16, 5), (32, 1, 8, 3, 2), (16, 1, 64, 5))]
    found += [OperatorCase("CONV_2D", *each) for each in ((32, 16, 32, 3, 2), (16, 32, 64, 3, 2), (32, 16, 32, 1, 2))]
    for kernel, sides in ((3, {8: 32, 11: 24, 16: 32, 23: 16, 32: 16, 48: 8, 64: 8}), (1, {8: 48, 16: 24, 23: 24})):
        found += [OperatorCase("CONV_2D", side, width, width, kernel) for width, side in sides.items()]
    found += [
        OperatorCase("CONV_2D", side, width, filters, 1)
        for side, width, filters in ((48, 8, 16), (24, 16, 32), (12, 32, 64), (12, 64, 64), (24, 64, 64), (6, 128, 128))
    ]
    found += [OperatorCase("CONV_2D", *each, 1) for each in ((6, 91, 128), (12, 45, 64), (3, 256, 256), (3, 128, 256))]
    return found


def _others() -> list[OperatorCase]:
    found = []
    for side, channels, stride in (
        *((48, 8, 1), (48, 16, 2), (24, 32, 1), (24, 32, 2), (12, 64, 1), (12, 64, 2), (6, 128, 1), (6, 128, 2)),
        *((3, 256, 1), (24, 11, 1), (12, 45, 1), (24, 64, 1)),
    ):
        found.append(OperatorCase("DEPTHWISE_CONV_2D", side, channels, kernel=3, stride=stride))
    found += [
        OperatorCase("DEPTHWISE_CONV_2D", side, width, kernel=5) for side, width in ((12, 64), (24, 16), (6, 160))
    ]
    found += [
        OperatorCase("FULLY_CONNECTED", 0, width, units)
        for width, units in (
            (64, 10),
            (256, 10),
            (64, 64),
            (128, 128),
            (256, 64),
            (640, 128),
            (784, 64),
            (1568, 64),
            (3136, 64),
        )
    ]
    for name in ("MAX_POOL_2D", "AVERAGE_POOL_2D"):
        found += [
            OperatorCase(name, side, width, kernel=2, stride=2)
            for side, width in ((28, 32), (14, 64), (32, 16), (8, 64))
        ]
    found += [OperatorCase("MEAN", side, width) for side, width in ((8, 64), (3, 256), (16, 32), (24, 16))]
    for name in ("ADD", "MUL"):
        found += [OperatorCase(name, side, width) for side, width in ((32, 16), (16, 32), (8, 64), (4, 64), (24, 45))]
    for name in ("CONCATENATION", "PAD"):
        found += [OperatorCase(name, side, width) for side, width in ((32, 16), (16, 32), (8, 64), (24, 16))]
    found += [OperatorCase("LOGISTIC", side, width) for side, width in ((32, 16), (16, 32), (8, 64))]
    return found + [OperatorCase("SOFTMAX", 0, width) for width in (10, 100, 1000)]


CASES = (*_convolutions(), *_others())


@dataclasses.dataclass(frozen=True)
class _Timed:
    """What was measured of one recipe.

    Args:
      runs: operators with a time that could be told.
      inference_us: microseconds of an inference besides its operators.
      noisy: share of the files whose times vary too much.
      lost: number of operators whose time could not be told.
    """

    runs: tuple[OperatorRun, ...]
    inference_us: float
    noisy: float
    lost: int


def calibrate(
    *,
    recipes: Iterable[str] = RECIPES,
    seconds: float = 60.0,
    cases: Sequence[OperatorCase] | None = None,
    verbose: int = 1,
    console: Console | None = None,
) -> LatencyTable:
    """Measures operators on this machine, in LiteRT at one thread, and returns the fitted table of their times.

    Use it on the device that the network is for, or on one like it, before a `Budget(latency=...)`. Each case is two
    small files, of two and of six operators of one kind and size: a quarter of their difference is the time of one
    operator, and what is left the time of an inference besides. All files run in turn, for as many rounds as there is
    time, and the median of the rounds is taken. Time is that of the processor in this thread, so that other programs
    disturb the measurement less; where it varies by half even so, the table says that it is not to be trusted.

    Args:
      recipes: of the files, any of "float32" and "int8".
      seconds: for all of it; at least three rounds are made, which may take longer.
      cases: which operators and sizes; about ninety by default.
      verbose: 0 shows nothing, 1 a progress bar where there is a terminal.
      console: where that is shown; standard error by default.

    Raises:
      ValueError: an unknown recipe, no time, or no case.
      ExportError: the interpreter of this machine does not run a file.

    >>> case = [OperatorCase("FULLY_CONNECTED", 0, 64, width) for width in (32, 256)]
    >>> table = calibrate(recipes=["int8"], seconds=0.1, cases=case, verbose=0)
    >>> [(each.recipe, each.kind) for each in table.times]
    [('int8', 'dense')]
    """
    wanted = tuple(dict.fromkeys(recipes))
    if isinstance(recipes, str) or not wanted or not set(wanted) <= set(RECIPES):
        raise ValueError(f"recipes must be some of {', '.join(RECIPES)}. Received: recipes={recipes!r}")
    is_number = isinstance(seconds, int | float) and not isinstance(seconds, bool)
    if not (is_number and math.isfinite(seconds) and seconds > 0):
        raise ValueError(f"seconds must be a number above 0. Received: seconds={seconds!r}")
    cases = CASES if cases is None else tuple(cases)
    if not cases:
        raise ValueError("cases must hold one operator at least. Received: none")
    shown = console_of(verbose, console)
    found = {recipe: _timed(cases, recipe, seconds / len(wanted), shown) for recipe in wanted}
    noisy = [
        f"{recipe}: too noisy to trust, as {timed.noisy:.0%} of the files vary by half or more: calibrate again while "
        "nothing else runs"
        for recipe, timed in found.items()
        if timed.noisy > _MOST_NOISY
    ]
    lost = [
        f"{recipe}: {timed.lost} of {len(cases)} operators left out, as more of them took no longer"
        for recipe, timed in found.items()
        if timed.lost
    ]
    return LatencyTable.from_runs(
        (run for timed in found.values() for run in timed.runs),
        inference_us={recipe: timed.inference_us for recipe, timed in found.items()},
        device=_device(),
        kernels=_kernels(),
        notes=(*noisy, *lost),
    )


def _timed(cases: Sequence[OperatorCase], recipe: str, seconds: float, console: Console) -> _Timed:
    start = time.perf_counter()
    runners = [tflite_runner(operator_file(case, recipe, count)) for case in cases for count in (_FEW, _MANY)]
    made = time.perf_counter()
    # The first round warms caches and clocks up, and tells how long the others take.
    time_in_turn(runners, 1, time.thread_time)
    ended = time.perf_counter()
    rounds = max(_LEAST_ROUNDS, int((seconds - (ended - start)) / (ended - made)))
    with progress_bar(console, f"{recipe} operators", rounds * len(runners)) as advance:
        times = time_in_turn(runners, rounds, time.thread_time, advance)
    return _evaluated(cases, recipe, times)


def _evaluated(cases: Sequence[OperatorCase], recipe: str, times: Array) -> _Timed:
    """Returns the times of operators, of the seconds of each file, `(rounds, 2 * cases)`."""
    few, many = np.median(times, axis=0).reshape(-1, 2).T
    each = (many - few) / (_MANY - _FEW)
    low, high = np.quantile(times, (0.1, 0.9), axis=0)
    noisy = float(np.mean(high > _MOST_SPREAD * np.maximum(low, 1e-12)))
    runs = []
    for case, duration in zip(cases, each.tolist(), strict=True):
        graph = read_graph(operator_file(case, recipe, 1))
        kind = operator_kind(graph, graph.operators[0])
        if duration > 0 and kind is not None:
            macs, nbytes, positions = operator_counts(graph, graph.operators[0])
            runs.append(OperatorRun(kind, macs, nbytes, 1000 * duration, recipe, positions))
    # The shorter the operators, the better is known what is left without them.
    shortest = np.argsort(few)[: max(len(cases) // 3, 1)]
    rest = np.maximum(few - _FEW * each, 0.0)[shortest]
    return _Timed(tuple(runs), 1e6 * float(np.median(rest)), noisy, len(cases) - len(runs))


def _device() -> str:
    """Returns the processor as text."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        names = [line.partition(":")[2].strip() for line in lines if line.lower().startswith(("model name", "model\t"))]
        name = next((each for each in names if not each.isdigit()), "")
    except OSError:
        name = ""
    return " ".join(filter(None, (name or platform.processor(), platform.machine(), platform.system())))


def _kernels() -> str:
    try:
        name = f"LiteRT {importlib.metadata.version('ai-edge-litert')}"
    except importlib.metadata.PackageNotFoundError:
        name = f"TensorFlow Lite {importlib.metadata.version('tensorflow')}"
    return f"{name}, 1 thread, default delegate (XNNPACK)"
