"""What `import tfmot_swd` brings with it, seen from a fresh interpreter."""

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
