"""MkDocs hooks: the plots of research/results/ become part of the site, where pages link to them as on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

RESULTS = Path("research") / "results"


def on_files(files: Files, config: Any, **_: Any) -> Files:
    """Adds the plots to the files of the site."""
    for plot in sorted((Path(config.config_file_path).parent / RESULTS).glob("*.png")):
        files.append(File.generated(config, (RESULTS / plot.name).as_posix(), abs_src_path=str(plot)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Points links to them into the site, one folder below where they lead on disk."""
    above = "../" * page.file.src_uri.count("/")
    return markdown.replace(f"](../{above}{RESULTS.as_posix()}/", f"]({above}{RESULTS.as_posix()}/")
