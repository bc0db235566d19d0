"""Latency from a table: fits of exact rows, files, the operators of a network, and budgets, against sums by hand."""

import json

import numpy as np
import pytest
import tf_keras as keras

from tfmot_swd import Budget, PruningWarning
from tfmot_swd.channels import channel_groups, remove_channels
from tfmot_swd.costs import LatencyCost, LatencyTable, OperatorRun, OperatorTime, cost, find_cost, fit_budget
from tfmot_swd.costs.counts import ChannelCosts
from tfmot_swd.costs.latency_fit import KINDS, closest_kinds, fit_times, nonnegative_least_squares
from tfmot_swd.costs.operators import count_operators
from tfmot_swd.tflite import export_tflite
from tfmot_swd.tflite.graph import read_graph
from tfmot_swd.tflite.one_operator import operator_counts, operator_kind

L = keras.layers
SIZES = [(100, 10, 9), (2000, 300, 0), (50_000, 70, 36), (7, 5000, 400), (900, 900, 90)]
# Of every kind, so that nothing is counted by another one; the numbers are told apart in sums.
TABLE = LatencyTable(
    tuple(OperatorTime("int8", kind, 10.0 + number, 1e-3, 1e-2, 1e-1) for number, kind in enumerate(KINDS)),
    {"int8": 5.0},
)


def runs(a, b, c, d, kind="conv", recipe="int8"):
    return [OperatorRun(kind, m, n, 1e-3 * (a + b * m + c * n + d * p), recipe, p) for m, n, p in SIZES]


@pytest.mark.parametrize(
    "coefficients", [(2.0, 1e-3, 2e-2, 3e-2), (0.0, 1e-3, 2e-2, 0.0), (5.0, 0.0, 0.0, 0.0), (0.0, 0.0, 0.5, 0.25)]
)
def test_exact_rows_give_their_coefficients_back(coefficients):
    (found,) = fit_times(runs(*coefficients))
    parts = found.start_us, found.us_per_mac, found.us_per_byte, found.us_per_position
    assert parts == pytest.approx(coefficients, rel=1e-6, abs=1e-9)
    assert (found.runs, found.kind) == (5, "conv")
    assert found.high_error < 1e-6


def test_a_negative_coefficient_is_zero_and_the_others_are_the_best_without_it():
    (found,) = fit_times([OperatorRun("add", 0, n, t) for n, t in ((1, 3e-3), (2, 2e-3), (4, 1e-3))])
    # Of a start alone: the minimum of the sum of (a / t - 1)² is Σ(1/t) / Σ(1/t²).
    t = np.array([3.0, 2.0, 1.0])
    assert found.start_us == pytest.approx((1 / t).sum() / (1 / t**2).sum())
    assert found.us_per_byte == found.us_per_mac == 0


def test_the_least_squares_are_not_beaten_on_a_grid():
    rng = np.random.default_rng(0)
    grid = np.stack(np.meshgrid(*[np.linspace(0, 2, 15)] * 3), -1).reshape(-1, 3)
    for _ in range(20):
        columns, target = rng.normal(size=(6, 3)), rng.normal(size=6)
        found = nonnegative_least_squares(columns, target)
        assert (found >= 0).all()
        assert (
            np.linalg.norm(columns @ found - target) <= np.linalg.norm(grid @ columns.T - target, axis=1).min() + 1e-9
        )


def test_errors_of_a_fit_are_told():
    (found,) = fit_times([OperatorRun("dense", 10, 10, t) for t in (1e-3, 1e-3, 1e-3, 2e-3)])
    assert found.median_error == pytest.approx(3.5 / 3.25 - 1)
    table = LatencyTable.from_runs([OperatorRun("dense", 10, 10, t) for t in (1e-3, 9e-3)])
    assert "int8 dense: half of the fitted times are off by" in str(table)


def test_a_table_is_the_same_after_a_file(tmp_path):
    table = LatencyTable.from_runs([*runs(2, 1e-3, 0, 0), *runs(1, 0, 1, 0, "add", "float32")], device="a phone")
    path = table.write_json(tmp_path / "device.json")
    assert LatencyTable.read(path) == table
    assert table.recipes == ("int8", "float32")
    assert "a phone" in str(table)
    assert hash(LatencyTable.read(path)) == hash(table)


def test_rows_of_somebody_else_are_fitted(tmp_path):
    names = ("kind", "macs", "bytes", "milliseconds")
    rows = [{name: getattr(run, name) for name in names} for run in runs(2, 1e-3, 1e-2, 0)]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    lines = ["kind,macs,bytes,milliseconds", *(",".join(map(str, row.values())) for row in rows)]
    (tmp_path / "rows.csv").write_text("\n".join(lines))
    for name in ("rows.json", "rows.csv"):
        (time,) = LatencyTable.read(tmp_path / name).times
        assert time.us(1000, 100) == pytest.approx(4.0)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.json", "{}", "format="),
        ("a.json", "no", "tfmot-swd calibrate"),
        ("a.json", '[{"kind": "conv", "macs": 1}]', "no bytes, milliseconds in"),
        ("a.json", '[{"kind": "magic", "macs": 1, "bytes": 1, "milliseconds": 1}]', "kind must be one of"),
        ("a.json", '[{"kind": "conv", "macs": 1, "bytes": 1, "milliseconds": 0}]', "above 0"),
        ("a.csv", "kind,macs,bytes,milliseconds\nconv,x,1,1", "are numbers"),
        ("a.csv", "", "at least. Received: none"),
    ],
)
def test_a_file_of_something_else_is_refused(name, content, message, tmp_path):
    (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=message.replace("(", r"\(")):
        LatencyTable.read(tmp_path / name)


def test_a_negative_time_in_a_file_is_refused(tmp_path):
    content = TABLE.to_dict()
    content["times"][0]["us_per_mac"] = -1.0
    (tmp_path / "device.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match="no negative times. Received: -1.0"):
        LatencyTable.read(tmp_path / "device.json")


def network():
    """Every way in which a layer joins the operator before it, or does not."""
    inputs = keras.Input((8, 8, 3))
    x = L.Conv2D(8, 3, padding="same", use_bias=False, name="stem")(inputs)
    x = L.ReLU(6.0, name="clip")(L.BatchNormalization(name="folded")(x))
    y = L.DepthwiseConv2D(3, padding="same", name="depthwise")(x)
    y = L.Conv2D(8, 1, activation="relu", name="pointwise")(y)
    x = L.ReLU(name="fused")(L.Add(name="sum")([x, y]))
    x = L.Activation("sigmoid", name="sigmoid")(L.BatchNormalization(name="alone")(x))
    x = L.MaxPooling2D(name="halve")(x)
    x = L.Dense(4, name="hidden")(L.Dropout(0.5)(L.Flatten()(x)))
    return keras.Model(inputs, L.Dense(3, activation="softmax", name="head")(x))


@pytest.fixture(scope="module")
def net():
    return network()


def test_layers_become_the_operators_of_the_file(net):
    found = count_operators(ChannelCosts(channel_groups(net)))
    assert [(each.path, each.kind, each.repeats) for each in found] == [
        ("stem", "input_conv", 1),
        ("depthwise", "depthwise", 1),
        ("pointwise", "pointwise", 1),
        ("sum", "add", 1),
        ("alone", "elementwise", 2),
        ("sigmoid", "activation", 1),
        ("halve", "max_pool", 1),
        ("hidden", "dense", 1),
        ("head", "dense", 1),
        ("head", "softmax", 1),
    ]
    assert all(each.is_known for each in found)


@pytest.mark.parametrize(
    ("padding", "strides", "kinds"),
    [
        (((0, 1), (0, 1)), 2, ["conv"]),
        # The converter leaves these as they are.
        (((1, 0), (1, 0)), 2, ["pad", "conv"]),
        (((2, 2), (2, 2)), 1, ["pad", "conv"]),
    ],
)
def test_padding_as_same_is_part_of_the_convolution_as_in_the_file(padding, strides, kinds, tmp_path):
    layers = [L.ZeroPadding2D(padding, input_shape=(8, 8, 8)), L.Conv2D(4, 3, strides)]
    padded = keras.Sequential(layers)
    path = tmp_path / "padded.tflite"
    export_tflite(padded, path)
    graph = read_graph(path.read_bytes())
    assert [operator_kind(graph, each) for each in graph.operators] == kinds
    costs = ChannelCosts(channel_groups(padded))
    found = count_operators(costs)
    assert [each.kind for each in found] == kinds
    if len(kinds) == 1:
        (macs, nbytes), sizes = operator_counts(graph, graph.operators[0])[:2], costs.sizes()
        assert (found[0].macs.count(sizes), 4 * found[0].elements.count(sizes)) == (macs, nbytes)
        assert found[0].positions == operator_counts(graph, graph.operators[0])[2] == 4 * 4 * 9


def by_hand(c, hidden=4):
    """The table's sum for the network with `c` channels, written out."""
    pixels, n = 64, list(KINDS)
    rows = [
        # kind, how many, MACs, elements, positions
        ("input_conv", 1, pixels * 27 * c, pixels * 3 + 27 * c + pixels * c, pixels * 9),
        ("depthwise", 1, pixels * 9 * c, 2 * pixels * c + 10 * c, pixels * 9),
        ("pointwise", 1, pixels * c * c, 2 * pixels * c + c * c + c, pixels),
        ("add", 1, 0, 3 * pixels * c, pixels),
        ("elementwise", 2, 0, 4 * pixels * c + 4 * c, pixels),
        ("activation", 1, 0, 2 * pixels * c, pixels),
        ("max_pool", 1, 0, (pixels + 16) * c, 16 * 4),
        ("dense", 1, 16 * c * hidden, 16 * c + 16 * c * hidden + 2 * hidden, 1),
        ("dense", 1, hidden * 3, hidden + 3 + 3 * hidden + 3, 1),
        ("softmax", 1, 0, 6, 1),
    ]
    return 5 + sum(
        times * (10 + n.index(kind)) + 1e-3 * macs + 1e-2 * size + 0.1 * where
        for kind, times, macs, size, where in rows
    )


def test_the_latency_of_a_network_is_the_sum_of_its_operators(net):
    assert LatencyCost(TABLE).of(net) == pytest.approx(by_hand(8), rel=1e-12)
    keep = {"stem": np.arange(8) % 2 == 0, "hidden": np.arange(4) < 3}
    assert LatencyCost(TABLE).of(remove_channels(net, keep)) == pytest.approx(by_hand(4, 3), rel=1e-12)


def test_a_budget_of_latency_is_met_by_the_built_network(net):
    share = 0.9
    budget = Budget(latency=share, custom_costs={"latency": LatencyCost(TABLE)})
    fitted = fit_budget(net, {"stem": np.arange(8.0)}, budget)
    small = remove_channels(net, fitted.keep)
    width = small.get_layer("stem").filters
    assert by_hand(width) <= share * by_hand(8) < by_hand(width + 1)
    assert fitted.costs == {"latency": pytest.approx(by_hand(width))}
    assert Budget.from_config(json.loads(json.dumps(budget.get_config()))) == budget


def test_a_kind_that_is_not_measured_counts_by_the_closest_and_is_said():
    table = LatencyTable((OperatorTime("int8", "conv", 3.0, 0.0, 0.0), OperatorTime("int8", "add", 7.0, 0.0, 0.0)))
    small = keras.Sequential([L.Conv2D(2, 1, input_shape=(2, 2, 5)), L.MaxPooling2D(), L.Flatten(), L.Dense(2)])
    with pytest.warns(PruningWarning, match="max_pool counted as add, dense counted as conv"):
        assert LatencyCost(table).of(small) == 3 + 7 + 3
    assert closest_kinds("mono_conv")[1] == "conv"


def test_layers_of_several_operators_are_said():
    recurrent = keras.Sequential([L.LSTM(3, input_shape=(4, 2), name="cell"), L.Dense(1)])
    with pytest.warns(PruningWarning, match="count as one in this latency.*Received: cell"):
        assert LatencyCost(TABLE).of(recurrent) > 0


def test_a_recipe_that_the_table_lacks_and_a_budget_without_a_table_say_what_to_do(monkeypatch):
    with pytest.raises(ValueError, match="calibrate --recipes=float32.*a table of int8 files"):
        Budget(latency=0.5, recipe="float32", custom_costs={"latency": LatencyCost(TABLE)}).cost("latency")
    with pytest.raises(TypeError, match="LatencyCost.read"):
        LatencyCost("device.json")
    monkeypatch.setattr(cost, "_COSTS", {name: each for name, each in cost._COSTS.items() if name != "latency"})
    with pytest.raises(ValueError, match="tfmot-swd calibrate --output=device.json"):
        find_cost("latency")
