"""Schedules of Selective Weight Decay: target and strength by step."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Self

import numpy as np
import tensorflow as tf

from tfmot_swd.keras2.compat import PruningSchedule, keras
from tfmot_swd.keras2.validation import whole_number
from tfmot_swd.pruning.schedules import check_not_in_tfmots_wrapper

PENALTIES = ("auto", "coupled", "implicit", "forward")
TARGETS = ("kernels", "all")

# The published schedule of a(t).
PAPER_A_MIN = 0.1
PAPER_A_MAX = 1e5


class _Ending(PruningSchedule):
    """Declares `end_step`, the second argument of subclasses of `DecaySchedule`, after the target."""

    end_step: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class DecaySchedule(_Ending):
    """Base of the schedules: begin, end and strength of a selective decay; a subclass adds its target.

    At step k of K = end_step - begin_step, with t = k/K, the strength is a(t) = a_min · (a_max / a_min)^t, and the
    distance to the target is (1 - t/ramp)^power of the whole for t < ramp, then 0.

    `end_step` is 0 where `epochs` is given and no training has set the number of updates in an epoch yet.
    """

    epochs: int | None = None
    begin_step: int = 0
    ramp: float = 2.0 / 3.0
    power: float = 3.0
    mu: float | None = None
    a_min: float | None = None
    a_max: float | None = None
    shrink_min: float = 0.001
    shrink_max: float = 1e4
    penalty: str = "implicit"
    frequency: int = 1

    def __post_init__(self) -> None:
        _check_number("ramp", self.ramp, 0.0, 1.0)
        _check_number("power", self.power, 1.0, math.inf)
        self._set_count("begin_step", 0)
        self._set_count("frequency", 1)
        if self.epochs is not None:
            self._set_count("epochs", 1, "epochs")
        self._set_end()
        if self.has_end and self.begin_step >= self.end_step:
            raise ValueError(
                f"begin_step must be before end_step. Received: begin_step={self.begin_step}, end_step={self.end_step}"
            )
        if self.mu is not None and not (isinstance(self.mu, int | float) and 0 < self.mu < math.inf):
            raise ValueError(
                "mu must be positive: at zero nothing would be decayed, and the final pruning step would remove "
                "weights at full size. Give the weight decay to multiply (5e-4 in the "
                f"paper), or None for the model's own. Received: mu={self.mu}"
            )
        if (self.a_min is None) != (self.a_max is None):
            raise ValueError(
                "Give a_min and a_max both, or neither for the automatic strength. "
                f"Received: a_min={self.a_min}, a_max={self.a_max}"
            )
        for name in ("a_min", "a_max", "shrink_min", "shrink_max"):
            value = getattr(self, name)
            if value is not None and not (isinstance(value, int | float) and 0 < value < math.inf):
                raise ValueError(f"{name} must be positive and finite. Received: {name}={value}")
        if self.penalty not in PENALTIES:
            raise ValueError(f"penalty must be one of {PENALTIES}. Received: {self.penalty!r}")

    def _set_count(self, name: str, least: int, unit: str = "optimizer updates") -> None:
        # np.ceil(samples / batch) and dataset.cardinality(): a count is an int in the config and in graph.
        object.__setattr__(self, name, whole_number(name, getattr(self, name), least, unit))

    def _set_end(self) -> None:
        self._set_count("end_step", 0)
        if (self.end_step > 0) == (self.epochs is not None):
            raise ValueError(
                "Give the end of the schedule once: end_step=epochs * steps_per_epoch, the optimizer update after "
                "which the final pruning step is made (at least 1), or epochs=10, for which fit knows the steps. "
                f"Received: end_step={self.end_step}, epochs={self.epochs}"
            )

    @property
    def has_end(self) -> bool:
        """Whether the number of updates until the end is known."""
        return self.end_step > 0

    @property
    def length(self) -> str:
        """The length in words, as "300 updates"."""
        return f"{self.end_step} updates" if self.has_end else f"the updates of {self.epochs} epochs"

    def with_steps(self, steps_per_epoch: int) -> Self:
        """Returns the schedule with `epochs` replaced by `end_step`; itself where it has an end."""
        if self.epochs is None:
            return self
        changes: dict[str, Any] = {"end_step": self.epochs * steps_per_epoch, "epochs": None}
        return dataclasses.replace(self, **changes)

    def is_due(self, step: tf.Tensor) -> tf.Tensor:
        """Returns whether the targets are computed again at `step`, a bool scalar."""
        self._check_has_end()
        step = tf.cast(step, tf.int64)
        since = step - self.begin_step
        return (since >= 0) & (step <= self.end_step) & (since % self.frequency == 0)

    def progress(self, step: tf.Tensor | int) -> tf.Tensor:
        """Returns t in [0, 1], float64: 0 up to `begin_step`, 1 from `end_step` on."""
        self._check_has_end()
        since = tf.cast(step, tf.float64) - float(self.begin_step)
        return tf.clip_by_value(since / float(self.end_step - self.begin_step), 0.0, 1.0)

    def way_left(self, step: tf.Tensor | int) -> tf.Tensor:
        """Returns the remaining share of the way to the final target at `step`, float64: from 1 to exactly 0."""
        if self.ramp == 0.0:
            return tf.zeros([], tf.float64)
        return tf.maximum(1.0 - self.progress(step) / self.ramp, 0.0) ** self.power

    def a(self, step: tf.Tensor | int) -> tf.Tensor:
        """Returns a(t), float32; with automatic strength that of the paper, which a coupled penalty uses."""
        first, last = self.a_min or PAPER_A_MIN, self.a_max or PAPER_A_MAX
        return _exponential(first, last, self.progress(step))

    def shrink(self, step: tf.Tensor | int) -> tf.Tensor:
        """Returns the automatic X(t), float32; a targeted weight is divided by 1 + X."""
        return _exponential(self.shrink_min, self.shrink_max, self.progress(step))

    def _check_has_end(self) -> None:
        if not self.has_end:
            raise ValueError(
                "This schedule is given in epochs, and the number of updates in an epoch is not known before a fit: "
                "use schedule.with_steps(steps_per_epoch), or give end_step. "
                f"Received: epochs={self.epochs}"
            )

    @property
    def is_forward(self) -> bool:
        """Whether the decay acts in the forward pass alone."""
        return self.penalty == "forward"

    @property
    def is_automatic(self) -> bool:
        """Whether the strength is automatic, without `a_min` and `a_max`."""
        return self.a_min is None


@keras.utils.register_keras_serializable("tfmot_swd")
@dataclasses.dataclass(frozen=True)
class SelectiveDecay(DecaySchedule):
    """Schedule of Selective Weight Decay: the share of the weights that is decayed, and the strength.

    At step k of K = end_step - begin_step, with t = k/K:

        target sparsity  s(t) = final - (final - initial) · (1 - t/ramp)^power  for t < ramp, then final
        strength         a(t) = a_min · (a_max / a_min)^t

    A weight is targeted at a step when its magnitude is below the s(t)-quantile of all prunable weights
    of the model. Coupled, the loss gains mu · a / 2 · sum w² over the targeted weights. Implicit, each
    targeted weight is divided by 1 + X after an update, with X = lr · mu · a / (1 - momentum), or, when
    no `a` is given, X(t) = shrink_min · (shrink_max / shrink_min)^t whatever the learning rate. Forward, a
    dense copy θ of the weights takes the updates and the layers compute with sign(θ) · (|θ|^p - T^p)^(1/p) above
    the threshold T and 0 below it, so that a targeted weight is remembered and may come back.
    At `end_step`, the final pruning step, the targeted weights become zero and stay so.

    The defaults are a variant of the published method for short runs: the target climbs, the decay is implicit, and
    its strength is not tied to the weight decay. They were chosen in runs of 4 to 10 epochs; longer ones are untested.
    `SelectiveDecay.paper` is the method as published, for runs of hundreds of epochs.

    Source: Tessier et al., "Rethinking Weight Decay For Efficient Neural Network Pruning",
    arXiv 2011.10520; the ramp is the shape of TFMOT's `PolynomialDecay` (arXiv 1710.01878).

    Args:
      final_sparsity: share of the prunable weights that is zero in the end, in [0, 1).
      end_step: optimizer update after which the final pruning step is made, counted from wrapping on.
      epochs: in place of `end_step`, which becomes this number times the batches of an epoch when the first fit begins;
        all phases of a training count, by the batches of that fit. Files and clones made later hold the `end_step`.
      begin_step: update at which decay begins.
      initial_sparsity: share targeted at `begin_step`, in [0, final_sparsity].
      ramp: share of the run over which the target climbs, in [0, 1]; 0 keeps it at the final value.
      power: exponent of the climb, at least 1.
      mu: the weight decay that `a` multiplies; None takes the model's own (an L2 regularizer counts
        twice its factor, its gradient being 2·l2·w, else the optimizer's `weight_decay`).
      a_min, a_max: strength at begin and end, both or neither; equal values give a constant.
      shrink_min, shrink_max: X at begin and end where no `a` is given: weak enough at first for a weight
        to recover, strong enough at last for the final pruning step to change nothing (docs/results/weights.md).
      penalty: "implicit", "coupled" (in the loss, through momentum), or "auto": coupled for SGD,
        implicit for optimizers that would normalise the penalty away (Adam and relatives). "forward" takes 4 more
        bytes a weight while training, ignores the strength, and has an L2 regularizer act on what the layers use.
      threshold_power: p of the forward form: soft thresholding at 1 (arXiv 2212.01076), with less bias at 3
        (arXiv 2310.02448), hard at infinity.
      targets: "kernels" decays only the prunable weights; "all" applies the threshold to batch-norm
        gamma and beta and to biases too, as the authors' code does.
      frequency: updates between two computations of the threshold; the decay acts at every update. Between two of
        them a weight that falls below the threshold is decayed beside those that were targeted, and late in a run does
        not recover.
      minimum_kept: least number of weights that each kernel keeps, as one global threshold may empty a layer whose
        weights are small, so that the model outputs a constant. A float is a share, in [0, 1], of what the kernel
        would keep if all had the same rate, and at least one weight: at 98 % the default 0.1 keeps two in a thousand
        of each kernel; 1.0 gives all the same rate. An int is a count. 0 sets no floor, as published. The rate of the
        whole model does not change: for each weight that a floor keeps, another one is pruned elsewhere.

    Raises:
      ValueError: an argument is outside its range; `end_step` and `epochs` are both given, or neither.

    >>> schedule = SelectiveDecay(final_sparsity=0.98, end_step=300)
    >>> [round(float(schedule.sparsity(step)), 3) for step in (0, 100, 200, 300)]
    [0.0, 0.857, 0.98, 0.98]
    """

    final_sparsity: float
    end_step: int = 0
    initial_sparsity: float = dataclasses.field(default=0.0, kw_only=True)
    targets: str = dataclasses.field(default="kernels", kw_only=True)
    threshold_power: float = dataclasses.field(default=1.0, kw_only=True)
    minimum_kept: int | float = dataclasses.field(default=0.1, kw_only=True)

    @classmethod
    def paper(
        cls,
        final_sparsity: float,
        end_step: int = 0,
        *,
        epochs: int | None = None,
        mu: float | None = None,
        a_min: float = PAPER_A_MIN,
        a_max: float = PAPER_A_MAX,
        penalty: str = "auto",
        frequency: int = 1,
    ) -> SelectiveDecay:
        """Returns the schedule as published: fixed target, coupled penalty, a from 0.1 to 1e5, all weights, no floor.

        The authors trained for 300 epochs with a learning rate of 0.1 divided by 10 at one and two thirds; in runs of a
        few thousand updates this preset falls to chance at high rates. Two things are the model's and not the
        schedule's: the authors decay all parameters, batch norm and biases too, where Keras decays what has a
        regularizer; and after a drop of the learning rate Keras's momentum, which stores lr · gradient, keeps the old
        rate for about ten updates, where PyTorch's does not.

        >>> SelectiveDecay.paper(0.99, end_step=600).ramp
        0.0
        """
        return cls(
            final_sparsity,
            end_step,
            epochs=epochs,
            initial_sparsity=final_sparsity,
            ramp=0.0,
            mu=mu,
            a_min=a_min,
            a_max=a_max,
            penalty=penalty,
            targets="all",
            frequency=frequency,
            minimum_kept=0,
        )

    def __post_init__(self) -> None:
        _check_number("final_sparsity", self.final_sparsity, 0.0, 1.0, open_end=True)
        _check_number("initial_sparsity", self.initial_sparsity, 0.0, self.final_sparsity)
        if self.targets not in TARGETS:
            raise ValueError(f"targets must be one of {TARGETS}. Received: {self.targets!r}")
        _check_number("threshold_power", self.threshold_power, 1.0, math.inf)
        object.__setattr__(self, "minimum_kept", _checked_floor(self.minimum_kept))
        super().__post_init__()

    def __call__(self, step: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the pair of a TFMOT schedule: whether the threshold is computed at `step`, and the sparsity then.

        Args:
          step: integer scalar.

        Returns:
          (bool scalar, float32 scalar).

        Raises:
          ValueError: TFMOT's own wrapper calls it, which cannot follow this schedule.
        """
        check_not_in_tfmots_wrapper(self, "prune_selective_decay")
        return self.is_due(step), tf.cast(self.sparsity(step), tf.float32)

    def sparsity(self, step: tf.Tensor | int) -> tf.Tensor:
        """Returns the share of the prunable weights targeted at `step`, float64; exactly the final one at the end."""
        final = tf.constant(self.final_sparsity, tf.float64)
        return final - (self.final_sparsity - self.initial_sparsity) * self.way_left(step)

    def get_config(self) -> dict[str, Any]:
        return {"class_name": "tfmot_swd>SelectiveDecay", "config": dataclasses.asdict(self)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> SelectiveDecay:
        return cls(**config)


def _exponential(first: float, last: float, progress: tf.Tensor) -> tf.Tensor:
    return tf.cast(first * (last / first) ** progress, tf.float32)


def _check_number(name: str, value: float, low: float, high: float, *, open_end: bool = False) -> None:
    is_number = isinstance(value, (int, float, np.number)) and not isinstance(value, bool)
    if not is_number or not (low <= value < high if open_end else low <= value <= high):
        bracket = ")" if open_end else "]"
        raise ValueError(f"{name} must be in [{low:g}, {high:g}{bracket}. Received: {name}={value!r}")


def _checked_floor(value: Any) -> int | float:
    if not isinstance(value, bool):
        if isinstance(value, int | np.integer) and value >= 0:
            return int(value)
        if isinstance(value, float | np.floating) and 0.0 <= value <= 1.0:
            return float(value)
    raise ValueError(
        "minimum_kept must be a count of weights of each kernel (an int, 0 or more), or a share of what it would keep "
        f"at the same rate as all (a float in [0, 1]). Received: minimum_kept={value!r}"
    )
