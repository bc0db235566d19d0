"""`check` for a board, for so much memory, and for an NPU."""

import json
import re

import pytest

from tests.cli.conftest import make_net
from tfmot_swd.cli import devices
from tfmot_swd.cli.commands import check
from tfmot_swd.tflite import BOARDS, ExportError, board_fit, export_tflite
from tfmot_swd.tflite.micro import NpuEstimate, vela


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("file") / "net.tflite"
    export_tflite(make_net(), path)
    return path


def test_the_help_names_each_board(run):
    assert devices.BOARDS.split() == sorted(BOARDS)
    code, out, _ = run("check", "--help")
    assert code == 0
    assert all(name in " ".join(out.split()) for name in BOARDS)


def test_a_file_that_fits_on_a_board(run, file, tmp_path):
    pytest.importorskip("tflite_micro")
    code, out, err = run("check", file, "--board=nucleo_l4r5zi", f"--json={tmp_path / 'found.json'}")
    assert (code, err) == (0, "")
    found = json.loads((tmp_path / "found.json").read_text())
    assert (found["fit"]["fits"], found["fit"]["flash_bytes"]) == (True, file.stat().st_size)
    # A board is a microcontroller: the advice is for those alone.
    assert {row["topic"] for row in found["advice"]["advice"]} == {
        *("channels", "microcontroller flash", "microcontroller RAM", "NPU")
    }
    assert "nucleo-l4r5zi: fits" in out
    assert "TFLite Micro runs it on 16 random samples" in out


def test_a_file_that_does_not_fit_ends_with_1(run, file):
    code, out, err = run("check", file, "--flash=1k", "--ram=64k")
    assert code == 1
    assert "does not fit" in out
    assert "there are 1,024" in err


def test_a_board_of_ones_own_in_a_module(run, file, tmp_path, monkeypatch):
    monkeypatch.setattr(board_fit, "has_micro", lambda: False)
    monkeypatch.setattr(check, "_prove_in_micro", lambda *_: None)
    (tmp_path / "board_of_mine.py").write_text(
        'from tfmot_swd.tflite import Board, register_board\nregister_board(Board("of-mine", 2**20, 2**18))\n'
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    code, out, _ = run("check", file, "--board=of-mine", "--modules=board_of_mine")
    # Without TFLite Micro it is not known what it takes, which is no failure.
    assert code == 0
    assert "of-mine: unknown whether it fits" in out
    # 6 inputs and 16 units, 4 bytes each.
    code, _, err = run("check", file, "--board=of-mine", "--ram=80")
    assert code == 1
    assert "The file does not fit: the activations alone take 88 bytes of RAM and there are 80: 8 too many" in err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--board=pico"], "--board must be one of arduino-nano-33-ble-sense, .*or give --flash and --ram"),
        (["--flash=12x"], "--flash must be a number of bytes above 0, such as 256k.*Received: --flash=12x"),
        (["--ram=0"], "--ram must be a number of bytes above 0.*Received: --ram=0"),
        (["--ram=1M", "--target=phone"], "--ram is for microcontrollers: leave --target out"),
        (["--npu=ethos-u1"], "--npu must be one of ethos-u55-32.*Received: 'ethos-u1'"),
    ],
)
def test_what_cannot_be_meant(flags, message, run, file):
    code, _, err = run("check", file, *flags)
    assert code == 2
    assert re.search(message, err)


def test_vela_is_asked_for_a_microcontroller(run, file, tmp_path, monkeypatch):
    asked, record = [], tmp_path / "found.json"

    def estimate(content, accelerator="ethos-u55-128"):
        if accelerator == "ethos-u85-128":
            raise ExportError("Vela leaves all operators to the CPU")
        asked.append(accelerator)
        return NpuEstimate(accelerator, 19.75, 9.5, 0.0, 27500, 0.055, 423560, 32, 1)

    monkeypatch.setattr(vela, "estimate_npu", estimate)
    monkeypatch.setattr(vela, "has_vela", lambda: True)
    monkeypatch.setattr(check, "_prove_in_micro", lambda *_: None)
    code, out, err = run("check", file, "--npu=ethos-u65-256", f"--json={record}")
    assert (code, err) == (0, "")
    assert json.loads(record.read_text())["npu"]["flash_kib"] == 19.75
    for each in ("Vela's estimate for ethos-u65-256", "19.8 KiB", "0.055 ms", "32, 1", "No board was measured."):
        assert each in out
    assert "operators on the CPU is not in it" in " ".join(out.split())
    assert "DRAM" not in out
    # Without the flag only for a microcontroller as such: boards have no NPU.
    assert "Vela's" in run("check", file, "--target=microcontroller")[1]
    assert "Vela's" not in run("check", file, "--flash=1M")[1]
    assert asked == ["ethos-u65-256", "ethos-u55-128"]
    code, _, err = run("check", file, "--npu=ethos-u85-128")
    assert (code, "all operators to the CPU" in err) == (1, True)
    monkeypatch.setattr(vela, "has_vela", lambda: False)
    assert "Vela's" not in run("check", file, "--target=microcontroller")[1]
