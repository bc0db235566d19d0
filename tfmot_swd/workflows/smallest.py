"""Search for the smallest model whose validation metric stays within a floor."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Callable, Collection
from typing import Any

from rich.console import Console

from tfmot_swd.channels.groups import layer_names
from tfmot_swd.costs.budget import Budget
from tfmot_swd.costs.cost import find_cost
from tfmot_swd.io.tables import COMPACT, print_plain
from tfmot_swd.keras2.compat import keras
from tfmot_swd.keras2.validation import whole_number
from tfmot_swd.pruning.methods import method_named
from tfmot_swd.pruning.sparsity import sparsity_report
from tfmot_swd.workflows.bracket import Tried, next_share
from tfmot_swd.workflows.digests import cost_digests
from tfmot_swd.workflows.floor import Floor, check_one_floor, floor_of
from tfmot_swd.workflows.goal import Goal
from tfmot_swd.workflows.job import Job, job_of
from tfmot_swd.workflows.one_shot import OneShot, first_guess
from tfmot_swd.workflows.reach import check_reach
from tfmot_swd.workflows.smallest_result import Smallest, Trial
from tfmot_swd.workflows.training import Training
from tfmot_swd.workflows.trials import TrialRecord, Trials, check_folder

TOLERANCE, MAX_TRIALS = 0.1, 8
# Of methods that make zeros, and take a rate and no budget.
WEIGHTS = "weights"
_FIRST_OF_WEIGHTS = 0.1
# Of a share, in the name of its file.
_DIGITS = 4


def smallest(
    model: Any,
    train: Any,
    validation: Any,
    *,
    max_drop: float | None = None,
    floor: float | None = None,
    by: str | None = None,
    method: str = "structured",
    tolerance: float = TOLERANCE,
    max_trials: int = MAX_TRIALS,
    folder: str | os.PathLike[str] | None = None,
    epochs: int = 10,
    batch_size: int = 64,
    learning_rate: float = 1e-3,
    optimizer: Callable[[int], Any] | None = None,
    metric: Any = None,
    mode: str = "auto",
    skip: Collection[str] = (),
    only: Collection[str] | None = None,
    round_to: int = 1,
    seed: int = 0,
    verbose: int = 1,
    console: Console | None = None,
) -> Smallest:
    """Finds the smallest model whose validation metric stays within a floor, in few trainings.

    Use it where you know what the model may lose and not how small it can become. Each try is one pruned training of
    the whole model, to a share s of one cost. The first share is guessed by one-shot pruning without training; then it
    is halved while the floor holds, and between a share s₁ that misses the floor and a share s₂ that holds it the next
    one is √(s₁·s₂), until s₂ ≤ (1 + tolerance)·s₁. Five or six trainings are usual. A metric of few samples is noisy,
    and so is the result: of 500 validation samples one point of accuracy is five of them.

    Layers that are frozen keep their channels, and the search is among what the others can reach; the result says where
    that is what bounds it.

    Only `train` and `validation` are read: keep test data out of both, and measure the result on them once.

    Args:
      model: a built tf_keras or Keras 3 Sequential or Functional model, trained, and compiled with a loss and a metric.
        It stays as it is.
      train: (x, y) or (x, y, sample_weight) of arrays; or a `tf.data.Dataset`, PyDataset or Sequence of such batches.
      validation: the same, to decide on.
      max_drop: by how many points the metric may be worse than that of `model`. For a metric up to 1 of which more is
        better, such as an accuracy, a point is a hundredth: 1.0 allows 0.92 where the model has 0.93. For others it is
        the metric's own unit: 1.0 allows an error of 3.5 where the model has 2.5. It must be less than the metric.
      floor: the worst value of the metric, in place of `max_drop`: 0.92.
      by: the cost to make small, "parameters" (default), "macs", "bytes" (of the int8 file) or one of
        `costs.register_cost`. For a method that makes zeros "weights", those that are not zero.
      method: name of a pruning method: "structured", "pgp", "swd", "magnitude", or a registered one.
      tolerance: how far the result may be from the smallest, as a share of it.
      max_trials: trainings at most for this floor, those in `folder` among them, so that a search that was killed ends
        where it would have ended. Where it ended early, the same call with a larger number goes on.
      folder: keeps a journal and the model of each try. With one there, also of a killed process, the search goes on
        behind the last epoch that was finished, with the samples in another order than without the break; another floor
        begins with what is known. None keeps the best in memory.
      epochs, batch_size, learning_rate: of each training; Adam, whose rate falls to 0 along a cosine.
      optimizer: number of updates → a new optimizer, in place of Adam.
      metric, mode: which metric decides, as for `sensitivity`.
      skip, only: names of layers that stay whole, or that alone may be pruned.
      round_to: channels are kept in multiples of this.
      seed: set by `keras.utils.set_random_seed` before each training.
      verbose: 0 shows nothing.
      console: where progress is shown; standard error by default.

    Returns:
      A `Smallest`. Where no try holds the floor, `met` is False and the model is the best of them.

    Raises:
      TypeError: a model, data or metric of another kind.
      ValueError: both or neither of `max_drop` and `floor`; the model is not compiled, subclassed or wrapped; data
        without targets; an unknown cost, method or layer; nothing can be pruned, or nothing that is trained; a folder
        of another job.
      FileExistsError: `folder` holds other files.

    >>> import numpy as np, tf_keras as keras
    >>> net = keras.Sequential([keras.layers.Dense(2, input_shape=(3,))])
    >>> smallest(net, (np.ones((4, 3)), np.ones(4)), (np.ones((4, 3)), np.ones(4)), max_drop=1.0)
    Traceback (most recent call last):
    ValueError: The model is not compiled, so there is no metric to measure: ...
    """
    check_one_floor(max_drop, floor)
    goal = Goal(method, None, None, tuple(skip), None if only is None else tuple(only))
    goal = dataclasses.replace(goal, round_to=whole_number("round_to", round_to, 1))
    name = cost_name(by, method)
    place = None if folder is None else check_folder("folder", folder)
    training = Training(epochs, batch_size, learning_rate, optimizer, seed)
    check_search(tolerance, max_trials)
    job = job_of(model, train, validation, training, metric, mode, verbose, console)
    check_reach(job.model, goal)
    accepted = floor_of(max_drop, floor, job.objective, job.baseline)
    return Search(job, goal, name, place).within(accepted, tolerance, max_trials)


class Search:
    """Trainings of one job to shares of one cost.

    Args:
      job: what is trained.
      goal: by which method, in which layers; its rate and budget are those of each try.
      by: name of the cost.
      folder: where tries are kept, as `check_folder` returns it; None for memory.
    """

    def __init__(self, job: Job, goal: Goal, by: str, folder: Any = None) -> None:
        self._job, self._goal, self._by, self._folder = job, goal, by, folder
        self.whole = self._cost(job.model)
        digests = {} if by == WEIGHTS else cost_digests({by: find_cost(by)})
        subject = {"by": by, **goal.subject(), **digests}
        self._trials = Trials(job, subject, self._cost, folder)

    def within(self, floor: Floor, tolerance: float, max_trials: int) -> Smallest:
        """Returns the smallest model whose metric holds a floor, of at most so many trainings for that floor."""
        made = [(self._share(each), each) for each in self._trials.records]
        first, least, frozen = self._bounds(is_begun=bool(made))
        holds_whole, begun = floor.holds(self._job.baseline), len(made)
        self._say(
            f"Searching for the least {self._by} with {self._job.metric} {floor.value:.4f} or "
            f"{'less' if floor.mode == 'min' else 'more'}; the whole model has {self._job.baseline:.4f}. "
            + (f"{least:.1%} is the least in reach, as layers are frozen. " if frozen else "")
            + (f"Earlier tries in {self._folder}: {begun}." if begun else "")
        )
        ended_early = False
        while True:
            tried = [Tried(share, each.cost / self.whole, floor.holds(each.metric)) for share, each in made]
            share = next_share(tried, first, least=least, tolerance=tolerance, whole_holds=holds_whole)
            if share is None:
                break
            share = self._rounded(share, least)
            ended_early = self._spent(floor) >= max_trials or share in dict(made)
            if ended_early:
                break
            made.append((share, self._run(share, floor)))
            self._trials.keep(self._key(made[self._best(made, floor)][0]))
        if not made:
            raise ValueError(
                f"There is nothing to gain: with one channel left of each group the model still has {least:.1%} of its "
                f"{self._by}. Choose another cost (by=), a smaller round_to, or leave out or freeze fewer layers. "
                f"Received: by={self._by!r}" + (f", with {layer_names(frozen, COMPACT)} frozen" if frozen else "")
            )
        return self._result(made, floor, tolerance, ended_early, least, frozen)

    def record(self, result: Smallest) -> TrialRecord:
        """Returns the record of the training that a result was taken from."""
        return next(each for each in self._trials.records if each.key == self._key(result.trial.share))

    def model(self, result: Smallest) -> keras.Model:
        """Returns the tf_keras model of a result."""
        return self._trials.model(self._key(result.trial.share))

    def _say(self, text: str) -> None:
        print_plain(self._job.console, text.strip())

    def _run(self, share: float, floor: Floor) -> TrialRecord:
        number = len(self._trials.records) + 1
        self._say(f"Try {number}: a training to {share:.1%} of the {self._by}")
        record = self._trials.run(self._key(share), self._goal_at(share), floor.value)
        said = "within the floor" if floor.holds(record.metric) else "missed the floor"
        self._say(f"Try {number}: {self._job.metric} {record.metric:.4f}, {said}")
        return record

    def _spent(self, floor: Floor) -> int:
        """Returns how many trainings were made for a floor, in earlier starts too."""
        floors = [each.floor for each in self._trials.records if each.floor is not None]
        # That of a drop is counted from a metric, which is measured again at each start.
        return sum(math.isclose(each, floor.value, rel_tol=1e-6, abs_tol=1e-9) for each in floors)

    def _goal_at(self, share: float) -> Goal:
        if self._by == WEIGHTS:
            return dataclasses.replace(self._goal, rate=1.0 - share)
        limits: dict[str, Any] = {self._by: share}
        return dataclasses.replace(self._goal, budget=Budget(**limits))

    def _bounds(self, is_begun: bool) -> tuple[float, float, tuple[str, ...]]:
        """Returns where to begin, which nobody needs once the search has begun, the least share that can be reached,
        and the frozen layers that keep it from being less.
        """
        if self._by == WEIGHTS:
            # Rates are shares above 0.
            return _FIRST_OF_WEIGHTS, 1e-4, ()
        one_shot = OneShot(self._job.model, self._goal, find_cost(self._by))
        return (1.0 if is_begun else first_guess(one_shot, self._job)), one_shot.least, one_shot.frozen

    def _cost(self, model: Any) -> float:
        if self._by == WEIGHTS:
            return sparsity_report(model).nonzero_prunable_weights
        return find_cost(self._by).of(model)

    @staticmethod
    def _rounded(share: float, least: float) -> float:
        """Returns a share with the digits of its name, upwards at the least one.

        They are significant ones: of four behind the point few are left of a share of a thousandth.
        """
        found = float(f"{share:.{_DIGITS}g}")
        if found >= least:
            return found
        unit = 10.0 ** (math.floor(math.log10(share)) + 1 - _DIGITS)
        return float(f"{math.ceil(share / unit) * unit:.{_DIGITS}g}")

    def _key(self, share: float) -> str:
        return f"{self._by}_{share:#.{_DIGITS}g}"

    def _share(self, record: TrialRecord) -> float:
        return float(record.key.rpartition("_")[2])

    def _best(self, made: list[tuple[float, TrialRecord]], floor: Floor) -> int:
        """Returns which try is taken: the smallest that holds, the best one where none does."""
        within = [index for index, (_, each) in enumerate(made) if floor.holds(each.metric)]
        if within:
            return min(within, key=lambda index: (made[index][1].cost, -floor.margin(made[index][1].metric)))
        margins = [floor.margin(each.metric) for _, each in made]
        return max(range(len(made)), key=lambda index: -math.inf if math.isnan(margins[index]) else margins[index])

    def _result(
        self,
        made: list[tuple[float, TrialRecord]],
        floor: Floor,
        tolerance: float,
        ended_early: bool,
        least: float,
        frozen: tuple[str, ...],
    ) -> Smallest:
        job, best = self._job, self._best(made, floor)
        trials = tuple(
            Trial(
                share,
                each.cost,
                each.cost / self.whole,
                each.metric,
                job.objective.drop(job.baseline, each.metric),
                floor.holds(each.metric),
                each.seconds,
            )
            for share, each in made
        )
        return Smallest(
            met=trials[best].holds,
            model=job.returned(self._trials.model(self._key(made[best][0]))),
            metric=job.metric,
            mode=job.objective.mode,
            baseline=job.baseline,
            floor=floor.value,
            by=self._by,
            whole=self.whole,
            trials=trials,
            best=best,
            tolerance=tolerance,
            ended_early=ended_early,
            samples=job.samples.samples,
            folder=None if self._folder is None else str(self._folder),
            least=least,
            frozen=frozen,
        )


def cost_name(by: str | None, method: str) -> str:
    """Returns the cost to make small, the method's own where none is given.

    Raises:
      ValueError: an unknown cost or method, or a cost that the method does not lower.
    """
    if not method_named(method).takes_budget:
        if by not in (None, WEIGHTS):
            raise ValueError(
                f"method={method!r} makes zeros and changes no size, so it is by={WEIGHTS!r}; method='structured' "
                f"takes others. Received: by={by!r}"
            )
        return WEIGHTS
    name = "parameters" if by is None else by
    find_cost(name)
    return name


def check_search(tolerance: float, max_trials: int) -> None:
    """Raises a ValueError unless both can be meant."""
    if isinstance(tolerance, bool) or not isinstance(tolerance, int | float) or not 0.001 <= tolerance <= 1:
        raise ValueError(
            f"tolerance must be in [0.001, 1], 0.1 for shares within 10 %. Received: tolerance={tolerance!r}"
        )
    whole_number("max_trials", max_trials, 1)
