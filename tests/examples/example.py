"""An example started from its command line, as a user would."""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def run_example(name: str, *arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", f"examples.{name}", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=dict(os.environ))


def check_refused(name: str, argument: str, message: str, output: Path, *others: str) -> None:
    """Checks that an example ends with a message, as a pattern, and leaves nothing behind; the argument comes last."""
    done = run_example(name, *others, argument, f"--output_dir={output}")
    assert done.returncode != 0
    said = " ".join((done.stdout + done.stderr).split())
    assert re.search(message, said), said
    assert not output.exists()
