"""The plan says beforehand what is pruned, what stays whole, and why."""

import pytest
import tf_keras as keras
from tensorflow_model_optimization.python.core.sparsity.keras.pruning_policy import PruningPolicy

from tfmot_swd.pruning.plan import layers_with_weights, plan_pruning

L = keras.layers


class NoConvolutions(PruningPolicy):
    def allow_pruning(self, layer):
        return not isinstance(layer, L.Conv2D)

    def ensure_model_supports_pruning(self, model):
        pass


@pytest.fixture(scope="module")
def model() -> keras.Model:
    inner = keras.Sequential([L.Dense(3, input_shape=(4,), name="inside")], name="inner")
    frozen = L.Dense(3, name="frozen", trainable=False)
    return keras.Sequential(
        [
            L.Conv2D(4, 3, input_shape=(5, 5, 1), name="conv"),
            L.BatchNormalization(name="norm"),
            L.ReLU(),
            L.GlobalAveragePooling2D(),
            inner,
            frozen,
            L.Dense(2, name="head"),
        ]
    )


def test_the_plan_of_a_model(model):
    plan = plan_pruning(model)

    assert [(row.layer, row.kind, row.parameters, row.eligible_weights, row.reason) for row in plan.rows] == [
        ("conv", "Conv2D", 40, 36, ""),
        ("norm", "BatchNormalization", 16, 0, "no prunable weights known of this class"),
        ("inner/inside", "Dense", 15, 15, ""),
        ("frozen", "Dense", 12, 12, "frozen"),
        ("head", "Dense", 8, 8, ""),
    ]
    assert plan.prunable_weights == 36 + 15 + 8
    assert [row.layer for row in plan.pruned] == ["conv", "inner/inside", "head"]
    assert [row.layer for row in plan.skipped] == ["norm", "frozen"]


def test_targets_all_takes_batch_norm_in_without_counting_it(model):
    plan = plan_pruning(model, targets="all")

    assert [row.layer for row in plan.pruned] == ["conv", "norm", "inner/inside", "head"]
    assert plan.prunable_weights == 36 + 15 + 8


@pytest.mark.parametrize("name", ["inside", "inner/inside"])
def test_skip_by_name_or_path(model, name):
    plan = plan_pruning(model, skip=[name, "head"])

    assert [row.layer for row in plan.pruned] == ["conv"]
    assert [row.reason for row in plan.rows if row.layer == "head"] == ["left out by name"]


def test_an_unknown_name_to_skip_is_refused(model):
    with pytest.raises(ValueError, match=r"layers that the model does not have: did you mean head\? Received: heads$"):
        plan_pruning(model, skip=["head", "heads"])


def test_a_policy_leaves_layers_out(model):
    plan = plan_pruning(model, pruning_policy=NoConvolutions())

    assert {row.layer: row.reason for row in plan.skipped}["conv"] == "left out by NoConvolutions"


def test_identities_are_those_of_the_layers(model):
    head = model.get_layer("head")

    assert id(head) in plan_pruning(model).layers()
    assert id(head) not in plan_pruning(model, skip=["head"]).layers()


def test_a_layer_shared_by_a_nested_model_and_its_parent_counts_once():
    shared = L.Dense(3, name="shared")
    inner = keras.Sequential([keras.Input((3,)), shared], name="inner")
    inputs = keras.Input((3,))
    model = keras.Model(inputs, shared(inner(inputs)))

    assert len(list(layers_with_weights(model))) == 1
    assert plan_pruning(model).prunable_weights == 12


def test_prints_as_a_table_with_its_reasons(model):
    text = str(plan_pruning(model))

    assert "59 prunable weights" in text
    for word in ("conv", "inner/inside", "frozen", "no prunable weights known of this class"):
        assert word in text


def test_the_summary_is_one_line(model):
    assert plan_pruning(model).summary() == (
        "norm (BatchNormalization: no prunable weights known of this class), frozen (Dense: frozen)"
    )


def test_a_plan_checks_the_model_first():
    with pytest.raises(TypeError, match="Received: str"):
        plan_pruning("model")


@pytest.mark.parametrize(("skip", "received"), [("a", "'a'"), (None, "None"), (3, "3"), (iter("a"), "<")])
def test_skip_must_be_a_list(model, skip, received):
    with pytest.raises(TypeError, match=rf"skip must be a list of names .*\['conv'\]. Received: {received}"):
        plan_pruning(model, skip=skip)
