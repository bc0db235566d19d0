"""Latency of TFLite files, measured in turn so that a slow moment of the machine affects all of them."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfmot_swd.io.json_files import JsonResult
from tfmot_swd.tflite.interpreter import open_interpreter
from tfmot_swd.tflite.layout import open_size
from tfmot_swd.tflite.result import ExportError
from tfmot_swd.tflite.samples import Array
from tfmot_swd.tflite.silence import CapturedLogs, silenced_logs

# A timed stretch is at least this long, which the clock and a switch of tasks do not blur.
LEAST_SECONDS = 0.005
# From this ratio of the 90th to the 10th percentile of a file's own times on, it is compared with no other.
MOST_SPREAD = 2.0
# By so much the median of the ratios and the ratio of the medians may differ; beyond it a reader of both is misled.
_MOST_DISAGREEMENT = 1.25


@dataclass(frozen=True)
class Latency(JsonResult):
    """Latency of one inference on this machine, at the batch of the file.

    Attributes:
        name: of the file, as given.
        threads: that the interpreter may use.
        median_ms: over the rounds, milliseconds.
        low_ms, high_ms: the 10th and the 90th percentile.
        rounds: how many there were.
        ratio: the median over the rounds of this file's time divided by the reference's in the same round, which is
            not the ratio of the two medians; None without a reference, and where the times are too noisy.
        reference: name of the file that the ratio is to.
        noise: why the ratio is missing: the files whose times vary, and their range; else empty.
    """

    name: str
    threads: int
    median_ms: float
    low_ms: float
    high_ms: float
    rounds: int
    ratio: float | None = None
    reference: str | None = None
    noise: str = ""

    @property
    def spread(self) -> float:
        """Ratio of the 90th to the 10th percentile: 1.0 where all rounds took equally long."""
        return self.high_ms / self.low_ms if self.low_ms else math.inf

    def to_dict(self) -> dict[str, Any]:
        """Returns the fields as plain types, ready for JSON."""
        return dataclasses.asdict(self)


def measure_latency(
    files: Mapping[str, bytes],
    threads: Sequence[int] = (1, 2),
    rounds: int = 50,
    reference: str | Mapping[str, str] | None = None,
) -> tuple[Latency, ...]:
    """Measures the latency of files in turn, in LiteRT with its default delegate, or in TensorFlow Lite without LiteRT.

    Each round times every file once, for 5 ms or more, and starts with another file. Inputs are random: the time of
    dense kernels does not depend on them, and that of the converter's other operators hardly. The ratio is left out
    where the 90th percentile of either file's times is more than twice the 10th, or where the ratio of the two medians
    differs from it by a quarter: other work on the machine disturbed the measurement, and `Latency.noise` says so.

    Args:
        files: content by name.
        threads: numbers of threads; each is measured on its own.
        rounds: stretches a file and number of threads.
        reference: name of the file that the others are compared with; or names by name, where each file has its own.

    Returns:
        One for each file and number of threads, in this order: all files at the first number, then at the next.

    Raises:
        TypeError: a content that is not bytes, a number that is not an int.
        ValueError: no files, a number below 1, a reference that is not one of the files, an input of strings or of
            open size.
        ExportError: a file that does not run; the message names it.

    >>> import tempfile, tf_keras as keras, tfmot_swd
    >>> net = keras.Sequential([keras.layers.Input((4,)), keras.layers.Dense(2)])
    >>> path = tempfile.mkdtemp() + "/model.tflite"
    >>> _ = tfmot_swd.export_tflite(net, path)
    >>> (latency,) = measure_latency({"float32": open(path, "rb").read()}, threads=(1,), rounds=3)
    >>> 0 < latency.low_ms <= latency.median_ms <= latency.high_ms
    True
    """
    if not isinstance(files, Mapping) or not files:
        raise ValueError(f"files must hold at least one file's content by name. Received: files={files!r}")
    if isinstance(threads, str) or not isinstance(threads, Sequence):
        raise TypeError(f"threads is a list of numbers, each measured on its own. Received: threads={threads!r}")
    counts = [(f"threads={threads!r}", each) for each in threads] + [(f"rounds={rounds!r}", rounds)]
    for shown, number in counts:
        if isinstance(number, bool) or not isinstance(number, int):
            raise TypeError(f"threads and rounds are whole numbers. Received: {shown}")
        if number < 1:
            raise ValueError(f"threads and rounds must be 1 or more. Received: {shown}")
    names = list(files)
    references = dict.fromkeys(names, reference) if isinstance(reference, str) else dict(reference or {})
    unknown = [each for each in (*references, *references.values()) if each not in files]
    if unknown:
        raise ValueError(f"reference must be one of {', '.join(files)}. Received: reference={unknown[0]!r}")
    found = []
    for count in threads:
        milliseconds = 1000 * time_in_turn([tflite_runner(files[name], count, name) for name in names], rounds)
        times = dict(zip(names, milliseconds.T, strict=True))
        ratios = {name: float(np.median(times[name] / times[each])) for name, each in references.items()}
        quantiles = np.quantile(milliseconds, (0.5, 0.1, 0.9), axis=0).T.tolist()
        measured = [
            Latency(name, count, median, low, high, rounds, ratios.get(name), references.get(name))
            for name, (median, low, high) in zip(names, quantiles, strict=True)
        ]
        found += [without_noise(each, measured) for each in measured]
    return tuple(found)


def without_noise(latency: Latency, others: Iterable[Latency]) -> Latency:
    """Returns a latency with its ratio replaced by `noise` where the times behind it vary too much.

    Args:
        latency: with or without a ratio.
        others: what was measured beside it; that of its reference, at as many threads, is looked for among them.

    >>> dense = Latency("dense", 1, 2.0, 1.9, 2.1, 50, 1.0, "dense")
    >>> small = without_noise(Latency("small", 1, 1.0, 0.9, 3.6, 50, 0.5, "dense"), [dense])
    >>> small.ratio, small.noise
    (None, 'too noisy to compare: small ran between 0.9 and 3.6 ms')
    """
    if latency.ratio is None or latency.name == latency.reference:
        return latency
    pair = [each for each in others if (each.name, each.threads) == (latency.reference, latency.threads)]
    noise = _noise([each for each in (*pair, latency) if each.spread > MOST_SPREAD])
    medians = [latency.median_ms / each.median_ms for each in pair if each.median_ms]
    if not noise and any(_differ(latency.ratio, each) for each in medians):
        noise = _noise((*pair, latency))
    return dataclasses.replace(latency, ratio=None, noise=noise) if noise else latency


def noises(latencies: Iterable[Latency]) -> list[str]:
    """Returns one sentence for each number of threads at which latencies are too noisy to compare."""
    known = list(latencies)
    found = []
    for count in sorted({each.threads for each in known if each.noise}):
        noisy = [each for each in known if each.noise and each.threads == count]
        named = {each.name for each in noisy} | {each.reference for each in noisy}
        # Those whose own times vary; where none do, those of which two ways to compare them disagree.
        beside = [each for each in known if each.threads == count and each.name in named]
        told = _noise([each for each in beside if each.spread > MOST_SPREAD] or beside)
        found.append(f"{count} thread{'s' * (count > 1)}: {told}")
    return found


def _differ(ratio: float, other: float) -> bool:
    return not (ratio and other) or max(ratio / other, other / ratio) > _MOST_DISAGREEMENT


def _noise(latencies: Sequence[Latency]) -> str:
    ran = ", ".join(f"{each.name} ran between {each.low_ms:.3g} and {each.high_ms:.3g} ms" for each in latencies)
    return f"too noisy to compare: {ran}" if ran else ""


def time_in_turn(
    runs: Sequence[Callable[[], Any]],
    rounds: int,
    clock: Callable[[], float] = time.perf_counter,
    after_each: Callable[[], Any] = lambda: None,
) -> Array:
    """Returns the seconds of one call, `(rounds, len(runs))`; the order rotates from round to round.

    Args:
        runs: functions to time.
        rounds: stretches of each.
        clock: seconds; `time.thread_time` leaves out what other processes took, of what runs in this thread alone.
        after_each: called after each stretch.
    """

    def seconds(run: Callable[[], Any], calls: int) -> float:
        start = clock()
        for _ in range(calls):
            run()
        return (clock() - start) / calls

    # A clock may be too coarse for one call.
    calls = [max(1, math.ceil(LEAST_SECONDS / max(min(seconds(run, 1) for _ in range(3)), 1e-7))) for run in runs]
    times = np.zeros((rounds, len(runs)))
    for number in range(rounds):
        for turn in range(len(runs)):
            index = (turn + number) % len(runs)
            times[number, index] = seconds(runs[index], calls[index])
            after_each()
    return times


def tflite_runner(content: bytes, threads: int = 1, name: str = "model") -> Callable[[], None]:
    """Returns a function that runs a file once, on the same random inputs each time.

    Raises:
        TypeError: `content` is not bytes.
        ValueError: an input of strings, or of open size.
        ExportError: the interpreter cannot load or run the file.
    """
    if not isinstance(content, bytes):
        raise TypeError(f"A file is given as its bytes: read it first. Received: {type(content).__name__} for {name!r}")
    try:
        with silenced_logs() as captured:
            interpreter, _ = open_interpreter(content, threads)
    except (RuntimeError, ValueError) as error:
        raise _not_running(name, error, captured) from error
    details = interpreter.get_input_details()
    for detail in details:
        sides = tuple(None if side < 0 and axis else int(side) for axis, side in enumerate(detail["shape_signature"]))
        if None in sides:
            raise ValueError(open_size(detail["name"], sides))
    values = [random_input(detail["shape"], detail["dtype"]) for detail in details]
    try:
        with silenced_logs() as captured:
            interpreter.allocate_tensors()
            for detail, value in zip(details, values, strict=True):
                interpreter.set_tensor(detail["index"], value)
            interpreter.invoke()
    except (RuntimeError, ValueError) as error:
        raise _not_running(name, error, captured) from error
    invoke: Callable[[], None] = interpreter.invoke
    return invoke


def random_input(shape: Sequence[int], dtype: Any, seed: int = 0) -> Array:
    """Returns a random array of a dtype: normal floats, 8 and 16 bits over their range, zeros for wider integers.

    Raises:
        ValueError: a dtype of neither numbers nor booleans.
    """
    generator, kind = np.random.default_rng(seed), np.dtype(dtype)
    shape = tuple(map(int, shape))
    if kind.kind == "f":
        return generator.standard_normal(shape).astype(kind)
    if kind.kind in "iu" and kind.itemsize <= 2:
        limits = np.iinfo(kind)
        return generator.integers(limits.min, limits.max, shape, dtype=kind, endpoint=True)
    if kind.kind in "iub":
        # Wider integers are indices, into a table of a size that is not known here.
        return np.zeros(shape, kind)
    raise ValueError(f"There is no random input of this dtype: time the file on your own data. Received: {kind}")


def _not_running(name: str, error: Exception, captured: CapturedLogs) -> ExportError:
    said = f"{type(error).__name__}: {error} {captured.tail(500)}".rstrip()
    return ExportError(
        f"The file {name!r} does not run on this machine, so it cannot be timed: export it again, or measure it where "
        f"it is meant to run. Received: {said}"
    )
