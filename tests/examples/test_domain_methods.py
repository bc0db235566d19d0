"""Every method trains across real domains under one recipe, and nothing of it depends on labels of the target."""

import dataclasses

import numpy as np
import pytest

from examples.domain_data import Domain, load_domain
from examples.domain_methods import FILTERS, AdaptationRecipe, adapt, run_method

RECIPE = AdaptationRecipe(epochs=3, batch_size=32, widths=(8, 12))


@pytest.fixture(scope="module")
def domains() -> tuple[Domain, Domain]:
    source, target = (load_domain(name, train_limit=64) for name in ("mnist_5k", "uci_digits"))
    return tuple(
        dataclasses.replace(each, test_x=each.test_x[:50], test_y=each.test_y[:50]) for each in (source, target)
    )


# The other methods that remove filters are tested in test_training.py.
@pytest.mark.parametrize("method", ["source_only", "dense", "rpgp", "pgp", "psfp_clipped"])
def test_a_method_ends_at_its_rate(method, domains):
    source, target = domains
    adapted = adapt(method, source, target.train_x, RECIPE, rate=0.5)
    # Half of 12 is rounded up to a multiple of 4.
    wanted = [4, 8] if method in FILTERS else [8, 12]
    assert [adapted.model.get_layer(name).filters for name in ("conv1", "conv2")] == wanted
    assert adapted.model.output_shape == (None, 10)
    assert (adapted.rate, len(adapted.filters)) == ((0.5, 1) if method in FILTERS else (0.0, 0))
    assert all(status.done for status in adapted.filters)
    assert np.isfinite(adapted.history["loss"]).all()
    assert (adapted.history["alignment_loss"][-1] > 0) == (method != "source_only")
    assert min(adapted.seconds, adapted.processor_seconds) > 0


def test_labels_of_the_target_change_the_report_and_nothing_else(domains, tmp_path):
    source, target = domains
    shuffled = dataclasses.replace(target, train_y=target.train_y[::-1], test_y=(target.test_y + 1) % 10)
    found = [
        run_method("rpgp", source, each, RECIPE, 0.5, tmp_path / f"{index}.tflite")
        for index, each in enumerate((target, shuffled))
    ]
    for first, second in zip(*(each.adapted.model.get_weights() for each in found), strict=True):
        np.testing.assert_array_equal(first, second)
    assert found[0].adapted.history == found[1].adapted.history
    assert (tmp_path / "0.tflite").read_bytes() == (tmp_path / "1.tflite").read_bytes()
    assert found[0].source_accuracy == found[1].source_accuracy
    assert found[0].target_accuracy != found[1].target_accuracy


def test_a_run_is_scored_in_keras_and_from_its_file(domains, tmp_path):
    source, target = domains
    path = tmp_path / "model.tflite"
    found = run_method("dense", source, target, dataclasses.replace(RECIPE, alignment="coral"), 0.5, path)
    assert path.stat().st_size == found.export.bytes
    assert (found.export.recipe, found.export.samples) == ("int8", 50)
    assert found.parameters == found.adapted.model.count_params()
    entry = found.to_dict()
    assert (entry["method"], entry["seed"], entry["export"]["path"]) == ("dense", 0, "model.tflite")
    assert entry["target_accuracy"] == found.export.keras_accuracy


def test_an_unknown_method_is_named(domains):
    with pytest.raises(ValueError, match=r"method must be one of source_only, dense.*Received: 'magic'"):
        adapt("magic", domains[0], domains[1].train_x, RECIPE)
