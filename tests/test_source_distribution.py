"""Contents of the distributions: in the source everything that tests need, in the wheel the package and no test."""

import configparser
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from setuptools import find_packages
from setuptools.command.egg_info import FileList

import tfmot_swd

ROOT = Path(__file__).parents[1]
# Of the repository, and of no use without it.
LEFT_OUT = (".ci/", ".github/", ".gitignore", ".pre-commit-config.yaml")
# Added by setuptools whatever MANIFEST.in says.
ALWAYS = {"LICENSE", "MANIFEST.in", "README.md", "pyproject.toml", "setup.cfg"}


@pytest.fixture(scope="module")
def tracked():
    command = ["git", "ls-files", "-z"]
    if not (ROOT / ".git").exists():
        pytest.skip("no checkout, from which the files of the project could be told")
    names = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    # One that is deleted and not committed yet is still in the index.
    return {name for name in names if name and (ROOT / name).exists()}


def settings():
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    return parser


def is_packaged(name):
    return name.startswith("tfmot_swd/") or name == "tfmot_swd_cli.py"


def test_a_source_distribution_has_every_file_of_the_project(tracked, monkeypatch):
    monkeypatch.chdir(ROOT)
    files = FileList()
    for line in (ROOT / "MANIFEST.in").read_text().splitlines():
        if line and not line.startswith("#"):
            files.process_template_line(line)
    held = {Path(name).as_posix() for name in files.files}
    wanted = {name for name in tracked if not name.startswith(LEFT_OUT) and not is_packaged(name)}
    assert wanted - held - ALWAYS == set()
    assert {name for name in held if "__pycache__" in name or "checkpoints" in name} == set()


def test_the_package_is_found_whole_and_alone(tracked):
    include = settings()["options.packages.find"]["include"].split()
    packages = {package.replace(".", "/") for package in find_packages(str(ROOT), include=include)}
    modules = {name for name in tracked if is_packaged(name) and name.endswith(".py")}
    assert packages == {name.rpartition("/")[0] for name in modules} - {""}
    data = settings()["options.package_data"]["tfmot_swd"].split()
    assert {f"tfmot_swd/{name}" for name in data} == {name for name in tracked if is_packaged(name)} - modules


def test_one_version_stands_everywhere():
    assert settings()["metadata"]["version"] == "attr: tfmot_swd._version.__version__"
    assert "version" not in tomllib.loads((ROOT / "pyproject.toml").read_text()).get("project", {})
    released = re.findall(r"^## \[(.+?)\](?: - (\d{4}-\d\d-\d\d))?$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert released[0] == ("Unreleased", "")
    assert released[1][0] == tfmot_swd.__version__
    cited = dict(re.findall(r"^(version|date-released): (\S+)$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE))
    assert cited == {"version": tfmot_swd.__version__, "date-released": released[1][1]}
    assert all(date for _, date in released[1:])
