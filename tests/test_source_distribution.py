"""What a source distribution holds: all that is installed, and of the tests none rather than some."""

import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import tfmot_swd

ROOT = Path(__file__).parents[1]


def test_a_source_distribution_has_the_whole_package_and_no_test(tmp_path):
    source = tmp_path / "source"
    for name in ("MANIFEST.in", "LICENSE", "README.md", "pyproject.toml", "setup.cfg", "tfmot_swd_cli.py"):
        source.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, source / name)
    shutil.copytree(ROOT / "tfmot_swd", source / "tfmot_swd", ignore=shutil.ignore_patterns("__pycache__"))
    (source / "tests" / "cli").mkdir(parents=True)
    for name in ("tests/test_some.py", "tests/cli/test_other.py", "tests/conftest.py"):
        (source / name).touch()
    code = f"import setuptools.build_meta as backend; backend.build_sdist({str(tmp_path)!r})"
    subprocess.run([sys.executable, "-c", code], cwd=source, capture_output=True, check=True)
    (archive,) = tmp_path.glob("*.tar.gz")
    assert archive.name == f"tfmot_swd-{tfmot_swd.__version__}.tar.gz"
    with tarfile.open(archive) as held:
        names = {name.partition("/")[2] for name in held.getnames()}
    package = {
        path.relative_to(ROOT).as_posix() for path in (ROOT / "tfmot_swd").rglob("*.py*") if path.suffix != ".pyc"
    }
    assert package | {"tfmot_swd/py.typed", "tfmot_swd_cli.py", "README.md", "LICENSE", "setup.cfg"} <= names
    assert not {name for name in names if name.startswith("tests")}
