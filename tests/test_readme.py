"""README: short, with the quick start that a test of the documentation runs, and links that lead somewhere."""

import re
from pathlib import Path

from tests.page_runner import blocks_of

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"


def test_it_is_short():
    assert len(README.read_text().splitlines()) <= 120


def test_its_code_is_the_quick_start_of_the_documentation():
    code = [each for each in blocks_of(README) if each.language == "python"]
    quick_start = [each for each in blocks_of(ROOT / "docs" / "quickstart.md") if each.language == "python"]
    assert [each.text for each in code] == [quick_start[0].text]
    assert len(code[0].text.strip().splitlines()) <= 16
    assert "tf_keras" not in code[0].text


def test_its_links_lead_somewhere():
    links = re.findall(r"\]\(([^)]+)\)", README.read_text())
    here = [each for each in links if "://" not in each]
    assert len(here) > 10
    for each in here:
        assert (ROOT / each).exists(), each
