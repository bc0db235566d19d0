"""The README's quick start runs as it stands."""

import re
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"


def test_the_quick_start_runs_and_is_short(tmp_path, monkeypatch, capsys):
    (code,) = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    assert len(code.strip().splitlines()) <= 15
    monkeypatch.chdir(tmp_path)
    exec(compile(code, str(README), "exec"), {})
    said = capsys.readouterr().out
    assert "prunable weights kept (2.00%)" in said
    assert (tmp_path / "model.tflite").stat().st_size > 1000
