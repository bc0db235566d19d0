"""Rules of the advice by topic: download, storage, speed, memory, microcontrollers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from tfmot_swd.tflite.advice_case import (
    FAILS,
    GIVE_DENSE,
    HELPS,
    NO_HELP,
    REMOVE,
    UNKNOWN,
    Advice,
    Case,
    sides,
    smaller,
)
from tfmot_swd.tflite.graph import Finding, place
from tfmot_swd.tflite.micro.decode import encode_pruned
from tfmot_swd.tflite.micro.operators import DECODE, is_encoded, micro_problems
from tfmot_swd.tflite.sparse_kernels import block_sparse, dense_kernels, in_blocks, xnnpack_sparse
from tfmot_swd.tflite.sparse_layout import xnnpack_outcome

TARGETS = ("phone", "desktop", "microcontroller")
# Below so many zeros compression is about something else.
_FEW = 0.1
_INTEGERS = ("int8", "int16x8")
_FIX_SIZE = "fix the size of the input before the export"


def _channels(case: Case) -> Iterator[Advice]:
    topic, file = "channels", case.file
    dead = f"{file.zero_channels:,} of {file.channels:,} output channels are zero throughout"
    if case.dense is None:
        if file.zero_channels:
            yield Advice(topic, NO_HELP, f"{dead}, and computed all the same", "strip_pruning removes them")
        elif case.is_smaller:
            reason = f"{dead}; the model lost channels, how much smaller the file is for that is not known"
            yield Advice(topic, HELPS, reason, GIVE_DENSE)
        elif case.is_known:
            yield Advice(topic, NO_HELP, f"{dead}, and the model lost no channels", REMOVE)
        else:
            yield Advice(topic, UNKNOWN, f"{dead}; how many were removed is not known", GIVE_DENSE)
        return
    lost = smaller(case.file, case.dense)
    if lost:
        share = file.weights / max(case.dense.weights, 1)
        reason = f"{len(lost)} kernels lost channels, {share:.0%} of the weights are left: size, memory and time shrink"
        yield Advice(topic, HELPS, reason, "measure it; int8 on a fast CPU gains least", _joined(lost))
    else:
        reason = f"every kernel has the shape it had: weights were only zeroed ({dead})"
        yield Advice(topic, NO_HELP, reason, REMOVE)


def _download(case: Case) -> Iterator[Advice]:
    topic, file = "download size", case.file
    reason = f"{file.sparsity:.0%} zeros, {file.gzip_bytes:,} of {file.bytes:,} bytes with gzip"
    # What is stored sparse is small before it is compressed.
    gains = file.sparsity >= _FEW and (file.is_sparse or file.gzip_bytes < 0.9 * file.bytes)
    if case.dense is not None:
        reason += f"; the dense file {case.dense.gzip_bytes:,}"
        gains = file.gzip_bytes < 0.95 * case.dense.gzip_bytes
    if gains:
        yield Advice(topic, HELPS, reason, "ship it compressed, as app stores and web servers do")
    elif case.dense is None and case.is_smaller:
        yield Advice(topic, HELPS, f"{reason}; channels were removed, which takes their weights off", GIVE_DENSE)
    else:
        yield Advice(topic, NO_HELP, reason, "prune: at 80 % zeros gzip leaves a quarter of float32, a third of int8")


def _at_rest(case: Case) -> Iterator[Advice]:
    topic, file = "size at rest", case.file
    if is_encoded(case.file.graph):
        reason = "kernels are stored as a bit mask and the values left"
        yield Advice(topic, HELPS, reason, "for TFLite Micro alone: elsewhere take the file that was encoded")
        return
    if not file.is_sparse:
        if case.is_smaller:
            reason = f"channels were removed: {file.bytes:,} bytes"
            reason += "" if case.dense is None else f", the dense file {case.dense.bytes:,}"
            yield Advice(topic, HELPS, reason, "nothing")
            return
        reason = "zeros are stored like other weights"
        if file.form == "float32" and file.sparsity >= 0.5:
            yield Advice(topic, NO_HELP, reason, 'export with recipe="sparse_float32", or int8 if it must be small')
        elif file.form == "float16" and file.sparsity >= 0.5:
            yield Advice(
                topic, NO_HELP, reason, 'export with recipe="sparse_float16", which is proven before it counts'
            )
        elif file.form in ("float32", "float16"):
            reason += f", and {file.sparsity:.0%} are too few for the sparse encoding"
            yield Advice(topic, NO_HELP, reason, 'prune to 50 % or more, or export with recipe="int8"')
        else:
            reason += f"; sparse {file.form} files do not load in LiteRT, or compute something else"
            yield Advice(topic, NO_HELP, reason, case.or_removal("keep it gzipped on disk"))
        return
    blocks = [place(file.graph, each) for each, kernel in dense_kernels(file.graph) if kernel.block]
    if file.form == "float16" and blocks:
        reason = "dense layers in blocks of float16 give NaN without an error"
        yield Advice(topic, FAILS, reason, 'export with recipe="sparse_float32"', _joined(blocks))
    elif file.form in ("float32", "float16"):
        stored = sum(kernel.stored_bytes for kernel in file.graph.kernels() if kernel.is_sparse)
        reason = f"weights are stored sparse: {stored:,} bytes and their places, for {file.weights:,} weights"
        remedy = "compare its output with the dense file's: float16 in this encoding is rarely used"
        yield Advice(
            topic, HELPS, reason, remedy if file.form == "float16" else "nothing: it runs in TFLite and LiteRT"
        )
    else:
        reason = f"the sparse encoding of {file.form} files does not load in LiteRT, or computes something else"
        yield Advice(topic, FAILS, reason, f'export with recipe="{file.form}", and compress what is shipped')


def _phone(case: Case) -> Iterator[Advice]:
    topic, file = "speed on a phone", case.file
    if is_encoded(case.file.graph):
        yield Advice(topic, FAILS, f"{DECODE} is known to TFLite Micro only", "take the file that was encoded")
        return
    findings = xnnpack_sparse(file.graph)
    outcome = xnnpack_outcome(file.graph)
    broken = {finding.rule for finding in findings}
    if case.is_smaller:
        yield Advice(topic, HELPS, "channels were removed, and every kernel gains from that", "measure it on the phone")
    if file.form in (*_INTEGERS, "dynamic"):
        reason = "kernels with int8 weights multiply zeros too"
        if not broken - {"float", "stored sparse"}:
            remedy = 'recipe="sparse_float32": its graph and its zeros qualify for sparse kernels'
            yield Advice(topic, NO_HELP, reason, case.or_removal(remedy))
        elif not case.is_smaller:
            yield case.zeros_gain_nothing(topic, reason)
        return
    if outcome == "wrong":
        reason = (
            "with XNNPACK's sparse kernels, so on ARM, the file does not load, or computes something else without a "
            "word: a part of the graph runs channels first, and what follows does not know; on x86 nothing shows"
        )
        remedy = 'mend this and what follows, or export with recipe="float32" or "int8"'
        yield Advice(topic, FAILS, reason, remedy, _joined([each.where for each in findings if each.where], 1))
    elif outcome == "sparse" and not findings:
        reason = f"{file.sparsity:.0%} zeros, and the graph keeps all rules of XNNPACK's sparse kernels"
        yield Advice(topic, HELPS, reason, "measure it: 1x1 convolutions were 3.6 times faster at 80 %, 5.4 at 90 %")
    if not case.is_smaller:
        yield from _by_rule(topic, NO_HELP, findings, "XNNPACK's sparse kernels do not fit: ")


def _x86(case: Case) -> Iterator[Advice]:
    topic = "speed on x86"
    if is_encoded(case.file.graph):
        yield Advice(topic, FAILS, f"{DECODE} is known to TFLite Micro only", "take the file that was encoded")
        return
    if case.is_smaller:
        yield Advice(topic, HELPS, "channels were removed, and every kernel gains from that", "measure it")
        return
    reason = "sparse convolutions are off on any x86 with AVX, whatever the file holds"
    yield case.zeros_gain_nothing(topic, reason)


def _dense_layers(case: Case) -> Iterator[Advice]:
    topic, graph = "speed of dense layers", case.file.graph
    if is_encoded(case.file.graph):
        return
    layers = list(dense_kernels(graph))
    ready = [place(graph, each) for each, kernel in layers if in_blocks(kernel)]
    if ready:
        reason = f"{len(ready)} of {len(layers)} run on TFLite's block kernel, on any CPU"
        yield Advice(
            topic,
            HELPS,
            reason,
            "measure it: one sample at a time, wide layers gain most; batches are slower than dense ones",
            _joined(ready),
        )
    if case.is_smaller_in("FULLY_CONNECTED"):
        reason = "channels were removed, and inputs and units of dense layers with them"
        yield Advice(topic, HELPS, reason, "measure it")
    else:
        yield from _by_rule(topic, NO_HELP, block_sparse(graph), "")


def _memory(case: Case) -> Iterator[Advice]:
    topic, file = "memory", case.file
    if case.is_smaller:
        yield Advice(topic, HELPS, "channels were removed: smaller weights, smaller activations", "nothing")
    if file.unpacked_bytes:
        reason = f"weights that are stored sparse are unpacked at load: {file.unpacked_bytes:,} bytes beside the file"
        yield Advice(topic, NO_HELP, reason, case.or_removal("where memory is short, take the dense file"))
    elif not case.is_smaller:
        reason = "a zero takes as much memory as any weight, and activations stay as they are"
        yield case.zeros_gain_nothing(topic, reason)


def _flash(case: Case) -> Iterator[Advice]:
    topic, file = "microcontroller flash", case.file
    problems = micro_problems(file.graph)
    if problems:
        yield from _by_rule(topic, FAILS, problems, "")
        return
    if case.is_smaller:
        yield Advice(topic, HELPS, "channels were removed, and their weights with them", "nothing")
    if is_encoded(case.file.graph):
        encoded = sum(each.name == DECODE for each in file.graph.operators)
        reason = f"{encoded} kernels are stored as a mask and the values left"
        yield Advice(topic, HELPS, reason, "build TFLite Micro of 2025 or later with AddDecode()")
    elif file.form not in _INTEGERS:
        if not case.is_smaller:
            reason = "zeros of float32 are stored like other weights"
            yield Advice(topic, NO_HELP, reason, 'export with recipe="int8"')
    else:
        saved = encode_pruned(case.content)
        if saved.bytes_saved:
            reason = (
                f"{saved.bytes_saved:,} of {file.bytes:,} bytes are saved once {len(saved.tensors)} kernels are stored "
                "as a bit mask and the values left; as the file is, none"
            )
            largest = max(each.plain_bytes for each in saved.tensors)
            remedy = (
                'export with recipe="int8_pruned", bit-exact; firmware of TFLite Micro of 2025 on, with AddDecode(); '
                f"each kernel is restored in RAM for its operator, the largest takes {largest:,} bytes: "
                "max_encoded_weights= of export_tflite leaves large ones as they are"
            )
            tensors = sorted(saved.tensors, key=lambda each: each.encoded_bytes - each.plain_bytes)
            where = [f"{sides(each.shape)}: {each.plain_bytes:,} → {each.encoded_bytes:,} bytes" for each in tensors]
            yield Advice(topic, HELPS, reason, remedy, _joined(where))
        elif not case.is_smaller:
            reason = f"{file.sparsity:.0%} zeros: a bit mask for each weight would cost more than they take"
            yield Advice(topic, NO_HELP, reason, case.or_removal("prune to 50 % or more"))


def _ram(case: Case) -> Iterator[Advice]:
    topic, file = "microcontroller RAM", case.file
    if file.graph.open_inputs:
        reason = "the size of an input is open, and with it that of the activations"
        yield Advice(topic, UNKNOWN, reason, _FIX_SIZE)
        return
    need = f"{file.most_bytes:,} bytes of activations at least"
    if file.decoded_bytes:
        need = f"{file.most_bytes:,} bytes of activations and restored weights at least"
        if not case.is_smaller:
            reason = f"kernels are restored in the arena, the largest takes {file.decoded_bytes:,} bytes: {need}"
            remedy = 'export with recipe="int8_pruned" and max_encoded_weights=..., which leaves large kernels in flash'
            yield Advice(topic, NO_HELP, reason, case.or_removal(remedy), file.most_at)
            return
    if case.dense is not None and case.is_smaller:
        before = case.dense.most_bytes
        verdict = HELPS if file.most_bytes < before else NO_HELP
        reason = f"{need}, {before:,} before channels were removed"
        remedy = "nothing" if verdict == HELPS else "remove channels of what this operator reads and writes"
        yield Advice(topic, verdict, reason, remedy, file.most_at)
    elif case.is_smaller:
        yield Advice(topic, UNKNOWN, f"{need}; how many before channels were removed is not known", GIVE_DENSE)
    else:
        reason = f"zero weights leave activations as large as they were: {need}"
        yield case.zeros_gain_nothing(topic, reason, f"{REMOVE}, here first", file.most_at)


def _npu(case: Case) -> Iterator[Advice]:
    topic, file = "NPU", case.file
    if file.form not in _INTEGERS or is_encoded(case.file.graph):
        yield Advice(topic, NO_HELP, "Ethos-U runs int8 operators only", 'export with recipe="int8"')
        return
    compiling = "tfmot_swd.tflite.micro.estimate_npu(path) compiles it with Vela"
    if case.is_smaller:
        reason = "channels were removed: fewer weights to load, and fewer multiply-accumulates"
        yield Advice(topic, HELPS, reason, compiling)
    if file.sparsity >= _FEW:
        reason = (
            f"{file.sparsity:.0%} zeros, which the compiler of Ethos-U compresses; half as much flash at 50 to 80 %"
        )
        yield Advice(topic, HELPS, reason, compiling)
    elif not case.is_smaller:
        yield Advice(topic, NO_HELP, f"{file.sparsity:.0%} zeros are too few to compress", "prune to 50 % or more")


def _by_rule(topic: str, verdict: str, findings: Iterable[Finding], prefix: str) -> Iterator[Advice]:
    """Yields one piece of advice for each rule, of all findings that break it."""
    groups: dict[str, list[Finding]] = {}
    for finding in findings:
        groups.setdefault(finding.rule, []).append(finding)
    for rule, group in groups.items():
        where = _joined([each.where for each in group if each.where])
        yield Advice(topic, verdict, f"{prefix}{group[0].found} ({rule})", group[0].remedy, where)


def _joined(places: list[str], most: int = 3) -> str:
    more = f", and {len(places) - most} more" if len(places) > most else ""
    return ", ".join(places[:most]) + more


_EVERYWHERE, _LARGE = TARGETS, ("phone", "desktop")
TOPICS: tuple[tuple[Callable[[Case], Iterator[Advice]], tuple[str, ...]], ...] = (
    (_channels, _EVERYWHERE),
    (_download, _LARGE),
    (_at_rest, _LARGE),
    (_phone, ("phone",)),
    (_x86, ("desktop",)),
    (_dense_layers, _LARGE),
    (_memory, _LARGE),
    (_flash, ("microcontroller",)),
    (_ram, ("microcontroller",)),
    (_npu, ("microcontroller",)),
)
