"""One report made by hand, with every part and with names that must be escaped; nothing is converted or trained."""

import pytest

from tfmot_swd.report.data import BarrierRow, FileRow, LayerRow, Panel, Series, Totals
from tfmot_swd.report.result import DeviceReport
from tfmot_swd.tflite.file_rows import OperatorRow, OperatorTotal, PortRow
from tfmot_swd.tflite.latency import Latency

NASTY = 'conv<b>&"</script><!--'


@pytest.fixture
def report() -> DeviceReport:
    layers = (
        LayerRow(NASTY, "Conv2D", 32, 8, 320, 80, 288, 72, 288, 36, 225_792, 56_448),
        LayerRow("gone", "Dense", 4, None, 36, None, 32, None, 32, None, 32, None),
        LayerRow("logits", "Dense", 10, 10, 330, 90, 320, 80, 320, 80, 320, 80),
    )
    times = (
        Latency("dense", 1, 2.0, 1.9, 2.5, 20, 1.0, "dense"),
        Latency("dense", 2, 1.5, 1.2, 2.1, 20, 1.0, "dense"),
    )
    files = (
        FileRow(
            "dense",
            "dense.tflite",
            "float32",
            4096,
            3000,
            2900,
            0.91,
            0.91,
            1e-6,
            1.0,
            100,
            times,
            form="float32",
            sha256="ab" * 32,
            inputs=(PortRow("x", (1, None, None, 3), "float32"),),
            score=0.905,
        ),
        FileRow(
            f"small {NASTY}",
            "small.tflite",
            "int8",
            1234,
            1000,
            accuracy=0.8765,
            keras_accuracy=0.88,
            worst_difference=0.0321,
            agreement=0.99,
            samples=100,
            latency=(Latency("small", 1, 0.5, 0.4, 0.75, 20, 0.25, "dense"),),
            peak_memory_bytes=3_500_000,
            arena_bytes=2048,
            micro_ms=1.25,
            weights=152,
            zeros=36,
            operators=(OperatorRow("CONV_2D", (1, 26, 26, 8), 104, 48_672), OperatorRow("FULLY_CONNECTED", (1, 10), 9)),
            form="int8",
            sha256="0123456789abcdef" * 4,
            inputs=(PortRow(NASTY, (1, 28, 28, 1), "int8", 0.003921568859368563, -128),),
            outputs=(PortRow("logits", (1, 10), "int8", 0.04354736, 3),),
            operator_totals=(OperatorTotal("CONV_2D", 1, 48_672), OperatorTotal("FULLY_CONNECTED", 1, None)),
            score=0.8765,
        ),
        FileRow("micro", "micro.tflite", "", 999, 900, reasons=("It does not run here: <why>. Received: DECODE",)),
    )
    panels = (
        Panel(
            "accuracy",
            "updates",
            "share",
            False,
            (Series("training", (10.0, 20.0), (0.5, 0.75)), Series("validation", (10.0, 20.0), (0.4, None))),
        ),
        Panel("strength of the decay", "updates", "number", True, (Series("a", (1.0, 10.0, 20.0), (1e-4, 1.0, 50.0)),)),
        Panel(
            "parameters left",
            "updates",
            "count",
            False,
            (Series("left", (10.0, 20.0), (686.0, 170.0)), Series("allowed", (10.0, 20.0), (400.0, 170.0), True)),
        ),
    )
    return DeviceReport(
        title=f"A net & {NASTY}",
        created="2026-01-02T03:04:05+00:00",
        command="python -m prune 'a b' <x>",
        seed=7,
        machine="Linux x86_64, 2 processors",
        versions={"python": "3.11.2", "tfmot_swd": "0.1.0"},
        totals=Totals(686, 170, 640, 152, 640, 116, 226_144, 56_528, 8000, 4000),
        layers=layers,
        files=files,
        panels=panels,
        barriers=(BarrierRow("logits", 10, 10, ("output of the model",)),),
        advice=(
            {
                "file": "dir/small.tflite",
                "fits": True,
                "rules": [{"layer": NASTY, "what": "[b]stride"}],
                "advice": [{"topic": "speed", "verdict": "[b]fails"}],
            },
        ),
        samples=200,
        dense_score=0.91,
        small_score=0.88,
    )
