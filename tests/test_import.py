"""What `import tfmot_swd` brings with it, seen from a fresh interpreter."""

import ast
import os
import subprocess
import sys
from pathlib import Path


def test_import_brings_neither_keras_3_nor_datasets():
    code = (
        "import sys, tfmot_swd, tf_keras;"
        "print(sorted({name.split('.')[0] for name in sys.modules} & {'keras', 'tensorflow_datasets', 'matplotlib'}));"
        "import tensorflow as tf; print(tf.keras.layers.Dense is tf_keras.layers.Dense)"
    )
    env = {name: value for name, value in os.environ.items() if name != "TF_USE_LEGACY_KERAS"}
    env["PYTHONPATH"] = str(Path(__file__).parents[1])
    run = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert run.stdout.split("\n")[:2] == ["[]", "True"]


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


def test_private_attributes_of_keras_are_used_in_its_own_room_alone():
    package = Path(__file__).parents[1] / "tfmot_swd"
    found = set()
    for path in package.rglob("*.py"):
        if path.parent.name != "keras2":
            for node in ast.walk(ast.parse(path.read_text())):
                private = isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.endswith("__")
                own = private and ast.unparse(node.value) in ("self", "cls", "super()")
                if private and not own:
                    found.add(f"{path.relative_to(package)}:{node.lineno} {node.attr}")
    assert found == set()
