"""Messages of the library in the words of the shell."""

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tfmot_swd.cli.words import _NAMES, _SENTENCES, in_shell_words

PACKAGE = Path(__file__).parents[2] / "tfmot_swd"


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        (
            "recipe must be one of 'int8'. Received: recipe='int9'",
            "--recipes must be one of 'int8'. Received: --recipes=int9",
        ),
        (
            "If that is fine, pass tolerance=0.2 or min_agreement=0.6.",
            "If that is fine, give --tolerance=0.2 or --min_agreement=0.6.",
        ),
        ("pass representative_data, 100 samples", "give --data, 100 samples"),
        (
            "choose another backup_dir. Received: backup_dir='b', in use",
            "choose another --backup_dir. Received: --backup_dir=b, in use",
        ),
        (
            "skip names layers that are not there. Received: ['a']",
            "--skip names layers that are not there. Received: ['a']",
        ),
        (
            "register them with tfmot_swd.register_layer(MyLayer, macs=...). Received: scale",
            "register them with tfmot_swd.register_layer(MyLayer, macs=...) in a module, and name it with --modules. "
            "Received: scale",
        ),
        ("leave the layer out with skip.", "leave the layer out with --skip."),
        (
            "it still has macs=432. Give a smaller minimum or round_to. Received: macs=3",
            "it still has macs=432. Give a smaller --round_to. Received: --macs=3",
        ),
        ("Raise final_rate, or lower minimum or round_to.", "Give a larger --rate, or lower --round_to."),
        ("name it in float_layers or in int16_layers.", "name it in --float_layers or in --int16_layers."),
        (
            "have it in float (float_layers) or 16 bits (int16_layers).",
            "have it in float (tfmot-swd export --float_layers) or 16 bits (--int16_layers).",
        ),
        # Flags, paths and Python itself stay as they are.
        ("give --min_agreement=0.6", "give --min_agreement=0.6"),
        ("Received: '/tmp/skip=1/round_to/check_data.npz'", "Received: '/tmp/skip=1/round_to/check_data.npz'"),
        ("call ProgressiveRate(final_rate=0.5)", "call ProgressiveRate(final_rate=0.5)"),
        ("Skip it: no tolerance is left", "Skip it: no tolerance is left"),
    ],
)
def test_arguments_become_flags(said, shown):
    assert in_shell_words(said) == shown


@functools.cache
def messages() -> tuple[str, ...]:
    """Returns what the library could say: texts in its code, with {} for what is filled in."""
    return tuple(_texts())


def _texts() -> Iterator[str]:
    for path in PACKAGE.rglob("*.py"):
        # The commands themselves know the shell, and a page is read elsewhere.
        if path.relative_to(PACKAGE).parts[0] in ("cli", "report"):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
                node.value.value = None  # A docstring.
            elif isinstance(node, ast.JoinedStr):
                yield "".join(each.value if isinstance(each, ast.Constant) else "{}" for each in node.values)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value.strip():
                yield node.value


def test_no_message_names_an_argument_that_has_a_flag():
    names = "|".join(sorted(_NAMES))
    words = "|".join(sorted(name for name in _NAMES if "_" in name))
    # What is called in Python is written as such.
    left = re.compile(rf"(?<![-\w./(])(?:(?:{names})=(?!=)|(?:{words})\b(?!\.\w|[/(=]))")
    found = {text: left.findall(in_shell_words(text)) for text in messages() if len(text) > 25}
    assert len(found) > 500
    assert {text: each for text, each in found.items() if each} == {}


@pytest.mark.parametrize("pattern", [pattern for pattern, _ in _SENTENCES])
def test_every_sentence_that_is_told_otherwise_is_said(pattern):
    assert any(re.search(pattern, text) for text in messages())
