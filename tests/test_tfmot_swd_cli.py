"""The entry point in fresh interpreters: what it loads, and what it leaves unsaid."""

import os
import subprocess
import sys
from pathlib import Path

import tf_keras as keras

from tfmot_swd import SelectiveDecay, prune_selective_decay
from tfmot_swd.tflite import RECIPES

ROOT = Path(__file__).parents[1]
# As a shell has it, where the tests have silenced TensorFlow already.
ENV = {name: value for name, value in os.environ.items() if name not in ("TF_CPP_MIN_LOG_LEVEL", "TF_USE_LEGACY_KERAS")}
ENV["PYTHONPATH"] = str(ROOT)

_EXPLAINED = """
import sys, tfmot_swd_cli

def call(*arguments):
    sys.argv = ["tfmot-swd", *arguments]
    return tfmot_swd_cli.main()

codes = [call("--help"), call("--version")]
from tfmot_swd.cli.main import COMMANDS
codes += [call(command.name, "--help") for command in COMMANDS]
wrong = [call(), call("prof"), call("plan"), call("plan", "net.keras", "--skp=a")]
loaded = {name.partition(".")[0] for name in sys.modules}
heavy = {"tensorflow", "tf_keras", "keras", "tensorflow_model_optimization", "h5py", "ai_edge_litert"}
print(set(codes), set(wrong), sorted(loaded & heavy))
"""


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], env=ENV, cwd=ROOT, capture_output=True, text=True, check=False)


def test_help_version_and_wrong_flags_load_nothing_of_tensorflow():
    done = run("-c", _EXPLAINED)
    assert done.stdout.splitlines()[-1] == "{0} {2} []", done.stderr
    # Named in the help by a list of its own, as the recipes themselves need TensorFlow.
    assert f"any of {', '.join(RECIPES)}" in " ".join(done.stdout.split())


def test_an_answer_is_all_that_is_printed(tmp_path):
    # Of a class that is registered when the package is run, which comes after its commands here.
    net = keras.Sequential([keras.layers.Dense(2, input_shape=(3,), name="head")])
    prune_selective_decay(net, SelectiveDecay(0.5, end_step=10)).save(tmp_path / "wrapped.keras")
    done = run("-m", "tfmot_swd_cli", "profile", str(tmp_path / "wrapped.keras"))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split()[:2] == ["8", "parameters"]


def test_a_library_that_does_not_load_says_why(tmp_path):
    (tmp_path / "tensorflow.py").write_text(
        "import os\nos.write(2, b'no such instruction\\n')\nraise ImportError('broken')\n"
    )
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); sys.argv = ['tfmot-swd', 'profile', 'net.keras']; "
    done = run("-c", code + "import tfmot_swd_cli; print(tfmot_swd_cli.main())")
    assert done.stdout == "1\n"
    assert done.stderr.splitlines()[0] == "no such instruction"
    assert "broken" in done.stderr.splitlines()[1]
