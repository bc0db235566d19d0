"""Runs the Python blocks of Markdown pages, and writes what each of them printed to a JSON file.

    python page_runner.py folder/outputs.json docs/quickstart.md docs/swd.md ...

One process for all pages, as most of the time would be spent on importing TensorFlow; a namespace and a working
directory for each page, `folder/quickstart` for example. Line numbers in tracebacks are those of the page.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import os
import re
import sys
import traceback
import warnings
from pathlib import Path
from typing import Any

_FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclasses.dataclass(frozen=True)
class Block:
    """A fenced block of a page.

    Args:
      language: of the fence.
      text: between the fences.
      line: number of lines above it.
      title: the file that an excerpt is of, as `title="..."` on the fence says; empty without.
    """

    language: str
    text: str
    line: int
    title: str = ""


def blocks_of(page: Path) -> list[Block]:
    """Returns the fenced blocks of a page, in order."""
    text = page.read_text()
    found = []
    for match in _FENCE.finditer(text):
        title = re.search(r'title="([^"]*)"', match[0].partition("\n")[0])
        found.append(Block(match[1], match[2], text.count("\n", 0, match.start(2)), title[1] if title else ""))
    return found


def run_page(page: Path) -> dict[str, Any]:
    """Runs the Python blocks of a page one after the other, and returns their outputs and the error."""
    blocks = [block for block in blocks_of(page) if block.language == "python"]
    # On disk, for whatever reads the source of a function.
    script = Path("page.py").absolute()
    script.write_text(_script(blocks))
    names: dict[str, Any] = {"__name__": "__main__", "__file__": str(script)}
    outputs: list[str] = []
    error = ""
    for block in blocks:
        printed = io.StringIO()
        try:
            with contextlib.redirect_stdout(printed):
                exec(compile("\n" * block.line + block.text, str(script), "exec"), names)
        except BaseException:
            error = traceback.format_exc()
            break
        outputs.append(printed.getvalue())
    return {"outputs": outputs, "error": error}


def _script(blocks: list[Block]) -> str:
    lines: list[str] = []
    for block in blocks:
        lines += [""] * (block.line - len(lines)) + block.text.splitlines()
    return "\n".join([*lines, ""])


def main(target: str, *pages: str) -> None:
    found = {}
    start = Path.cwd()
    import keras
    import tf_keras

    import tfmot_swd

    # Pages show code as it should be: it neither warns of a training that goes wrong nor uses old names.
    warnings.simplefilter("error", tfmot_swd.PruningWarning)
    warnings.filterwarnings("error", category=DeprecationWarning, module="__main__")
    for page in pages:
        path = (start / page).absolute()
        folder = Path(target).absolute().parent / path.stem
        folder.mkdir()
        with contextlib.chdir(folder):
            tf_keras.utils.set_random_seed(0)
            keras.utils.set_random_seed(0)
            found[page] = run_page(path)
    Path(target).write_text(json.dumps(found))


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    main(*sys.argv[1:])
