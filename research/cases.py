"""A network on a dataset, trained by one method after the other, and what was found of each."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import tensorflow as tf
from rich.console import Console

from examples.datasets import ImageData
from examples.networks import NETWORKS
from examples.training import Recipe, TrainedClassifier, train
from research.data import load
from research.journal import Journal
from research.tables import Panel

Results = dict[tuple[str, float], list[dict[str, Any]]]


@dataclasses.dataclass(frozen=True)
class Case:
    """One network on one dataset, with what all methods share."""

    name: str
    title: str
    dataset: str
    network: str
    train_limit: int
    epochs: int
    batch_size: int
    augment: bool

    @property
    def heading(self) -> str:
        updates = self.train_limit // self.batch_size
        return f"{self.title}: {self.train_limit:,} images, {self.epochs} epochs of {updates}"

    def key(self, method: str, rate: float, seed: int) -> dict[str, Any]:
        """Returns what identifies a run in a journal."""
        return {**self._shared(), "method": method, "rate": rate, "seed": seed}

    def load(self) -> ImageData:
        return load(self.dataset, self.train_limit)

    def train(self, key: dict[str, Any], data: ImageData) -> TrainedClassifier:
        """Trains the run of a key."""
        recipe = Recipe(
            self.epochs, self.batch_size, augment=self.augment, validation_freq=self.epochs, seed=key["seed"]
        )

        def build() -> Any:
            return NETWORKS[self.network](data.input_shape, data.num_classes, weight_decay=recipe.weight_decay)

        return train(key["method"], build, data, recipe, key["rate"])

    def results(self, journal: Journal) -> Results:
        """Returns the results of each (method, rate), over the seeds."""
        return results_of(journal, self._shared())

    def _shared(self) -> dict[str, Any]:
        fields = {name: value for name, value in dataclasses.asdict(self).items() if name not in ("name", "title")}
        return {"case": self.name, **fields}


def results_of(journal: Journal, shared: Mapping[str, Any]) -> Results:
    """Returns the results of each (method, rate), over the seeds, of the runs that have this in their keys."""
    found: Results = {}
    for record in journal.records():
        key = record["key"]
        if {**key, **shared} == key:
            found.setdefault((key["method"], key["rate"]), []).append(record["result"])
    return found


def sizes_of(results: Results) -> dict[str, list[int]]:
    """Returns the sizes of the layers of each run that has them, by what its times are found under."""
    return {f"{method} {rate:g}": runs[0]["sizes"] for (method, rate), runs in results.items()}


def times_of(journal: Journal, sizes: Mapping[str, list[int]]) -> dict[str, float]:
    """Returns what a journal of times, which all has the sizes in its keys, knows of networks of these very sizes.

    The last measurement of all that has a network counts, so that times in one table may come from two.
    """
    found: dict[str, float] = {}
    for record in journal.records():
        for name, left in record["key"]["sizes"].items():
            if sizes.get(name) == left:
                measured = record["result"]["milliseconds"]
                found |= {each: value for each, value in measured.items() if each.rpartition(" ")[0] == name}
    return found


def mean(found: list[dict[str, Any]], field: str) -> float:
    """Returns the mean of a number over seeds; a run that diverged counts as 0."""
    return sum(float(result[field] or 0.0) for result in found) / len(found)


def use_one_thread() -> None:
    """Has TensorFlow compute on one thread: two such processes finish sooner than one of two threads."""
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)


def run_missing(
    journal: Journal,
    keys: Iterable[dict[str, Any]],
    run: Callable[[dict[str, Any]], dict[str, Any]],
    console: Console,
    score: str = "test_accuracy",
) -> None:
    """Makes the runs that a journal lacks, one after the other, and says what came of each, of its scores one."""
    for key in keys:
        if journal.done(key):
            continue
        result = run(key)
        journal.append(key, result)
        console.print(
            f"{key['method']} {key['rate']:.1%} seed {key['seed']}: test {result[score]:.4f}, "
            f"{result['parameters']:,} parameters, {result['macs'] / 1e6:.2f} M MACs, {result['seconds']:.0f} s"
        )


def panel_of(
    title: str,
    results: Results,
    labels: Mapping[str, str],
    cost: str,
    unit: tuple[float, str],
    bold: str,
    score: tuple[str, str] = ("test_accuracy", "test accuracy (%)"),
) -> Panel:
    """Returns a score, (field, called so), against a cost, in (so many, called so); the dense net's is a level."""
    lines: dict[str, list[tuple[float, float]]] = {}
    for (method, _), runs in results.items():
        point = mean(runs, cost) / unit[0], 100 * mean(runs, score[0])
        lines.setdefault(method, []).append(point)
    dense = lines.pop("dense", None)
    level = (labels["dense"], dense[0][1]) if dense else None
    ordered = {label: sorted(lines[method]) for method, label in labels.items() if method in lines}
    return Panel(title, unit[1], ordered, level, bold=(labels[bold],), ylabel=score[1])
