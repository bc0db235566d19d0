"""Entry point of `tfmot-swd`: answers `--help`, `--version` and wrong flags without loading TensorFlow.

The package `tfmot_swd` imports TensorFlow, as it registers classes with Keras, and any import of `tfmot_swd.cli` would
run that first. Here the package is made but not run yet; a command runs it once it knows what it is to do.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import sys
import tempfile
from collections.abc import Iterator

_LIBRARY = "tfmot_swd"


def main() -> int:
    """Runs the command line of this process, and returns its exit code."""
    if _LIBRARY not in sys.modules:
        spec = importlib.util.find_spec(_LIBRARY)
        if spec is None:
            raise ModuleNotFoundError(f"No module named {_LIBRARY!r}", name=_LIBRARY)
        sys.modules[_LIBRARY] = importlib.util.module_from_spec(spec)
    from tfmot_swd.cli.main import main as run

    return run()


@contextlib.contextmanager
def errors_aside() -> Iterator[None]:
    """Keeps the process's standard error to itself, and shows it after all where the block fails.

    Some lines come before TensorFlow reads its own log level, from C++, which knows nothing of `sys.stderr`.
    """
    sys.stderr.flush()
    original = os.dup(2)
    with tempfile.TemporaryFile() as aside:
        os.dup2(aside.fileno(), 2)
        try:
            yield
        except BaseException:
            aside.seek(0)
            os.write(original, aside.read())
            raise
        finally:
            os.dup2(original, 2)
            os.close(original)


if __name__ == "__main__":
    sys.exit(main())
