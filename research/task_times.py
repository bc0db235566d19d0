"""What removing filters saves of the time of training a detector and of adapting to a domain: against dense training.

    python -m research.task_times              # on an otherwise idle machine
    python -m research.task_times --report     # the table of what is there

Dense training and RPGP go side by side, an epoch of each in turn; removals and the new traces after them are in their
epochs. Resumable: `research/results/task_times.jsonl`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tf_keras as keras
from absl import app, flags
from rich.console import Console

import tfmot_swd
from examples import detection_training, domain_methods
from examples.detection_data import load_scenes
from examples.detection_network import detector
from examples.domain_data import CLASSES, SHAPE, load_domain
from examples.domain_training import digit_network
from examples.filter_methods import FilterMethod, wrapped
from examples.job import Job, Recipe
from research.journal import Journal
from research.tables import ResultTable, write_markdown
from research.turns import epoch_of, in_turn

RESULTS = Path(__file__).parent / "results"
SCENES = 4000
RATES = (0.5,)


def detection_job(rate: float) -> Job:
    recipe = Recipe(epochs=12, batch_size=32, learning_rate=0.005, weight_decay=1e-4)
    data = load_scenes(train_limit=SCENES)
    model = detector(data.input_shape, len(data.classes), recipe.weight_decay)
    return detection_training.DetectionJob(model, recipe, rate, [], 8, data)


def adaptation_job(rate: float) -> Job:
    recipe = domain_methods.AdaptationRecipe()
    source, target = load_domain("mnist_5k"), load_domain("uci_digits")
    model = digit_network(SHAPE, CLASSES, recipe.weight_decay, widths=recipe.widths)
    return domain_methods.AdaptationJob(
        model, recipe, rate, [], domain_methods.ROUND_TO, source, target.train_x, recipe.alignment
    )


# Task → (a job at a rate, how filters leave).
TASKS: dict[str, tuple[Callable[[float], Job], FilterMethod]] = {
    "detector": (detection_job, detection_training.FILTER_METHODS["rpgp"]),
    "domain adaptation": (adaptation_job, domain_methods.FILTERS["rpgp"]),
}


def key_of(task: str, rate: float) -> dict[str, Any]:
    job, method = TASKS[task]
    scenes = {"scenes": SCENES} if job is detection_job else {}
    return {"task": task, "rate": rate, **scenes, "settings": dataclasses.asdict(method)}


def measure(job_of: Callable[[float], Job], method: FilterMethod, rate: float) -> dict[str, Any]:
    """Returns seconds of each epoch, dense and with filters that leave, and the MACs at the end."""
    ways = {}
    models: dict[str, keras.Model] = {}
    for name in ("dense", "rpgp"):
        keras.utils.set_random_seed(0)
        job = job_of(rate)
        models[name] = job.model if name == "dense" else wrapped(method, job)
        job.compile(models[name], job.cosine, None)
        callbacks = [] if name == "dense" else [tfmot_swd.UpdatePruningStep(partial_fit=True)]
        ways[name] = epoch_of(models[name], job.stream, callbacks)
    times = in_turn(ways, job.recipe.epochs)
    sizes = [tfmot_swd.profile(each).macs for each in (models["dense"], tfmot_swd.strip_pruning(models["rpgp"]))]
    return {**times, "macs": sizes}


def table_of(journal: Journal) -> ResultTable:
    """Returns a row for each task and rate."""
    rows = []
    for record in journal.records():
        key, result = record["key"], record["result"]
        dense, rpgp = (result["seconds"][name] for name in ("dense", "rpgp"))
        processor = result["processor_seconds"]
        rows.append(
            (
                key["task"],
                f"{key['rate']:.0%}",
                f"{result['macs'][1] / result['macs'][0]:.1%}",
                f"{sum(dense):.1f}",
                f"{sum(rpgp) / sum(dense):.3f}",
                f"{sum(processor['rpgp']) / sum(processor['dense']):.3f}",
                f"{rpgp[-1] / dense[-1]:.3f}",
            )
        )
    heading = ("task", "filters removed", "MACs left", "dense, s", "share of time", "of processor", "last epoch")
    return ResultTable("Training with RPGP as a share of dense training", heading, tuple(rows), left=("task",))


def main(_: list[str]) -> None:
    journal, console = Journal(RESULTS / "task_times.jsonl"), Console(width=130)
    for rate in () if flags.FLAGS.report else RATES:
        for task, (job_of, method) in TASKS.items():
            if not journal.done(key_of(task, rate)):
                journal.append(key_of(task, rate), measure(job_of, method, rate))
                console.print(f"Timed: {task} at {rate:.0%}")
    table = table_of(journal)
    console.print(table)
    console.print(f"Written: {write_markdown(RESULTS / 'task_times.md', [table]).name}")


def define_flags() -> None:
    """Defines the flags, which are those of one program and no other."""
    flags.DEFINE_bool("report", False, "only print the table of what is there")


if __name__ == "__main__":
    define_flags()
    app.run(main)
