"""The pages of docs/: their code runs as it stands, and what they name exists."""

import ast
import doctest
import importlib
import inspect
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import tfmot_swd
from tests.page_runner import blocks_of

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = {path.relative_to(DOCS).as_posix(): path for path in sorted(DOCS.rglob("*.md"))}
EVERY_PAGE = {"README.md": ROOT / "README.md", **PAGES}
MOST_WORDS_BEFORE_A_HEADING = 400
# Numbers with two decimals or more, and counts with a comma: what is asked for in a table has neither.
MEASURED = re.compile(r"(?<![\w.])\d[\d,]*\.\d{2,}(?![\w.])|(?<![\w.])\d{1,3}(?:,\d{3})+(?!\w)")
# By what a line of a cheat sheet may begin.
SHORT = ["channels", "costs", "keras3", "layers", "magnitude", "pruning", "tflite", "tflite.micro", "workflows"]


def test_the_code_of_every_page_runs_and_prints_what_the_page_says(tmp_path):
    pages = {name: blocks_of(path) for name, path in PAGES.items()}
    pages = {name: blocks for name, blocks in pages.items() if any(each.language == "python" for each in blocks)}
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
    runner = [sys.executable, str(ROOT / "tests" / "page_runner.py"), str(tmp_path / "outputs.json")]
    run = subprocess.run(
        [*runner, *(f"docs/{name}" for name in pages)], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    found = json.loads((tmp_path / "outputs.json").read_text())
    printed = {name: found[f"docs/{name}"]["outputs"] for name in pages}
    assert "\n".join(found[f"docs/{name}"]["error"] for name in pages).strip() == ""
    for name, blocks in pages.items():
        outputs = iter(printed[name])
        last = ""
        for block in blocks:
            if block.language == "python":
                last = next(outputs)
            elif block.language == "text":
                assert matches(block.text, last), f"{name}, line {block.line}: {last}"
    assert "prunable weights (2.00%)" in printed["quickstart.md"][0]
    assert (tmp_path / "quickstart" / "model.tflite").stat().st_size > 1000
    check_extending("".join(printed["extending.md"]), tmp_path / "extending")


def matches(wanted: str, printed: str) -> bool:
    """Returns whether a page's output is what was printed; `...` stands for anything, as in doctests."""
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    return doctest.OutputChecker().check_output(wanted.strip(), printed.strip(), flags)


def check_extending(printed: str, folder: Path) -> None:
    counts = [int(each) for each in re.findall(r"^(\d+)$", printed, re.MULTILINE)]
    # Filters of one's own layer before and after; parameters that the criterion left, of 826, by two ways.
    assert counts[:2] == [8, 5]
    assert len(counts) == 4
    assert all(0 < each <= 826 // 2 for each in counts[2:])
    # The layer of Keras 3: carried, and then with its pair without three channels.
    assert re.findall(r"^(?:GainConv2D.*|False)$", printed, re.MULTILINE) == ["GainConv2D", "False", "GainConv2D 5"]
    before_after = re.search(r"^([\d.]+) of ([\d.]+) microseconds$", printed, re.MULTILINE)
    assert float(before_after[1]) <= float(before_after[2]) / 2
    assert (folder / "net.tflite").exists()
    assert "weights that are zero" in (folder / "report.html").read_text()


def test_excerpts_are_those_of_their_files():
    excerpts = [each for path in PAGES.values() for each in blocks_of(path) if each.language == "py"]
    assert len(excerpts) == 2
    for each in excerpts:
        assert each.text in (ROOT / each.title).read_text()


@pytest.mark.parametrize("name", EVERY_PAGE)
def test_names_of_the_package_exist_and_calls_take_their_arguments(name):
    text = EVERY_PAGE[name].read_text()
    # Names, but neither registered ones (`tfmot_swd>…`) nor names in addresses.
    for dotted in sorted(set(re.findall(r"(?<![\w/.>-])tfmot_swd(?:\.\w+)+", text))):
        assert resolved(dotted) is not None, dotted
    for span in re.findall(r"(?<!`)`([^`\n]+)`(?!`)", text):
        for call in calls_in(span):
            function = next((each for each in map(resolved, spellings(ast.unparse(call.func))) if each), None)
            if function is not None:
                check_call(function, call, span)


def calls_in(code: str) -> list[ast.Call]:
    try:
        return [each for each in ast.walk(ast.parse(code)) if isinstance(each, ast.Call)]
    except SyntaxError:
        return []


def spellings(name: str) -> list[str]:
    first = name.partition(".")[0]
    rooms = ["tfmot_swd"] + [f"tfmot_swd.{each}" for each in SHORT]
    return [name] if first == "tfmot_swd" else [f"{room}.{name}" for room in rooms]


def resolved(dotted: str) -> Any:
    """Returns what a dotted name stands for; None where there is nothing of that name."""
    parts = dotted.split(".")
    found: Any = tfmot_swd
    for place, part in enumerate(parts[1:], 2):
        if inspect.ismodule(found) and not hasattr(found, part):
            try:
                importlib.import_module(".".join(parts[:place]))
            except ImportError:
                return None
        found = getattr(found, part, None)
    return found


def check_call(function: Any, call: ast.Call, span: str) -> None:
    names = {each.arg: None for each in call.keywords if each.arg}
    # `f(..., name=1)` leaves out what the page does not talk about.
    is_partial = any(isinstance(each, ast.Constant) and each.value is ... for each in call.args)
    signature = inspect.signature(function)
    try:
        bind = signature.bind_partial if is_partial or not call.args else signature.bind
        bind(*([] if is_partial else call.args), **names)
    except TypeError as error:
        pytest.fail(f"{span}: {error}")


def test_every_warning_of_the_package_is_explained():
    rows = re.findall(r"^\| `([^`]+)` \|", (DOCS / "logs.md").read_text(), re.MULTILINE)
    # Names of values have no spaces.
    begins = {each: re.compile(".*".join(map(re.escape, each.split("…")))) for each in rows if " " in each}
    assert len(begins) > 30
    trees = [ast.parse(path.read_text()) for path in sorted((ROOT / "tfmot_swd").rglob("*.py"))]
    texts = {text for tree in trees for text in texts_of(tree) if " " in text}
    unknown = {begin for begin, pattern in begins.items() if not any(map(pattern.match, texts))}
    assert unknown == set(), "no warning of the package begins so"
    for call in (node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Call)):
        is_warning = isinstance(call.func, ast.Attribute) and call.func.attr == "warn"
        if is_warning and any(isinstance(each, ast.Name) and each.id == "PruningWarning" for each in call.args[1:]):
            # A message that is put together elsewhere is not a text here, or begins with a value.
            for text in texts_of(call.args[0])[:1]:
                explained = any(pattern.match(text) for pattern in begins.values())
                assert explained or text.startswith("…: "), f"docs/logs.md does not explain: {text}"


def texts_of(tree: ast.AST) -> list[str]:
    """Returns the texts of a tree, the outer ones first, with … where values are filled in."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            found.append("".join(each.value if isinstance(each, ast.Constant) else "…" for each in node.values))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.append(node.value)
    return found


@pytest.mark.parametrize("name", PAGES)
def test_code_fits_beside_the_menus(name):
    for block in blocks_of(PAGES[name]):
        assert max(map(len, block.text.splitlines()), default=0) <= 90, f"line {block.line}"


@pytest.mark.parametrize("name", PAGES)
def test_the_first_screen_is_short(name):
    text = re.sub(r"^```.*?^```$", "", PAGES[name].read_text(), flags=re.MULTILINE | re.DOTALL)
    first = re.split(r"^##", text, flags=re.MULTILINE)[0]
    assert len(first.split()) <= MOST_WORDS_BEFORE_A_HEADING


def test_numbers_of_results_stand_in_the_files_that_their_sections_name():
    checked = 0
    for name, path in EVERY_PAGE.items():
        if not name.startswith("results/") and name not in ("README.md", "choosing.md"):
            continue
        for section in re.split(r"^##+ ", path.read_text(), flags=re.MULTILINE):
            # Texts of results say differences and ratios too; advice must quote what was measured.
            rows = re.findall(r".+" if name == "choosing.md" else r"^\|.*\|$", section, re.MULTILINE)
            numbers = [(each.replace(",", ""), row) for row in rows for each in MEASURED.findall(row)]
            known = numbers_of(sources_of(section))
            for number, row in numbers:
                assert number in known, f"{name}: {number} in {row}"
            checked += len(numbers)
    assert checked > 400


def sources_of(section: str) -> list[Path]:
    """Returns the result files that a section names in code, with or without their folder."""
    named = set(re.findall(r"`(?:research/results/)?(\w+\.(?:md|jsonl?))`", section))
    found = [ROOT / "research" / "results" / each for each in sorted(named)]
    if "`docs/run.json`" in section:
        found.append(DOCS / "run.json")
    return [each for each in found if each.exists()]


def numbers_of(sources: list[Path]) -> set[str]:
    """Returns the numbers of result files as tables write them: rounded, shares as percentages, seconds as ms."""
    found: set[str] = set()
    for path in sources:
        for each in re.findall(r"(?<![\w.])\d+(?:,\d{3})*(?:\.\d+)?(?:e-?\d+)?(?![\w.])", path.read_text()):
            value = float(each.replace(",", ""))
            scaled = [value] if path.suffix == ".md" else [value, 100 * value, 1000 * value]
            found |= {f"{each:.{digits}f}" for each in scaled for digits in range(4)}
    return found
