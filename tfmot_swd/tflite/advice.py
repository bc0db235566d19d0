"""Deployment advice for a TFLite file: gains from zeros and removed channels, and alternatives."""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass
from typing import Any, Literal

from rich.table import Table
from rich.text import Text

from tfmot_swd.io.deprecation import renamed_arguments
from tfmot_swd.io.json_files import JsonResult
from tfmot_swd.io.tables import COMPACT, Printable, ResultTable, View, visible
from tfmot_swd.tflite.advice_case import FAILS, HELPS, NO_HELP, UNKNOWN, Advice, Case
from tfmot_swd.tflite.advice_topics import TARGETS, TOPICS
from tfmot_swd.tflite.file_bytes import read_bytes_or_path
from tfmot_swd.tflite.file_facts import read_facts

__all__ = ["FAILS", "HELPS", "NO_HELP", "TARGETS", "UNKNOWN", "Advice", "FileAdvice", "Target", "advise"]

Target = Literal["phone", "desktop", "microcontroller"]
_COLOURS = {HELPS: "green", NO_HELP: "yellow", UNKNOWN: "cyan", FAILS: "red"}


@dataclass(frozen=True)
class FileAdvice(Printable, JsonResult):
    """Deployment advice for one TFLite file; prints as a table.

    Attributes:
        path: of the file, None where its bytes were given.
        form: `"float32"`, `"float16"`, `"dynamic"`, `"int8"` or `"int16x8"`.
        bytes, gzip_bytes: as it is, and compressed.
        weights, zeros: of all kernels, counts.
        advice: by topic, in a fixed order; several on a topic with several obstacles.
    """

    path: str | None
    form: str
    bytes: int
    gzip_bytes: int
    weights: int
    zeros: int
    advice: tuple[Advice, ...]

    def on(self, topic: str) -> tuple[Advice, ...]:
        """Returns the advice on one topic; empty if the target excludes the topic."""
        return tuple(each for each in self.advice if each.topic == topic)

    def to_dict(self) -> dict[str, Any]:
        """Returns plain types for JSON."""
        return {**dataclasses.asdict(self), "advice": [dataclasses.asdict(each) for each in self.advice]}

    def tables(self, view: View = COMPACT) -> tuple[Table, ...]:
        share = f"{self.zeros / self.weights:.0%}" if self.weights else "none"
        table = ResultTable(
            f"{self.form}, {self.bytes:,} bytes ({self.gzip_bytes:,} with gzip), {share} of {self.weights:,} "
            "weights are zero",
            show_lines=True,
        )
        table.add_column("", max_width=15)
        table.add_column("pruning", max_width=8)
        table.add_column("because", overflow="fold")
        table.add_column("what to do", overflow="fold")
        last = ""
        for each in self.advice:
            topic = "" if each.topic == last else each.topic
            last = each.topic
            reason = Text(visible(view.words(each.reason)))
            if each.where:
                reason.append(f"\n{visible(each.where)}", "dim")
            table.add_row(topic, Text(each.verdict, _COLOURS[each.verdict]), reason, view.words(each.remedy))
        table.explain(self.path or "")
        return (table,)


@renamed_arguments(content="file")
def advise(
    file: bytes | str | os.PathLike[str],
    dense: bytes | str | os.PathLike[str] | None = None,
    target: Target | None = None,
    channels_removed: bool | None = None,
) -> FileAdvice:
    """Tells where zeros and removed channels help a TFLite file on a device, where they do not, and what to do instead.

    The file is read, not run: the rules come from measurements of similar files. Measure with `measure_files`, or run
    it with `run_micro`, before you rely on a time.

    Args:
        file: the bytes of the file, or its path.
        dense: the same for the model before it was pruned, in the same form; tells removed channels from zeroed ones.
            Without it, what only removed channels help with is `"unknown"`.
        target: the device; None covers all of them.
        channels_removed: without `dense`, whether the file's model lost channels, where that is known.

    Returns:
        One `Advice` or more for each topic that matters for the target. For all of them `"channels"`; for phones and
        desktops `"download size"`, `"size at rest"`, `"speed of dense layers"` and `"memory"`, `"speed on a phone"` or
        `"speed on x86"`; for microcontrollers `"microcontroller flash"`, `"microcontroller RAM"` and `"NPU"`.

    Raises:
        TypeError: `file` or `dense` is neither bytes nor a path.
        ValueError: not a TFLite file, or an unknown target.
        OSError: the file cannot be read.

    Example:
        >>> import tensorflow as tf, tf_keras as keras
        >>> net = keras.Sequential([keras.layers.Dense(64, input_shape=(64,))])
        >>> content = tf.lite.TFLiteConverter.from_keras_model(net).convert()
        >>> [each.verdict for each in advise(content).on("download size")]
        ['does not help']
    """
    if target is not None and target not in TARGETS:
        raise ValueError(f"target must be one of {', '.join(map(repr, TARGETS))} or None. Received: target={target!r}")
    content = read_bytes_or_path(file)
    facts = read_facts(content)
    before = None if dense is None else read_facts(read_bytes_or_path(dense, "dense"))
    case = Case(content, facts, before, channels_removed)
    advice = tuple(each for say, wanted in TOPICS if target is None or target in wanted for each in say(case))
    path = os.fspath(file) if isinstance(file, str | os.PathLike) else None
    return FileAdvice(path, facts.form, facts.bytes, facts.gzip_bytes, facts.weights, facts.zeros, advice)
