"""Costs as objects: built-in ones against models that are built, and a user's latency table in every budget."""

import dataclasses
import json
from collections.abc import Mapping

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

import tfmot_swd
from tests.pgp.nets import BATCH, X, Y, compiled, fit, network, residual
from tfmot_swd import Budget, ProgressiveRate, PruningWarning, StructuredDecay
from tfmot_swd.channels import channel_groups
from tfmot_swd.costs import cost as costs
from tfmot_swd.costs import fit_budget
from tfmot_swd.costs.cost import Cost, find_cost, register_cost
from tfmot_swd.costs.counts import ChannelCosts
from tfmot_swd.costs.limits import CostLimits, resolve_limits
from tfmot_swd.tflite import file_bytes

L = keras.layers


@keras.utils.register_keras_serializable("tests")
@dataclasses.dataclass(frozen=True, eq=False)
class LatencyTable(Cost):
    """A user's own: microseconds, a row an operator kind of (a call, a thousand MACs, a weight read)."""

    rows: Mapping[str, tuple[float, float, float]]

    def terms(self, model):
        total = 0.0
        for call in model.calls:
            per_call, per_mac, per_weight = self.rows.get(call.kind, (0.05, 0.0, 0.0))
            total += per_call + per_mac * 1e-3 * call.macs + per_weight * call.parameters
        return total


TABLE = LatencyTable({"Conv2D": (0.3, 0.7, 0.013), "Dense": (0.1, 0.2, 0.03), "BatchNormalization": (0.04, 0, 0.01)})


def microseconds(model) -> float:
    """The table's sum, written out for a plain model of these layers."""
    total = 0.0
    for row in tfmot_swd.profile(model).rows:
        a, b, c = TABLE.rows.get(row.kind, (0.05, 0.0, 0.0))
        total += row.calls * a + b * 1e-3 * row.macs + c * row.parameters
    return total


def half_of(how, monkeypatch):
    """Half of the latency, of a table that is registered or given."""
    if how == "given":
        return Budget(latency=0.5, custom_costs={"latency": TABLE})
    monkeypatch.setattr(costs, "_COSTS", dict(costs._COSTS))
    register_cost("latency", TABLE)
    return Budget(latency=0.5)


@pytest.fixture(params=["registered", "given"])
def half(request, monkeypatch):
    return half_of(request.param, monkeypatch)


@pytest.mark.parametrize("build", [network, residual])
def test_a_table_costs_what_its_rows_say(build):
    assert TABLE.of(build()) == pytest.approx(microseconds(build()), rel=1e-12)


@pytest.mark.parametrize("build", [network, residual])
def test_one_shot_removal_ends_within_a_latency(half, build):
    net, rng = build(), np.random.default_rng(0)
    # No two are equal.
    scores = {name: rng.uniform(size=group.size) for name, group in channel_groups(net).items()}
    fitted = fit_budget(net, scores, half)
    small = tfmot_swd.channels.remove_channels(net, fitted.keep)
    assert fitted.limits == {"latency": pytest.approx(microseconds(net) / 2)}
    assert microseconds(small) == pytest.approx(fitted.costs["latency"], rel=1e-12)
    assert microseconds(small) <= fitted.limits["latency"]
    # The best channel that was left out would be too much.
    out = [(scores[name][place], name, place) for name in scores for place in np.flatnonzero(~fitted.keep[name])]
    _, name, place = max(out)
    fitted.keep[name][place] = True
    assert microseconds(tfmot_swd.channels.remove_channels(net, fitted.keep)) > fitted.limits["latency"]


def test_structured_decay_ends_within_a_latency(half, tmp_path):
    net = network()
    schedule = StructuredDecay(half, end_step=2 * len(X) // BATCH)
    model = compiled(tfmot_swd.prune_selective_decay(net, schedule))
    model.save(tmp_path / "model.keras")
    # The file knows the table: in another process nothing needs to be registered under a name.
    model = keras.models.load_model(tmp_path / "model.keras")
    callback = tfmot_swd.UpdatePruningStep(validation_data=(X, Y))
    model.fit(X, Y, batch_size=BATCH, epochs=2, verbose=0, callbacks=[callback])
    small = tfmot_swd.strip_pruning(model)
    assert microseconds(small) <= microseconds(net) / 2
    status = callback.history[-1]
    assert status.costs == {"latency": pytest.approx(microseconds(small), rel=1e-12)}
    assert status.limits == {"latency": pytest.approx(microseconds(net) / 2)}


@pytest.mark.parametrize(("how", "build"), [("registered", network), ("given", residual)])
def test_progressive_pruning_ends_within_a_latency_and_a_filter_more_would_not(how, build, monkeypatch):
    net, half = build(), half_of(how, monkeypatch)
    model = tfmot_swd.prune_progressive_gradient(net, ProgressiveRate(half, 2), "l1")
    rate = model.layers[1].pruning_schedule.final_rate
    fit(compiled(model), 2)
    assert microseconds(tfmot_swd.strip_pruning(model)) <= microseconds(net) / 2
    other = tfmot_swd.prune_progressive_gradient(build(), ProgressiveRate(rate - 1e-4, 2), "l1")
    fit(compiled(other), 2)
    assert microseconds(tfmot_swd.strip_pruning(other)) > microseconds(net) / 2


def test_several_costs_hold_together():
    net = residual()
    budget = Budget(parameters=0.6, latency=0.8, custom_costs={"latency": TABLE})
    small = tfmot_swd.channels.remove_channels(
        net, fit_budget(net, tfmot_swd.channels.channel_scores(net), budget).keep
    )
    assert small.count_params() <= 0.6 * net.count_params()
    assert microseconds(small) <= 0.8 * microseconds(net)


@pytest.mark.parametrize("build", [network, residual])
def test_built_in_costs_are_those_of_the_model_that_is_built(build):
    found = tfmot_swd.profile(build())
    assert find_cost("parameters").of(build()) == found.parameters
    assert find_cost("macs").of(build()) == found.macs
    assert find_cost("bytes").of(build()) == file_bytes(build(), "int8")
    costs_of = ChannelCosts(channel_groups(build()))
    assert find_cost("parameters").terms(costs_of).count(costs_of.sizes()) == found.parameters
    assert find_cost("macs").terms(costs_of).count(costs_of.sizes()) == found.macs


def test_names_are_known_and_others_refused():
    with pytest.raises(ValueError, match="choose one of parameters, macs, bytes.*sparsity.*Received: 'joules'"):
        Budget(joules=0.5)
    with pytest.raises(TypeError, match="instance of tfmot_swd.costs.cost.Cost. Received: <class"):
        register_cost("latency", LatencyTable)
    for name in ("macs", "recipe", "my latency", "sparsity"):
        with pytest.raises(ValueError, match=f"a name that an argument of Budget.*Received: '{name}'"):
            register_cost(name, TABLE)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"latency": -1.0}, ValueError, "latency must be an amount.*Received: latency=-1.0"),
        ({"latency": "fast"}, ValueError, "Received: latency='fast'"),
        ({"macs": 0.5}, ValueError, "custom_costs has no limit.*Received: .'macs'|Received: \\[\\]"),
        ({"latency": 0.5, "custom_costs": {"latency": 3}}, TypeError, "instances of .*Cost. Received: latency=3"),
        ({"macs": 0.5, "custom_costs": {"macs": TABLE}}, ValueError, "that of no other.*Received: 'macs'"),
    ],
)
def test_wrong_limits_of_custom_costs_are_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        Budget(**{"custom_costs": {"latency": TABLE}, **arguments})


def test_an_amount_need_not_be_whole():
    budget = Budget(latency=12.5, custom_costs={"latency": TABLE})
    assert budget.limits({"latency": 90.0}) == {"latency": pytest.approx(12.5)}
    assert Budget(latency=1.0, custom_costs={"latency": TABLE}).limits({"latency": 90.0})["latency"] >= 90.0


def test_a_budget_and_its_limits_come_back_from_json():
    budget = Budget(macs=0.5, latency=0.25, custom_costs={"latency": TABLE})
    again = Budget.from_config(json.loads(json.dumps(budget.get_config())))
    assert again == budget
    assert hash(again) == hash(budget)
    assert again.cost("latency") == TABLE
    net = network()
    counts = ChannelCosts(channel_groups(net))
    limits = resolve_limits(budget, counts, list(counts.groups))
    loaded = CostLimits.from_config(json.loads(json.dumps(limits.get_config())))
    assert loaded.final == limits.final
    assert loaded.cost("latency") == TABLE


def test_budgets_of_other_tables_differ():
    other = LatencyTable({"Conv2D": (1.0, 1.0, 1.0)})
    assert Budget(latency=0.5, custom_costs={"latency": TABLE}) != Budget(latency=0.5, custom_costs={"latency": other})


def test_a_config_of_built_in_costs_is_that_of_earlier_versions():
    expected = {"parameters": None, "macs": 0.5, "bytes": 1000, "sparsity": None, "recipe": "float32"}
    assert Budget(macs=0.5, bytes=1000, recipe="float32").get_config() == expected
    written = {"whole": {"bytes": 10}, "final": {"bytes": 5}, "file": [0.5, 100.0, "float32"]}
    limits = CostLimits.from_config(written)
    assert limits.cost("bytes") == type(find_cost("bytes"))(0.5, 100.0, "float32")
    assert limits.get_config() == written


class Unregistered(Cost):
    def terms(self, model):
        return sum(1.0 * call.macs for call in model.calls)


def test_a_class_that_is_not_registered_does_for_one_shot_and_is_refused_before_training():
    budget = Budget(work=0.5, custom_costs={"work": Unregistered()})
    net = network()
    fitted = fit_budget(net, tfmot_swd.channels.channel_scores(net), budget)
    small = tfmot_swd.channels.remove_channels(net, fitted.keep)
    assert tfmot_swd.profile(small).macs <= tfmot_swd.profile(net).macs / 2
    with pytest.raises(ValueError, match="class of a cost must be registered.*Received: Unregistered"):
        StructuredDecay(budget, end_step=10)


@pytest.mark.parametrize(
    ("terms", "error", "message"),
    [
        (lambda model: sum(-1 * call.macs for call in model.calls), ValueError, "cannot fall where channels are added"),
        (lambda model: float("nan") * model.calls[1].macs, ValueError, "finite factors"),
        (lambda model: 3.0, TypeError, "must return a sum of terms.*Received: 3.0"),
    ],
)
def test_terms_that_no_search_could_hold_with_are_refused(terms, error, message):
    wrong = type("Wrong", (Cost,), {"terms": lambda self, model: terms(model)})()
    net = network()
    with pytest.raises(error, match=message):
        fit_budget(net, tfmot_swd.channels.channel_scores(net), Budget(wrong=0.5, custom_costs={"wrong": wrong}))


def test_a_latency_that_cannot_be_met_says_what_could_be():
    net = network()
    budget = Budget(latency=0.01, custom_costs={"latency": TABLE})
    with pytest.raises(ValueError, match=r"still has latency=\d+\.\d+\. Give at least that.*Received: latency=0\."):
        fit_budget(net, tfmot_swd.channels.channel_scores(net), budget)


def test_a_layer_of_unknown_macs_is_told_whatever_counts_calls():
    inputs = keras.Input((6,))
    hidden = L.Lambda(
        lambda x: tf.ensure_shape(tf.numpy_function(lambda given: given * 2, [x], x.dtype), x.shape), name="twice"
    )(L.Dense(8, name="a")(inputs))
    net = keras.Model(inputs, L.Dense(2)(L.Dense(8, name="b")(hidden)))
    budget = Budget(latency=0.9, custom_costs={"latency": TABLE})
    with pytest.warns(PruningWarning, match="are not known and count as 0.*Received: twice"):
        fit_budget(net, {"b": np.arange(8)}, budget)
