"""The README's quick start runs as it stands."""

import re
from pathlib import Path

import keras

README = Path(__file__).parents[1] / "README.md"


def test_the_quick_start_runs_and_is_short(tmp_path, monkeypatch, capsys):
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    assert len(blocks) == 3
    monkeypatch.chdir(tmp_path)
    assert "tf_keras" not in "".join(blocks)
    names: dict = {}
    for block in blocks:
        assert len(block.strip().splitlines()) <= 15
        exec(compile(block, str(README), "exec"), names)
    said = capsys.readouterr().out
    assert "prunable weights (2.00%)" in said
    assert (tmp_path / "model.tflite").stat().st_size > 1000
    small = names["tfmot_swd"].strip_pruning(names["pruned"])
    assert names["tfmot_swd"].profile(small).macs <= names["tfmot_swd"].profile(names["model"]).macs // 2
    assert small.layers[0].filters == 8
    assert isinstance(small, keras.Model)
    assert isinstance(names["small"], keras.Model)
