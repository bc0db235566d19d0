"""How much of a network can leave, and whether a smaller model is exact; what tables of networks have in common."""

from __future__ import annotations

import dataclasses
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import tf_keras as keras

from research.exactness import (
    TOLERANCE,
    compare,
    largest_difference,
    masked,
    outputs_of,
    random_images,
    random_plan,
    randomize,
)
from tfmot_swd import prune_now, strip_pruning
from tfmot_swd.channels.dead import remove_dead_channels
from tfmot_swd.channels.groups import ChannelGroups, channel_groups
from tfmot_swd.channels.removal import RemovalPlan
from tfmot_swd.costs.profile import profile
from tfmot_swd.keras2.compat import ConstantSparsity, master_variable
from tfmot_swd.keras2.validation import PruningWarning
from tfmot_swd.layers.record import CONSUME, PRODUCE
from tfmot_swd.magnitude import prune_magnitude
from tfmot_swd.pruning.statistics import reestimate_batch_norm

SEED = 0
# Of the output's scale, in float64: what makes 1e-5 of float32's rounding makes less than 1e-13 there.
TOLERANCE_FLOAT64 = 1e-10
OUTPUT_ONLY = "model output"


# Reasons of the network itself, which no rule could lift; "one channel" that acts on all of another tensor among them.
_OF_THE_NETWORK = (
    *("model output", "model input", "across channels", "over channels", "along the channels"),
    *("one channel acts on all of another tensor", "a constant"),
)


def shares(groups: ChannelGroups) -> tuple[float, float, float]:
    """Returns which share of the channels that layers make, and of all parameters, belongs to removable groups.

    What leaves together or not at all cannot leave, as it is all that its tensors have. The third is the share of the
    channels that the network itself does not keep.
    """
    made: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    staying: dict[int, dict[int, float]] = {}
    classes = groups.trace.classes

    def is_kept(channel: int) -> bool:
        """Returns whether the network itself keeps a channel: what is all that a tensor has, or has such a reason."""
        reasons = classes.reasons(np.array([channel]))
        return not reasons or any(each.endswith(_OF_THE_NETWORK) for each in reasons)

    for cut in groups.trace.cuts:
        stays = classes.is_pinned(cut.ids) | groups.trace.is_all_of_a_tensor(cut.ids)
        staying.setdefault(cut.variable_id, {})[cut.axis] = float(stays.mean())
        if cut.role == PRODUCE:
            # The kernel's: biases are made of the same channels.
            made.setdefault(cut.layer, (stays, cut.ids))
    parameters = leaving = 0.0
    for weight in groups.model.weights:
        variable = master_variable(weight)
        size = np.prod(variable.shape)
        parameters += size
        leaving += size * (1 - np.prod(list(staying.get(id(variable), {}).values())))
    stays, ids = (np.concatenate(each) for each in zip(*made.values(), strict=True))
    kept = stays & np.isin(classes.of(ids), [each for each in np.unique(classes.of(ids[stays])) if is_kept(each)])
    allowed = 1 - float(kept.mean())
    share = 1 - float(stays.mean())
    return share, float(leaving / parameters), share / allowed if allowed else 1.0


def barriers(groups: ChannelGroups) -> list[dict[str, Any]]:
    """Returns the barriers, those of the same kinds of reasons as one."""
    found: dict[tuple[str, ...], dict[str, Any]] = {}
    for barrier in groups.barriers:
        kinds = tuple(sorted({reason.rpartition(": ")[2] for reason in barrier.reasons}))
        row = found.setdefault(kinds, {"reason": "; ".join(kinds), "layers": 0, "channels": 0})
        row["layers"] += 1
        row["channels"] += barrier.channels
    return list(found.values())


def measure(build: Callable[[], keras.Model], *, pixels: bool, zeros: bool = True) -> dict[str, Any]:
    """Returns what the tables tell of a network, in the float type of Keras.

    Args:
        build: returns the network, whose weights are the initial ones.
        pixels: whether it takes images from 0 to 255 as they are, and not with mean 0 and variance 1.
        zeros: whether to remove filters of zeros and to strip, too, which takes three times as long as all the rest.
    """
    keras.utils.set_random_seed(SEED)
    rng = np.random.default_rng(SEED)
    times = [time.process_time()]
    model = build()
    times.append(time.process_time())
    groups = channel_groups(model)
    plan = random_plan(model, rng, groups)
    times.append(time.process_time())
    channels, parameters, of_allowed = shares(groups)
    before = _counts(model)
    found = {
        "input": list(model.input_shape[1:]),
        "layers": len(groups.trace.records),
        "groups": len(groups),
        "channels": groups.channels,
        "share_of_channels": channels,
        "share_of_parameters": parameters,
        "share_of_allowed": of_allowed,
        **before,
        "barriers": barriers(groups),
        "failures": [str(failure) for failure in groups.trace.failures],
    }
    randomize(model, rng)
    x = _samples(model.input_shape[1:], rng, pixels)
    with masked(model, plan):
        reestimate_batch_norm(model, [x])
    start = time.process_time()
    smaller = plan.apply()
    removal = time.process_time() - start
    exactness = compare(model, plan, smaller, x[:2])
    after = _counts(smaller)
    return {
        **found,
        # Where nothing leaves, the mask has no effect.
        "exact": exactness.exact or (bool(plan.stays.all()) and exactness.difference == 0),
        **dataclasses.asdict(exactness),
        "parameters": [model.count_params(), smaller.count_params()],
        "macs": [before["macs"], after["macs"]],
        **(_after_zeros(model, plan, x[:2]) if zeros else {}),
        "seconds": {"build": times[1] - times[0], "plan": times[2] - times[1], "removal": removal},
    }


def _counts(model: keras.Model) -> dict[str, Any]:
    """Returns the MACs, and the layers whose MACs are not known; or why they cannot be counted."""
    try:
        found = profile(model)
    except ValueError as error:
        return {"macs": None, "macs_unknown": [], "macs_error": str(error)[:600]}
    return {"macs": found.macs, "macs_unknown": sorted({row.kind for row in found.rows if not row.macs_known})}


def _samples(shape: tuple[int, ...], rng: np.random.Generator, pixels: bool) -> np.ndarray:
    """Returns images, or sequences of a few waves and noise, as many as statistics need.

    Statistics of a few values would make the network chaotic, and most networks end in maps of 1/32 of the size.
    """
    if len(shape) == 3:
        height, width = (max(1, size // 32) for size in shape[:2])
        images = random_images(shape, rng, count=max(2, -(-32 // (height * width))))
        return images if pixels else (images - 128) / 64
    steps, features = shape
    time_steps = np.arange(steps)[None, :, None] * rng.uniform(0.05, 0.5, (8, 1, features))
    return (np.sin(time_steps) + rng.normal(size=(8, steps, features)) / 2).astype(np.float32)


def _after_zeros(model: keras.Model, plan: RemovalPlan, x: np.ndarray) -> dict[str, Any]:
    """Returns how predictions change in the removal of filters of zeros and in `strip_pruning`, or why these fail."""
    found: dict[str, Any] = {}
    with _zeroed(model, plan):
        for name, step in (("dead", _dead_removal), ("strip", _stripping)):
            try:
                whole, smaller, expected = step(model, x)
                found[name] = {
                    "difference": largest_difference(expected, outputs_of(smaller, x)),
                    "parameters": [whole.count_params(), smaller.count_params()],
                }
            except Exception as error:
                place = traceback.extract_tb(error.__traceback__)[-1]
                found[name] = {"error": f"{type(error).__name__}: {error} at {place.filename}:{place.lineno}"[:600]}
    return found


def _dead_removal(model: keras.Model, x: np.ndarray) -> tuple[keras.Model, keras.Model, list[np.ndarray]]:
    return model, remove_dead_channels(model), outputs_of(model, x)


def _stripping(model: keras.Model, x: np.ndarray) -> tuple[keras.Model, keras.Model, list[np.ndarray]]:
    # Not SWD, whose threshold for the whole model takes longer than all else here.
    wrapped = prune_magnitude(model, ConstantSparsity(0.5, 0, frequency=1))
    prune_now(wrapped)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        smaller = strip_pruning(wrapped)
    for warning in caught:
        # That channels were kept, as their removal failed.
        if issubclass(warning.category, PruningWarning):
            raise RuntimeError(str(warning.message))
    return model, smaller, outputs_of(wrapped, x)


@contextmanager
def _zeroed(model: keras.Model, plan: RemovalPlan) -> Iterator[None]:
    """Holds at zero what makes and what acts on the channels that leave, so that they are dead."""
    variables = {id(master_variable(each)): master_variable(each) for each in model.weights}
    originals: dict[int, np.ndarray] = {}
    for cut in plan.groups.trace.cuts:
        gone = ~plan.stays[cut.ids]
        # Not a variance: what divides by zero.
        if cut.role == CONSUME or not gone.any() or "variance" in cut.weight:
            continue
        variable = variables[cut.variable_id]
        value = variable.numpy()
        originals.setdefault(cut.variable_id, value)
        value = value.copy()
        np.moveaxis(value, cut.axis, 0)[gone] = 0
        variable.assign(value)
    try:
        yield
    finally:
        for identity, value in originals.items():
            variables[identity].assign(value)


def rounds_well(result: Mapping[str, Any], tolerance: float) -> bool:
    """Whether the predictions after dead removal and stripping are those before, or they failed anyway."""
    steps = [result[step] for step in ("dead", "strip") if step in result]
    return all("error" in step or step["difference"] <= tolerance for step in steps)


def measure_exactly(measure_once: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Returns what is measured in float32, with the differences in float64 where that leaves open what is exact."""
    found = measure_once()
    if found["exact"] and rounds_well(found, TOLERANCE):
        return found
    keras.backend.clear_session()
    keras.backend.set_floatx("float64")
    try:
        again = measure_once()
    except Exception as error:
        # A network that says float32 somewhere.
        return {**found, "float64_error": f"{type(error).__name__}: {error}"[:600]}
    finally:
        keras.backend.set_floatx("float32")
    if not found["exact"]:
        found["difference_float64"] = again["difference"]
        found["exact"] = again["exact"] and again["difference"] <= TOLERANCE_FLOAT64
    for step in ("dead", "strip"):
        if "difference" in again.get(step, {}) and "difference" in found.get(step, {}):
            found[step]["difference_float64"] = again[step]["difference"]
    return found


def keeps_predictions(step: Mapping[str, Any] | None) -> bool:
    """Whether dead removal or stripping left the predictions as they were, to rounding."""
    if step is None or "error" in step:
        return False
    difference = step["difference"]
    if difference is not None and difference <= TOLERANCE:
        return True
    return step.get("difference_float64", float("inf")) <= TOLERANCE_FLOAT64


def verdict_of(step: Mapping[str, Any] | None) -> str:
    """Returns what a table says of dead removal or stripping."""
    if step is None:
        return ""
    if "error" in step:
        return "raised"
    return "yes" if keeps_predictions(step) else f"NO: {difference_text(step)}"


def difference_text(result: Mapping[str, Any]) -> str:
    """Returns the difference as a share of the scale, and that of float64 where it was needed."""
    found = [result["difference"], result.get("difference_float64", 0.0)]
    texts = ["not finite" if each is None else f"{each:.0e}" for each in found]
    return f"{texts[0]}; {texts[1]} in float64" if "difference_float64" in result else texts[0]


def stays_text(result: Mapping[str, Any]) -> str:
    """Returns why channels stay, the reason of most channels first."""
    rows = sorted(result["barriers"], key=lambda row: -row["channels"])
    stays = [f"{row['channels']:,} of {row['layers']} layers: {row['reason']}" for row in rows]
    return "; ".join(text for text, row in zip(stays, rows, strict=True) if row["reason"] != OUTPUT_ONLY)
