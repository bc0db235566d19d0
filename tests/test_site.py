"""The documentation site: it builds without a warning, needs no network, and has every public name."""

import html.parser
import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import tfmot_swd

ROOT = Path(__file__).parents[1]
ROOMS = ["channels", "costs", "keras3", "layers", "magnitude", "pgp", "pruning", "report", "swd", "tflite", "tflite.micro"]


class Page(html.parser.HTMLParser):
    """What a page loads, and its anchors.

    Attributes:
      loaded: addresses of scripts, styles, images and the like; links to click are not among them.
      anchors: ids of its elements.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.anchors: set[str] = set()
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.anchors.add(found.get("id") or "")
        self.loaded += [found[name] or "" for name in ("src", "srcset", "data", "poster") if name in found]
        if tag == "link":
            self.loaded.append(found.get("href") or "")


def test_the_site_builds_works_offline_and_has_every_public_name(tmp_path):
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    pages = {path.relative_to(tmp_path).as_posix(): Page(path) for path in sorted(tmp_path.rglob("*.html"))}
    assert len(pages) > 30
    for name, page in pages.items():
        assert page.loaded, name
        for address in page.loaded:
            assert not re.match(r"(\w+:)?//", address), f"{name} loads {address}"
            # An address without a scheme is a file of the site.
            assert address.startswith("data:") or name == "404.html" or (tmp_path / name).parent.joinpath(
                address.partition("?")[0].partition("#")[0]
            ).exists(), f"{name} loads {address}, which is not there"
    for style in tmp_path.rglob("*.css"):
        assert not re.search(r"(@import|url\()\s*[\"']?(\w+:)?//", style.read_text()), style
    # The theme would load a library for these.
    assert not [path for path in tmp_path.rglob("*.html") if 'class="mermaid"' in path.read_text()]

    anchors = set().union(*(page.anchors for page in pages.values()))
    front = set(tfmot_swd.__all__) - set(ROOMS)
    assert {name for name in front if f"tfmot_swd.{name}" not in anchors} == set()
    for room in ROOMS:
        names = importlib.import_module(f"tfmot_swd.{room}").__all__
        text = (ROOT / "docs" / "api" / f"{room.replace('.', '_')}.md").read_text()
        missing = [name for name in names if f"tfmot_swd.{room}.{name}" not in anchors]
        assert [name for name in missing if f"(index.md#tfmot_swd.{name})" not in text] == [], room
