"""Is a smaller model exact, and how much can leave: networks as packages on PyPI build them.

    python -m research.published_networks --code=before   # all, within an hour on one core
    python -m research.published_networks --published_report        # the table of what is there

What is done to each is what `research.applications_coverage` does to networks of Keras. The packages are installed in a
directory of their own (`--packages`), and get tf_keras for their Keras (`research.published_packages`). Each line of
`research/results/published_networks.jsonl` is one network with one state of our code, which `--code` names, so that
shares before and after a change stand side by side. Resumable. A network that its package cannot build on this
TensorFlow is not counted; one that raises afterwards is. On processors where TensorFlow takes oneDNN's softmax, which
has five dimensions at most, HaloNet and VOLO run with TF_ENABLE_ONEDNN_OPTS=0 alone.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf
import tf_keras as keras
from absl import app, flags
from rich.console import Console

from research import by_network, child
from research.coverage import (
    SEED,
    TOLERANCE_FLOAT64,
    difference_text,
    keeps_predictions,
    measure,
    measure_exactly,
    stays_text,
    verdict_of,
)
from research.exactness import SHARE, TOLERANCE
from research.journal import Journal
from research.published_list import NETWORKS
from research.published_packages import DIRECTORY, VERSIONS, Network, add_to_path, install
from research.tables import ResultTable, write_markdown

RESULTS = Path(__file__).parent / "results"
SECONDS = 900
# By the clock, on a machine that others use.
_PATIENCE_SECONDS = 3 * SECONDS

MODELS = flags.DEFINE_list("networks", None, "which networks, as package:name; all by default")
REPORT = flags.DEFINE_bool("published_report", False, "only make the table of what is there")
ZEROS = flags.DEFINE_bool(
    "zeros", True, "remove filters of zeros and strip, too; without, it takes a third of the time"
)
CODE = flags.DEFINE_string("code", "after", "name of the state of our code, for the table")
PACKAGES = flags.DEFINE_string("packages", str(DIRECTORY), "directory in which the packages are installed")


def key_of(name: str, code: str) -> dict[str, Any]:
    """Returns the key of a network's line in the journal."""
    network = NETWORKS[name]
    return {
        "package": network.package,
        "version": VERSIONS[network.package],
        "network": network.title,
        "input": list(network.shape),
        "share": SHARE,
        "seed": SEED,
        "code": code,
    }


class NotBuiltError(Exception):
    """A package cannot build its network on this TensorFlow."""


def build(network: Network) -> keras.Model:
    """Returns the network as its package builds it.

    Raises:
        NotBuiltError: what went wrong there.
    """
    try:
        return network.build()
    except Exception as error:
        raise NotBuiltError(_told(error)) from error


def measured(network: Network, zeros: bool = True) -> dict[str, Any]:
    """Returns what the journal keeps of a network, also why it failed; `zeros` as for `measure`."""
    failed = {"exact": False, "difference": None}
    try:
        return measure_exactly(lambda: measure(lambda: build(network), pixels=False, zeros=zeros))
    except NotBuiltError as error:
        return {**failed, "not_built": str(error)}
    except Exception as error:
        return {**failed, "raised": _told(error)}


def _told(error: Exception) -> str:
    place = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {str(error)[:1000]} at {place.filename}:{place.lineno}"


def measure_apart(name: str) -> dict[str, Any]:
    """Returns what `measured` does, from a process of its own, or how that ended."""
    try:
        return child.measure_forked(lambda: _measured_on_one_core(NETWORKS[name]), _PATIENCE_SECONDS)
    except RuntimeError as error:
        return {"exact": False, "difference": None, "raised": str(error)[-1000:]}


def _measured_on_one_core(network: Network) -> dict[str, Any]:
    resource.setrlimit(resource.RLIMIT_CPU, (_cpu_seconds() + SECONDS, _cpu_seconds() + SECONDS + 60))
    signal.signal(signal.SIGXCPU, _out_of_time)
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    add_to_path(Path(PACKAGES.value))
    return measured(network, ZEROS.value)


def _cpu_seconds() -> int:
    return int(time.process_time())


def _out_of_time(*_: Any) -> None:
    raise TimeoutError(f"more than {SECONDS} CPU seconds")


HEADING = (
    *("network", "input", "layers", "exact", "difference", "dead removal", "strip", "channels that can leave"),
    *("parameters that can leave", "plan, s", "what stays"),
)
WORDS = ("network", "channels that can leave", "parameters that can leave", "what stays")


def tables_of(records: Sequence[Mapping[str, Any]]) -> list[ResultTable]:
    """Returns a table for each package, and one of what could not be built."""
    codes = list(dict.fromkeys(record["key"]["code"] for record in records))
    tables = []
    for package in dict.fromkeys(record["key"]["package"] for record in records):
        by_network: dict[tuple[str, str], dict[str, Mapping[str, Any]]] = {}
        for record in records:
            key = record["key"]
            if key["package"] == package and "not_built" not in record["result"]:
                place = (key["network"], "x".join(map(str, key["input"])))
                by_network.setdefault(place, {})[key["code"]] = record["result"]
        rows = tuple(_row(*place, found, codes) for place, found in by_network.items())
        version = next(record["key"]["version"] for record in records if record["key"]["package"] == package)
        if rows:
            tables.append(ResultTable(f"{package} {version}", HEADING, rows, left=WORDS))
    missing = {
        (record["key"]["package"], record["key"]["network"], record["result"]["not_built"].replace("|", "\\|"))
        for record in records
        if "not_built" in record["result"]
    }
    if missing:
        heading = ("package", "network", "why")
        rows = tuple((package, name, " ".join(why.split())[:200]) for package, name, why in sorted(missing))
        tables.append(ResultTable("Not built by their packages on this TensorFlow, not counted", heading, rows))
    return tables


def _row(name: str, shape: str, found: Mapping[str, Mapping[str, Any]], codes: Sequence[str]) -> tuple[str, ...]:
    """Returns the row of a network: shares of every state of the code, the rest of the last."""
    last = next(found[code] for code in reversed(codes) if code in found)
    shares = [_shares(found, codes, entry) for entry in ("share_of_channels", "share_of_parameters")]
    if "raised" in last:
        why = " ".join(last["raised"].split()).replace("|", "\\|")[:300]
        return (name, shape, "", "RAISED", "", "", "", *shares, "", why)
    return (
        name,
        shape,
        str(last["layers"]),
        "yes" if last["exact"] else "NO",
        difference_text(last),
        verdict_of(last.get("dead")),
        verdict_of(last.get("strip")),
        *shares,
        f"{last['seconds']['plan']:.2f}",
        stays_text(last) or "the outputs",
    )


def _shares(found: Mapping[str, Mapping[str, Any]], codes: Sequence[str], entry: str) -> str:
    return " → ".join(f"{found[code][entry]:.1%}" if entry in found.get(code, {}) else "-" for code in codes)


def summary(records: Sequence[Mapping[str, Any]]) -> str:
    """Returns a sentence for every state of the code."""
    sentences = []
    for code in dict.fromkeys(record["key"]["code"] for record in records):
        those = [record for record in records if record["key"]["code"] == code]
        built = [record for record in those if "not_built" not in record["result"]]
        results = [record["result"] for record in built]
        done = [result for result in results if "raised" not in result]
        packages = len({record["key"]["package"] for record in built})
        zeroed = [result for result in done if "dead" in result]
        shares = sorted(result["share_of_channels"] for result in done)
        sentences.append(
            f"{code}: {sum(result['exact'] for result in results)} of {len(results)} networks of {packages} packages "
            f"exact, {len(results) - len(done)} raised; predictions kept by dead removal in "
            f"{sum(keeps_predictions(result['dead']) for result in zeroed)}, by strip_pruning in "
            f"{sum(keeps_predictions(result['strip']) for result in zeroed)} of {len(zeroed)}; of channels can leave "
            f"{sum(shares) / max(len(shares), 1):.1%} on average, {shares[len(shares) // 2] if shares else 0:.1%} in "
            f"the median{_of_allowed(done)}; "
            f"slowest plan {max((result['seconds']['plan'] for result in done), default=0):.2f} s"
        )
    return ". ".join([*sentences, *_beside(records)])


def _of_allowed(results: Sequence[Mapping[str, Any]]) -> str:
    """Returns which share that is of what the networks themselves allow; "" unless it was measured on all of them."""
    found = [result["share_of_allowed"] for result in results if "share_of_allowed" in result]
    most = sum(each >= 0.9 for each in found)
    mean = f", {sum(found) / max(len(found), 1):.1%} on average of what the networks themselves allow"
    return f"{mean}, at least 90% of it in {most} of {len(found)}" if len(found) == len(results) > 0 else ""


def _beside(records: Sequence[Mapping[str, Any]]) -> list[str]:
    """Returns a sentence about the networks measured with every state of the code; none where there is one state."""
    shares: dict[str, dict[tuple[str, str], float]] = {}
    for record in records:
        key = record["key"]
        if "share_of_channels" in record["result"]:
            shares.setdefault(key["code"], {})[key["package"], key["network"]] = record["result"]["share_of_channels"]
    common = set.intersection(*map(set, shares.values())) if len(shares) > 1 else set()
    means = [
        f"{sum(found[each] for each in common) / len(common):.1%} {code}" for code, found in shares.items() if common
    ]
    return [f"Of the {len(common)} networks measured with each: {', '.join(means)}"] if means else []


def packages_table(records: Sequence[Mapping[str, Any]]) -> ResultTable:
    """Returns the summary with a row for each package and state of the code."""
    heading = ("package", "code", "networks", "exact", "raised", "channels that can leave", "parameters that can leave")
    groups: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for record in records:
        if "not_built" not in record["result"]:
            groups.setdefault((record["key"]["package"], record["key"]["code"]), []).append(record["result"])
    rows = []
    for (package, code), results in sorted(groups.items(), key=lambda item: item[0][0]):
        done = [result for result in results if "raised" not in result]
        means = [
            f"{sum(result[entry] for result in done) / len(done):.1%}" if done else "-"
            for entry in ("share_of_channels", "share_of_parameters")
        ]
        exact = sum(result["exact"] for result in results)
        rows.append((package, code, str(len(results)), str(exact), str(len(results) - len(done)), *means))
    return ResultTable(summary(records), heading, tuple(rows), heading[:2], (note(),))


def reasons_table(records: Sequence[Mapping[str, Any]]) -> ResultTable:
    """Returns the reasons of barriers of the last state of the code, that of most channels first."""
    last = records[-1]["key"]["code"]
    found: dict[str, list[int]] = {}
    for record in records:
        if record["key"]["code"] == last:
            for row in record["result"].get("barriers", ()):
                counts = found.setdefault(row["reason"].replace("|", "\\|"), [0, 0, 0])
                for place, count in enumerate((1, row["layers"], row["channels"])):
                    counts[place] += count
    rows = sorted(found.items(), key=lambda item: -item[1][2])
    texts = tuple((reason, *(f"{count:,}" for count in counts)) for reason, counts in rows)
    return ResultTable(f"Why channels stay ({last})", ("reason", "networks", "layers", "channels"), texts, ("reason",))


def note() -> str:
    """Returns what the columns are."""
    return (
        "Random weights and statistics; half of the channels of each group, at random, leave. Exact: the smaller "
        "network computes what the whole one does with every weight zero that reads a channel that left, to "
        f"{TOLERANCE:.0e} of the output's scale in float32 or {TOLERANCE_FLOAT64:.0e} in float64. Dead removal: with "
        "what makes those channels zeroed, `remove_dead_channels` keeps the predictions; strip: so does "
        "`strip_pruning` after half of the weights left by magnitude. Seconds of one CPU core."
    )


def main(_: list[str]) -> None:
    if os.environ.get("TF_USE_LEGACY_KERAS") != "1":
        # Only before its import can TensorFlow be told to give tf_keras for `tensorflow.keras`.
        command = [sys.executable, "-m", "research.published_networks", *sys.argv[1:]]
        os.execve(sys.executable, command, os.environ | {"TF_USE_LEGACY_KERAS": "1"})
    journal = Journal(RESULTS / "published_networks.jsonl")
    console = Console(width=200)
    if not REPORT.value:
        install(Path(PACKAGES.value))
        by_network.measure_all(
            journal,
            MODELS.value or list(NETWORKS),
            lambda name: key_of(name, CODE.value),
            measure_apart,
            "difference",
            console,
        )
    records = journal.records()
    if records:
        head = packages_table(records)
        tables = [head, reasons_table(records), *tables_of(records)]
        written = write_markdown(RESULTS / "published_networks.md", tables)
        console.print(f"{head.title}\nWritten: {written.name}", markup=False)


if __name__ == "__main__":
    app.run(main)
