"""What `import tfmot_swd` brings with it, seen from a fresh interpreter."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tfmot_swd.keras2 import compat

ROOT = Path(__file__).parents[1]
# By what a program imports before: the Keras that `tf.keras` is then, and the variable that chooses it.
ORDERS = {
    "": ("keras", None),
    "import keras, tensorflow as tf; tf.keras.layers": ("keras", None),
    "import tensorflow_model_optimization": ("tf_keras", "1"),
    "# TF_USE_LEGACY_KERAS=true": ("tf_keras", "true"),
}
SAID = """
import json, os, subprocess, sys
import tensorflow as tf
loaded = sorted({name.partition(".")[0] for name in sys.modules} & {"keras", "tensorflow_datasets", "matplotlib"})
child = subprocess.run(["env"], capture_output=True, text=True).stdout.splitlines()
from tensorflow_model_optimization.python.core.sparsity.keras.prune_registry import PruneRegistry as registry
print(json.dumps({
    "loaded": loaded,
    "variable": os.environ.get("TF_USE_LEGACY_KERAS"),
    "of children": [each.partition("=")[2] for each in child if each.startswith("TF_USE_LEGACY_KERAS=")],
    "tf.keras": [each.layers.Dense.__module__.partition(".")[0] for each in (tf.keras, tf.compat.v2.keras)],
    "of TFMOT": sorted({each.__module__.partition(".")[0] for each in registry._RNN_CELLS_WEIGHTS_MAP}),
}))
"""
WORK = """
import numpy as np, tf_keras
import tensorflow_model_optimization as tfmot
net = tf_keras.Sequential([tf_keras.layers.Dense(8, "relu", input_shape=(4,)), tf_keras.layers.Dense(2)])
pruned = tfmot_swd.prune_selective_decay(net, tfmot_swd.SelectiveDecay(0.5, end_step=2))
pruned.compile("adam", "mse")
pruned.fit(np.ones((8, 4)), np.ones((8, 2)), batch_size=4, verbose=0, callbacks=[tfmot_swd.UpdatePruningStep()])
small = tfmot_swd.strip_pruning(pruned)
small.save("small.keras")
tf_keras.models.load_model("small.keras", compile=False)
tfmot_swd.export_tflite(small, "small.tflite", "float32")
tfmot.quantization.keras.quantize_model(small)
"""


def started(code: str, folder: Path, **variables: str) -> subprocess.Popen[str]:
    env = {name: value for name, value in os.environ.items() if name != "TF_USE_LEGACY_KERAS"}
    env |= {"PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3", **variables}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen([sys.executable, "-c", code], env=env, cwd=folder, text=True, **pipes)


def test_import_leaves_the_choice_of_keras_and_the_environment_as_they_were(tmp_path):
    programs = {}
    for before in ORDERS:
        variables = {"TF_USE_LEGACY_KERAS": "true"} if "=true" in before else {}
        # One of them does what the package is for: nothing in it asks for the variable later.
        work = "" if before else WORK
        programs[before] = started(f"{before}\nimport tfmot_swd\n{work}{SAID}", tmp_path, **variables)
    for before, program in programs.items():
        out, err = program.communicate()
        assert program.returncode == 0, err
        expected, variable = ORDERS[before]
        said = json.loads(out.splitlines()[-1])
        # TensorFlow itself loads Keras 3, and that matplotlib where there is one, unless the variable is set.
        loaded = said.pop("loaded")
        assert loaded == [] if variable == "true" else set(loaded) <= {"keras", "matplotlib"}, before
        assert said == {
            "variable": variable,
            "of children": [] if variable is None else [variable],
            "tf.keras": [expected, expected],
            "of TFMOT": ["tf_keras"],
        }, before


def test_an_import_that_fails_leaves_everything_as_it_was(monkeypatch):
    monkeypatch.delenv("TF_USE_LEGACY_KERAS", raising=False)
    monkeypatch.setitem(sys.modules, "tensorflow_model_optimization", None)
    before = {name: vars(sys.modules[name])["keras"] for name in compat._KERAS_OF_TENSORFLOW}
    with pytest.raises(ImportError, match="tensorflow_model_optimization"):
        compat._import_tfmot()
    assert "TF_USE_LEGACY_KERAS" not in os.environ
    assert all(vars(sys.modules[name])["keras"] is each for name, each in before.items())


def test_private_modules_are_imported_where_the_compatibility_module_says():
    package = Path(__file__).parents[1] / "tfmot_swd"
    found: dict[str, set[str]] = {}
    for path in package.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            module = node.module if isinstance(node, ast.ImportFrom) else None
            for private in ("tensorflow_model_optimization.python", "tensorflow.python", "tf_keras.src"):
                if module and f"{module}.".startswith(f"{private}."):
                    found.setdefault(private, set()).add(path.relative_to(package).as_posix())
    assert found["tensorflow_model_optimization.python"] == found["tensorflow.python"] == {"keras2/compat.py"}
    assert found["tf_keras.src"] == {"cli/safety.py", "keras2/compat.py"}


def test_private_attributes_of_keras_are_used_in_its_own_rooms_alone():
    package = Path(__file__).parents[1] / "tfmot_swd"
    found = set()
    for path in package.rglob("*.py"):
        if path.parent.name not in ("keras2", "keras3"):
            for node in ast.walk(ast.parse(path.read_text())):
                private = isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.endswith("__")
                own = private and ast.unparse(node.value) in ("self", "cls", "super()")
                if private and not own:
                    found.add(f"{path.relative_to(package)}:{node.lineno} {node.attr}")
    assert found == set()
