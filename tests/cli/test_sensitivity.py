"""`sensitivity`: a table, a chart, a record and a journal of what each layer alone is worth."""

import json

import pytest


def test_a_table_a_chart_a_record_and_a_journal(run, net, train, tmp_path):
    paths = {name: tmp_path / f"out.{name}" for name in ("svg", "json", "jsonl")}
    code, out, err = run(
        *("sensitivity", net, f"--data={train}", "--rates=0.5,0.75", "--granularity=weights", "--skip=head"),
        *(f"--output={paths['svg']}", f"--json={paths['json']}", f"--journal={paths['jsonl']}"),
    )
    assert code == 0, err
    assert "sparse categorical crossentropy of logits (guessed" in err
    assert "Measuring the accuracy on 320 samples" in err
    assert "│ hidden │" in out
    record = json.loads(paths["json"].read_text())
    # 6·16 weights and 16 biases, half and three quarters of which are zero.
    assert [(row["layer"], row["removed"]) for row in record["rows"]] == [("hidden", 56), ("hidden", 84)]
    assert record["metric"] == "accuracy"
    assert "<svg" in paths["svg"].read_text()
    assert len(paths["jsonl"].read_text().splitlines()) == 3


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "--data says what to measure"),
        (["--data=x.npz"], "--data names no file"),
        (["--data=x.npz", "--rates=0.5,1"], "each between 0 and 1. Received: 0.5,1"),
        (["--data=x.npz", "--rates=half"], "takes numbers"),
        (["--data=x.npz", "--granularity=filters"], "channels|weights"),
        (["--data=x.npz", "--journal=rows.txt"], "must end in .jsonl"),
        (["--data=x.npz", "--output=chart.png"], "must end in .svg"),
    ],
)
def test_what_cannot_be_meant_is_refused(flags, message, run, net, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = run("sensitivity", net, *flags)
    assert (code, out) == (2, "")
    assert message in err
    assert not list(tmp_path.iterdir())
