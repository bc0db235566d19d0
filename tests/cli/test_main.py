"""The program as a whole: commands, help, exit codes, errors in one line."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import tf_keras as keras

import tfmot_swd
from tfmot_swd.cli.main import COMMANDS
from tfmot_swd.cli.methods import check_names

ROOT = Path(__file__).parents[2]
NAMES = [command.name for command in COMMANDS]


def test_help_of_the_program_names_every_command(run):
    code, out, err = run("--help")
    assert (code, err) == (0, "")
    assert NAMES == ["profile", "plan", "sensitivity", "prune", "export", "check", "report", "compress", "calibrate"]
    lines = [line.split()[0] for line in out.splitlines() if line[:3].strip() and line.startswith("  ")]
    assert lines[: len(NAMES)] == NAMES


@pytest.mark.parametrize("command", COMMANDS, ids=NAMES)
def test_help_of_a_command_shows_its_own_flags_and_examples_to_copy(command, run):
    code, out, _ = run(command.name, "ignored", "--help")
    assert code == 0
    assert f"\n  tfmot-swd {command.name} " in out
    assert ("\n  --seed=0\n" in out) == ("\n  --epochs=10\n" in out) == (command.name in ("prune", "compress"))
    # absl's own flags, of its log and its tests, are nobody's business here.
    assert "--verbosity" not in out
    assert max(map(len, out.splitlines())) <= 120


def test_without_arguments_it_explains_itself_as_an_error(run):
    code, out, err = run()
    assert (code, out) == (2, "")
    assert "profile" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["prun"], "did you mean prune?"),
        (["profile"], "profile takes MODEL"),
        (["profile", "a.keras", "b.keras"], "Received: a.keras b.keras"),
        (["profile", "missing.keras"], "There is no such file. Received: 'missing.keras'"),
        (["profile", "a.keras", "--bath_size=2"], "Did you mean: batch_size"),
        (["profile", "a.keras", "--batch_size=0"], "--batch_size=0"),
        (["calibrate", "a.keras", "--output=device.json"], "calibrate takes only flags: tfmot-swd calibrate [flags]."),
        (["plan", "a.keras", "--method=magic"], "structured|swd|pgp"),
        (["plan", "a.keras", "--epochs=2"], "Unknown command line flag 'epochs'"),
    ],
)
def test_a_wrong_command_line_ends_with_2_and_one_line(arguments, message, run):
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1
    assert "Traceback" not in err


def test_flags_may_stand_before_the_model_and_two_dashes_end_them(run):
    assert "Received: '--help'" in run("profile", "--batch_size=2", "--", "--help")[2]


def test_what_fails_is_one_line_with_1_and_a_traceback_only_on_request(run, tmp_path):
    path = tmp_path / "broken.keras"
    path.write_bytes(b"PK\x03\x04 nothing")
    code, out, err = run("profile", path)
    assert (code, out) == (1, "")
    assert err.startswith("tfmot-swd profile: This is no saved model")
    assert err.count("\n") == 1
    assert "Traceback" in run("profile", path, "--debug")[2]


def test_an_interruption_is_no_traceback(run, net, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("tfmot_swd.cli.commands.profile.load_model", interrupt)
    assert run("profile", net) == (130, "", "tfmot-swd profile: interrupted\n")


def test_it_runs_as_a_module():
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-m", "tfmot_swd.cli", "prof"], env=env, capture_output=True, text=True)
    assert done.returncode == 2
    assert "did you mean profile?" in done.stderr


def test_the_version_is_that_of_the_package(run):
    assert run("--version") == (0, f"tfmot-swd {tfmot_swd.__version__}\n", "")


def test_help_tells_the_exit_codes(run):
    assert "1, a model, its data or a file failed, in a check too; 2, the command line is wrong." in run("--help")[1]


@pytest.mark.parametrize("command", ["plan", "prune"])
@pytest.mark.parametrize("method", ["structured", "swd", "pgp"])
def test_a_layer_to_skip_that_is_not_there_is_a_wrong_command_line(command, method, run, net, train, tmp_path):
    output = tmp_path / "small.keras"
    flags = [f"--data={train}", f"--output={output}", "--rate=0.5"] if command == "prune" else []
    code, out, err = run(command, net, f"--method={method}", "--skip=head,hiden", *flags)
    assert (code, out) == (2, "")
    assert err == (
        f"tfmot-swd {command}: --skip names layers that the model does not have: did you mean hidden? "
        f"Received: hiden (tfmot-swd {command} --help explains)\n"
    )
    assert not output.exists()


def test_layers_inside_of_a_nested_model_can_be_skipped():
    inner = keras.Sequential([keras.layers.Dense(2, name="deep", input_shape=(3,))], name="inner")
    model = keras.Sequential([inner, keras.layers.Dense(1, name="head")])
    check_names(model, {"skip": ["deep", "inner", "inner/deep"], "only": ["head"]})


def test_what_the_library_says_is_said_in_the_words_of_the_shell(run, net, tmp_path):
    code, _, err = run("prune", net, "--macs=1", "--round_to=8", f"--output={tmp_path / 'small.keras'}")
    assert code == 0, err
    code, _, err = run("prune", net, "--macs=1e-6", "--round_to=8", f"--output={tmp_path / 'small.keras'}")
    assert code == 2
    assert "Give at least that, a smaller --round_to, or" in err
    assert "Received: --macs=" in err


def test_a_long_table_is_compact_and_whole_with_full(run, tmp_path):
    keras.Sequential([keras.layers.Input((1,)), *(keras.layers.Dense(1) for _ in range(22))]).save(tmp_path / "n.keras")
    compact = run("profile", tmp_path / "n.keras")[1]
    assert "20 of 23 layers, those that cost most; --full shows all" in " ".join(compact.split())
    assert "and 3 more" in compact
    whole = run("profile", tmp_path / "n.keras", "--full")[1]
    assert "more" not in whole
    assert len(whole.splitlines()) == len(compact.splitlines()) + 1


def test_names_in_messages_do_not_reach_the_terminal_as_commands(run):
    assert "Received: \\x1b[31mprof" in run("\x1b[31mprof")[2]
