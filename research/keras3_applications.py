"""Do networks come over from Keras 3 and back unchanged: all of keras.applications.

    python -m research.keras3_applications             # all of them, about an hour on one core
    python -m research.keras3_applications --report    # the table of what is there

Each network gets random weights, random batch statistics among them, and ends in logits, as a softmax would hide
differences. It is converted to tf_keras and back to Keras 3, and both results are saved as `.keras` files and loaded
again; the logits of all five on the same random images are compared with those of the network. Every network runs in a
process of its own. Resumable: one line a network and version of Keras in `research/results/keras3_applications.jsonl`.
"""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from absl import app, flags
from rich.console import Console

from research import by_network
from research.journal import Journal
from research.tables import ResultTable, write_markdown

RESULTS = Path(__file__).parent / "results"
SEED = 0
# Of the largest logit. Back in Keras 3, the same operations run on the same numbers.
TOLERANCE = 1e-5
# A deep random network may multiply rounding beyond that; in float64 it is a billion times smaller.
TOLERANCE_FLOAT64 = 1e-10


def network_names() -> list[str]:
    """Returns the names of all networks of keras.applications."""
    import keras

    return by_network.names_in(keras.applications)


def build(name: str, size: int = 0) -> Any:
    """Returns a network of Keras 3 with random weights and statistics that ends in logits."""
    import keras

    if name.startswith("MobileNetV3"):
        size = size or 224  # Without one, Keras leaves the size of this one open.
    options = {"input_shape": (size, size, 3)} if size else {}
    keras.utils.set_random_seed(SEED)
    model = getattr(keras.applications, name)(weights=None, classifier_activation=None, **options)
    rng = np.random.default_rng(SEED)
    for weight in model.weights:
        if "variance" in weight.path or "gamma" in weight.path:
            weight.assign(rng.uniform(0.5, 1.5, weight.shape))
        elif len(weight.shape) == 1:
            weight.assign(rng.normal(0, 0.1, weight.shape))
    for layer in model.layers:
        if isinstance(layer, keras.layers.Normalization):
            if layer.input_mean is None:
                # It computes with numbers made of its weights.
                layer.finalize_state()
            elif keras.config.floatx() == "float64":
                # Keras rounds these to float32 whatever it computes in, and tf_keras does not.
                for held, given in (("mean", layer.input_mean), ("variance", layer.input_variance)):
                    shape = getattr(layer, held).shape
                    setattr(layer, held, keras.ops.convert_to_tensor(np.reshape(given, shape), "float64"))
    return model


def measure(name: str, size: int = 0) -> dict[str, Any]:
    """Returns all that the journal keeps of one network."""
    import keras
    import tf_keras

    from tfmot_swd.keras2.compat import CustomScaleLayer, LayerScale, StochasticDepth
    from tfmot_swd.keras3 import from_keras3, to_keras3
    from tfmot_swd.keras3.carried import CarriedLayer, CarriedOperation

    model = build(name, size)
    shape = model.input_shape[1:]
    x = np.random.default_rng(SEED).uniform(0, 255, (2, *shape)).astype(keras.config.floatx())
    logits = np.asarray(model.predict(x, verbose=0))

    def difference(other: Any) -> float:
        found = np.asarray(other.predict(x, verbose=0))
        return float(np.abs(found - logits).max() / np.abs(logits).max())

    start = time.process_time()
    there = from_keras3(model)
    seconds = [time.process_time() - start]
    start = time.process_time()
    back = to_keras3(there)
    seconds.append(time.process_time() - start)
    with tempfile.TemporaryDirectory() as directory:
        there.save(f"{directory}/there.keras")
        back.save(f"{directory}/back.keras")
        found = {
            "there": difference(there),
            "back": difference(back),
            "there_file": difference(
                # tf_keras does not find these three of its own.
                tf_keras.models.load_model(
                    f"{directory}/there.keras",
                    custom_objects={each.__name__: each for each in (CustomScaleLayer, LayerScale, StochasticDepth)},
                    compile=False,
                )
            ),
            "back_file": difference(keras.models.load_model(f"{directory}/back.keras", compile=False)),
        }
    return {
        "input": list(shape),
        "layers": len(there.layers),
        "parameters": model.count_params(),
        "same_count": there.count_params() == back.count_params() == model.count_params(),
        "carried": [each.name for each in there.layers if isinstance(each, CarriedLayer | CarriedOperation)],
        "largest_logit": float(np.abs(logits).max()),
        **found,
        "exact": max(found.values()) <= TOLERANCE,
        "seconds": seconds,
    }


def measure_exactly(name: str, size: int = 0) -> dict[str, Any]:
    """Returns what `measure` does; where float32 leaves it open, with the largest difference in float64 too."""
    import keras
    import tf_keras

    found = measure(name, size)
    if not found["exact"]:
        keras.config.set_floatx("float64")
        # Keras keeps the policy of the first layer's making.
        keras.config.set_dtype_policy("float64")
        tf_keras.backend.set_floatx("float64")
        again = measure(name, size)
        # A file of Keras 3 has the numbers of a Normalization in float32: its models are compared in float32 alone.
        found["difference_float64"] = max(again["there"], again["back"], again["there_file"])
        found["exact"] = found["difference_float64"] <= TOLERANCE_FLOAT64
    return found


HEADING = (
    *("network", "Keras", "input", "layers", "parameters, M", "carried"),
    *("in tf_keras", "back", "tf_keras file", "Keras 3 file", "exact", "seconds"),
)
NOTE = (
    "Random weights and batch statistics. Differences are the largest of any logit, as a share of the largest logit. "
    "Seconds of one CPU core: to tf_keras, and back, the proof on random data included."
)


def table_of(journal: Journal) -> ResultTable:
    """Returns a row for each network by name."""
    rows = []
    for record in sorted(journal.records(), key=lambda each: (each["key"]["network"], each["key"]["keras"])):
        key, result = record["key"], record["result"]
        differences = (f"{result[each]:.0e}" for each in ("there", "back", "there_file", "back_file"))
        rows.append(
            (
                key["network"],
                key["keras"],
                str(result["input"][0]),
                str(result["layers"]),
                f"{result['parameters'] / 1e6:.3g}",
                str(len(result["carried"])),
                *differences,
                _verdict(result),
                " + ".join(f"{each:.0f}" for each in result["seconds"]),
            )
        )
    exact = sum(record["result"]["exact"] for record in journal.records())
    title = f"{exact} of {len(rows)} networks of keras.applications the same in tf_keras and back in Keras 3"
    return ResultTable(
        f"{title}, within {TOLERANCE:.0e}, or {TOLERANCE_FLOAT64:.0e} in float64",
        HEADING,
        tuple(rows),
        left=("network",),
        notes=(NOTE,),
    )


def _verdict(result: dict[str, Any]) -> str:
    exact = "yes" if result["exact"] else "NO"
    return f"{exact}; {result['difference_float64']:.0e} in float64" if "difference_float64" in result else exact


def main(_: list[str]) -> None:
    if flags.FLAGS.child:
        Path(flags.FLAGS.child).write_text(json.dumps(measure_exactly(flags.FLAGS.models[0], flags.FLAGS.size)))
        return
    import keras

    journal = Journal(RESULTS / "keras3_applications.jsonl")
    console = Console(width=200)
    names = [] if flags.FLAGS.report else flags.FLAGS.models or network_names()
    failed = by_network.measure_all(
        journal,
        names,
        lambda name: {"network": name, "size": flags.FLAGS.size, "seed": SEED, "keras": keras.__version__},
        lambda name: by_network.measure_apart("research.keras3_applications", name, flags.FLAGS.size),
        "there",
        console,
    )
    table = table_of(journal)
    console.print(table)
    if journal.records():
        console.print(f"Written: {write_markdown(RESULTS / 'keras3_applications.md', [table]).name}")
    if failed:
        raise SystemExit(f"Failed: {', '.join(failed)}")


if __name__ == "__main__":
    by_network.define_flags()
    app.run(main)
