"""The pages of docs/ run as they stand, from outside the package."""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / "docs" / page).read_text(), re.DOTALL)


def test_the_errands_of_extending(tmp_path):
    script = tmp_path / "errands.py"
    script.write_text("\n\n".join(blocks("extending.md", "python")))
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
    run = subprocess.run(
        [sys.executable, "-W", "error::DeprecationWarning:__main__", str(script)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    counts = [int(each) for each in re.findall(r"^(\d+)$", run.stdout, re.MULTILINE)]
    # Filters of one's own layer before and after; parameters that the criterion left, of 826, by three ways.
    assert counts[:2] == [8, 5]
    assert len(counts) == 5
    assert all(0 < each <= 826 // 2 for each in counts[2:])
    # The layer of Keras 3: carried, and then with its pair without three channels.
    assert re.findall(r"^(?:GainConv2D.*|False)$", run.stdout, re.MULTILINE) == ["GainConv2D", "False", "GainConv2D 5"]
    before_after = re.search(r"^([\d.]+) of ([\d.]+) microseconds$", run.stdout, re.MULTILINE)
    assert float(before_after[1]) <= float(before_after[2]) / 2
    assert (tmp_path / "net.tflite").exists()
    assert "weights that are zero" in (tmp_path / "report.html").read_text()


def test_excerpts_are_those_of_the_example():
    source = (ROOT / "examples" / "acdc" / "method.py").read_text()
    assert len(blocks("extending.md", "py")) == 2
    for excerpt in blocks("extending.md", "py"):
        assert excerpt in source
