"""`--latency` and `calibrate`: a budget from a prepared table, and what is said without one."""

import json
import sys

import pytest
import tf_keras as keras

from tfmot_swd.cli.methods import latency_limit
from tfmot_swd.costs import LatencyCost, LatencyTable, OperatorTime, cost


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """Returns a file: 2 µs a dense layer, and 0.1 µs a MAC: the net takes 4 + 14.4 µs."""
    path = tmp_path_factory.mktemp("tables") / "device.json"
    LatencyTable((OperatorTime("int8", "dense", 2.0, 0.1, 0.0),), device="a device").write_json(path)
    return path


@pytest.mark.parametrize(("given", "most"), [("0.75", 13.8), ("0.01ms", 10.0), ("9us", 9.0)])
def test_a_latency_is_a_limit(given, most, run, net, table, tmp_path):
    output = tmp_path / "small.keras"
    code, _, err = run("prune", net, f"--latency={given}", f"--latency_table={table}", f"--output={output}")
    assert code == 0, err
    small = keras.models.load_model(output, compile=False)
    units = small.get_layer("hidden").units
    latency = LatencyCost.read(table).of(small)
    assert latency == pytest.approx(4 + 0.1 * 9 * units)
    assert latency <= most < latency + 0.9


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--latency=0.5"], "--latency needs the times of operators on the device: measure them there with tfmot-swd"),
        (["--latency=3", "--latency_table=x.json"], "as 3ms or 800us. Received: --latency=3"),
        (["--latency=-1ms", "--latency_table=x.json"], "Received: --latency=-1ms"),
        (["--latency=0.5", "--latency_table=missing.json"], "There is no such file. Received: 'missing.json'"),
        (["--macs=0.5", "--latency_table=TABLE"], "--latency_table goes with --latency=0.5"),
        (["--latency=0.5", "--latency_table=TABLE", "--rate=0.5"], "Give --rate or limits, not both."),
    ],
)
def test_what_cannot_be_meant_is_said(flags, message, run, net, table, tmp_path, monkeypatch):
    monkeypatch.setattr(cost, "_COSTS", {name: each for name, each in cost._COSTS.items() if name != "latency"})
    flags = [each.replace("TABLE", str(table)) for each in flags]
    code, _, err = run("prune", net, *flags, f"--output={tmp_path / 'small.keras'}")
    assert code == 2
    assert message in err


def test_by_latency_the_table_is_registered(run, net, table, tmp_path, monkeypatch):
    monkeypatch.setattr(cost, "_COSTS", dict(cost._COSTS))
    flags = ["--max_drop=1", "--by=latency", f"--latency_table={table}", f"--output={tmp_path / 'small.keras'}"]
    code, _, err = run("prune", net, *flags)
    assert code == 2
    assert "--max_drop=1 prunes while it trains" in err
    assert cost.find_cost("latency").table.device == "a device"


def test_a_plan_says_whether_a_latency_can_be_met_and_what_the_least_is(run, net, table):
    code, out, err = run("plan", net, "--latency=0.75", f"--latency_table={table}")
    assert code == 0, err
    # 4 µs, and 0.1 for each of 9 MACs of each of 16 units; of one at the least.
    assert "│ latency │        18.4 │    13.8 │            4.9 │        26.6% │" in out
    code, out, err = run("plan", net, "--latency=0.25", f"--latency_table={table}")
    assert code == 2
    assert "This budget cannot be met" in err
    assert "Received: --latency=4.6" in err
    code, _, err = run("plan", net, "--latency=0.25")
    assert code == 2
    assert "--latency needs the times of operators" in err
    assert "16 channels are ranked" in run("plan", net)[1]


def test_a_time_has_a_unit():
    assert [latency_limit(each) for each in ("1", "2.5ms", "800us", "0.002s")] == [1.0, 2500.0, 800.0, 2000.0]


def test_calibrate_writes_a_table_of_this_machine(run, tmp_path, monkeypatch):
    # The package has a function of this name.
    module = sys.modules["tfmot_swd.workflows.calibrate"]
    monkeypatch.setattr(module, "CASES", module.CASES[::4])
    path = tmp_path / "device.json"
    code, out, err = run("calibrate", f"--output={path}", "--recipes=int8", "--seconds=0.5")
    assert code == 0, err
    assert "int8 conv" in out
    table = LatencyTable.read(path)
    assert json.loads(path.read_text())["kernels"].endswith("1 thread, default delegate (XNNPACK)")
    # Whatever the machine: some time, and less than a second.
    conv = table.find("int8", "conv")
    assert sum(each.runs for each in table.times) > 15
    assert 0 < conv.us(1e6, 10_000, 1000) < 1e6
    assert run("calibrate", f"--output={tmp_path / 'a.txt'}")[0] == 2
    assert "any of float32, int8. Received: int4" in run("calibrate", f"--output={path}", "--recipes=int4")[2]
