"""Strength of the decay under a given optimizer, and its forecast over a run."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfmot_swd.keras2 import optimizers
from tfmot_swd.keras2.graph import layers_inside
from tfmot_swd.swd.schedules import SelectiveDecay

# exp(-30) is about 1e-13: the rest of a weight is below the rounding error of what it is added to.
NEGLIGIBLE_LOG_SHRINK = 30.0
# A weight decayed by this factor in its last step keeps a thousandth of the update just made.
NEGLIGIBLE_LAST_SHRINK = 1e3


@dataclasses.dataclass(frozen=True)
class DecayStrength:
    """Penalty form, mu and strength of a schedule under one optimizer.

    Args:
      schedule: a `SelectiveDecay` or `StructuredDecay`.
      optimizer: a tf_keras optimizer.
      coupled: whether the penalty is part of the loss.
      mu: the weight decay that a(t) multiplies; 0 where the automatic strength does not need it.
    """

    schedule: SelectiveDecay
    optimizer: Any
    coupled: bool
    mu: float

    @classmethod
    def of(cls, schedule: SelectiveDecay, optimizer: Any, layers: Sequence[Any] = ()) -> DecayStrength:
        """Resolves the penalty form by the optimizer and mu by the model, where the schedule leaves them open.

        Raises:
          ValueError: the strength multiplies a weight decay and there is none.
        """
        coupled = schedule.penalty == "coupled" or (schedule.penalty == "auto" and optimizers.is_linear(optimizer))
        needs_mu = not schedule.is_forward and (coupled or not schedule.is_automatic)
        mu = schedule.mu
        if mu is None:
            mu = _own_weight_decay(optimizer, layers) if needs_mu else 0.0
        if needs_mu and mu == 0.0:
            raise ValueError(
                "Selective Weight Decay multiplies a weight decay mu, and this model has none: pass "
                "mu=5e-4 to the schedule, give the layers keras.regularizers.L2(mu / 2), or the "
                "optimizer a weight_decay. Received: mu=None, no L2 regularizer, no weight_decay."
            )
        return cls(schedule, optimizer, coupled, mu)

    def shrink(self, step: tf.Tensor) -> tf.Tensor:
        """Returns X of the implicit form, float32: a targeted weight becomes w / (1 + X) at `step`."""
        if self.schedule.is_automatic:
            return self.schedule.shrink(step)
        rate = optimizers.learning_rate(self.optimizer)
        return self.schedule.a(step) * rate * (self.mu * self._gain())

    def forecast(self, learning_rate: Callable[[int], float] | None = None) -> RunForecast:
        """Returns the effect of the whole run on a weight that is targeted from begin to end.

        Args:
          learning_rate: step → learning rate, where a callback decides it; by default the optimizer's own.
        """
        if self.schedule.is_forward:
            return RunForecast(math.inf, 0.0, math.inf, math.inf)
        # The implicit form decays once more after the last update, with the strength of the end.
        end = self.schedule.end_step + (0 if self.coupled else 1)
        steps = np.arange(self.schedule.begin_step, end)
        if learning_rate is None:
            rates = optimizers.learning_rates(self.optimizer, steps)
        else:
            rates = np.array([learning_rate(int(step)) for step in steps])
        if self.coupled:
            decay = rates * self.mu * (1.0 + self.schedule.a(steps).numpy().astype(np.float64))
            momentum, nesterov = optimizers.momentum(self.optimizer), optimizers.is_nesterov(self.optimizer)
            forecast = _coupled_forecast(decay, momentum, nesterov)
            return dataclasses.replace(forecast, cancelled=not optimizers.is_linear(self.optimizer))
        if self.schedule.is_automatic:
            shrink = self.schedule.shrink(steps).numpy().astype(np.float64)
        else:
            shrink = rates * self.mu * self._gain() * self.schedule.a(steps).numpy()
        return RunForecast(float(np.log1p(shrink).sum()), 0.0, math.inf, float(shrink[-1]))

    def _gain(self) -> float:
        """Returns the factor by which heavy-ball momentum strengthens a decay that goes through it."""
        return 1.0 / (1.0 - optimizers.momentum(self.optimizer))


@dataclasses.dataclass(frozen=True)
class RunForecast:
    """Forecast of a run: the decay of a targeted weight without gradient, known before training.

    Args:
      log_shrink: ln(|w at begin| / |w at end|) of a weight without gradient, targeted throughout.
      peak: the largest lr · mu · (1 + a) of the run; 0 for the implicit form.
      limit: where it diverges: 2 · (1 + m), with Nesterov's momentum 2 · (1 + m) / (1 + 2m); infinite for
        the implicit form.
      last_shrink: X of the last implicit step; infinite for the coupled form, which has none.
      cancelled: whether the optimizer normalises or clips the penalty away.
    """

    log_shrink: float
    peak: float
    limit: float
    last_shrink: float
    cancelled: bool = False

    @property
    def diverges(self) -> bool:
        """Whether a decayed weight grows at some step."""
        return self.peak > self.limit

    @property
    def jumps(self) -> bool:
        """Whether the final pruning step removes weights that are not negligible."""
        return self.log_shrink < NEGLIGIBLE_LOG_SHRINK or self.last_shrink < NEGLIGIBLE_LAST_SHRINK

    def problems(self) -> list[str]:
        """Returns warnings; empty for a sound run."""
        found = []
        if self.cancelled:
            found.append(
                "The coupled penalty will have little effect: this optimizer divides by the size of the gradient, "
                "or clips it, and the penalty with it. Use penalty='implicit' or 'auto'."
            )
        if self.diverges:
            found.append(
                f"Selective Weight Decay will diverge: lr · mu · (1 + a) reaches {self.peak:.3g}, above "
                f"the limit {self.limit:.3g} of this momentum. Lower a_max or the learning rate at the end, "
                "or use penalty='implicit', which cannot diverge."
            )
        if self.jumps and not self.diverges:
            last = "" if math.isinf(self.last_shrink) else f" and by {1 + self.last_shrink:.3g} in the last step"
            found.append(
                "Pruning at end_step will change the outputs: a targeted weight shrinks by a factor of only "
                f"exp({self.log_shrink:.3g}) over the run{last}, where exp({NEGLIGIBLE_LOG_SHRINK:g}) and "
                f"{NEGLIGIBLE_LAST_SHRINK:g} would make it negligible. Train longer, or raise the strength: a_max, or "
                "shrink_max where no a is given."
            )
        return found


def _coupled_forecast(decay: np.ndarray, momentum: float, nesterov: bool = False) -> RunForecast:
    """Returns the forecast of v ← m·v + d·w, w ← w - v on one weight, whose size is kept as a logarithm.

    With Nesterov's momentum the weight moves by m·v + d·w instead.
    """
    peak = float(decay.max())
    limit = 2.0 * (1.0 + momentum) / (1.0 + 2.0 * momentum if nesterov else 1.0)
    weight, velocity, log_size = 1.0, 0.0, 0.0
    for value in decay:
        pull = value * weight
        velocity = momentum * velocity + pull
        weight -= momentum * velocity + pull if nesterov else velocity
        size = math.hypot(weight, velocity)
        if size == 0.0:
            return RunForecast(math.inf, peak, limit, math.inf)
        log_size += math.log(size)
        weight, velocity = weight / size, velocity / size
    return RunForecast(-log_size, peak, limit, math.inf)


def _own_weight_decay(optimizer: Any, layers: Sequence[Any]) -> float:
    factors = set()
    for part in (part for wrapper in layers for part in layers_inside(wrapper.layer)):
        regularizer = getattr(part, "kernel_regularizer", None)
        factor = float(getattr(regularizer, "l2", 0.0) or 0.0)
        if factor:
            factors.add(float(f"{2.0 * factor:.6g}"))
    if len(factors) > 1:
        raise ValueError(
            "The layers have L2 regularizers of different strength, so mu cannot be read off them: "
            f"pass mu to the schedule. Received: weight decays {sorted(factors)}"
        )
    return factors.pop() if factors else optimizers.decoupled_weight_decay(optimizer)
