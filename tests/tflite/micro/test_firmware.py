"""Firmware projects: main.cc is compiled against stand-ins for TFLite Micro's headers, and runs."""

from __future__ import annotations

import re
import shutil
import subprocess
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.killed import killed_at_each
from tfmot_swd.tflite.interpreter import quantize
from tfmot_swd.tflite.layout import Port, read_layout
from tfmot_swd.tflite.micro import firmware_program, golden
from tfmot_swd.tflite.micro.c_source import CSource, _header_text, _source_text
from tfmot_swd.tflite.micro.firmware import FILES, FirmwareProject, write_firmware_project
from tfmot_swd.tflite.micro.golden import Golden, GoldenArray, make_golden
from tfmot_swd.tflite.micro.interpreter import run_micro
from tfmot_swd.tflite.result import ExportError

_STUB = Path(__file__).with_name("tflm_stub")
_STRICT = ("-Wall", "-Wextra", "-Werror")
needs_compiler = pytest.mark.skipif(
    shutil.which("gcc") is None or shutil.which("g++") is None, reason="gcc or g++ is missing"
)


def build(folder: Path, *options: str) -> None:
    for part in ("model.c", "golden.c"):
        subprocess.run(["gcc", "-std=c11", *_STRICT, *options, "-c", part], cwd=folder, check=True)
    command = ["g++", "-std=c++17", *_STRICT, *options, f"-I{_STUB}", "main.cc", "model.o", "golden.o", "-o", "main"]
    subprocess.run(command, cwd=folder, check=True)


def run(folder: Path) -> tuple[int, list[str]]:
    done = subprocess.run(["./main"], cwd=folder, capture_output=True, text=True)
    return done.returncode, done.stdout.splitlines()


def prepare(folder: Path, inputs: list[np.ndarray], outputs: list[np.ndarray], arena: int = 100) -> None:
    """Writes what the stand-in for the interpreter answers: arrays (sample, ...) as they are stored."""
    arrays = [*inputs, *outputs]
    counts = [arena, len(inputs), len(outputs), len(arrays[0])]
    sizes = [each[0].nbytes for each in arrays]
    values = [each[sample].tobytes() for sample in range(len(arrays[0])) for each in arrays]
    (folder / "prepared.bin").write_bytes(np.array([*counts, *sizes], "<i4").tobytes() + b"".join(values))


def stored(content: bytes, pictures: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns input and output of a file with one of each, as they are stored."""
    layout, found = read_layout(content), run_micro(content, {"image": pictures})
    return quantize(pictures, layout.inputs[0].detail), quantize(found.outputs["scores"], layout.outputs[0].detail)


@pytest.fixture(scope="module")
def project(pruned_file: bytes, pictures: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> FirmwareProject:
    folder = tmp_path_factory.mktemp("project") / "firmware"
    return write_firmware_project(pruned_file, folder, pictures, name="net", samples=3)


@needs_compiler
def test_the_self_test_passes_and_a_corrupted_value_fails_it(project, pruned_file, pictures, tmp_path):
    folder = Path(shutil.copytree(project.folder, tmp_path / "copy"))
    given, wanted = stored(pruned_file, pictures)
    prepare(folder, [given], [wanted], arena=project.arena_bytes)
    build(folder)
    passed = [f"PASS: 3 of 3 samples, {project.arena_bytes} of {project.arena_bytes} bytes of the arena used"]
    assert run(folder) == (0, ["output 0: largest difference 0, 0 allowed (steps)", *passed])

    # An interpreter that is off by two steps in one value of the last sample that is kept.
    off = wanted.copy()
    off[39, 4] += 2 if off[39, 4] < 100 else -2
    prepare(folder, [given], [off], arena=project.arena_bytes)
    code, said = run(folder)
    assert (code, said[0]) == (1, "output 0: largest difference 2, 0 allowed (steps)")
    assert said[1].startswith("FAIL: 2 of 3 samples, ")
    prepare(folder, [given], [wanted], arena=project.arena_bytes + 1)
    assert run(folder)[1][-1].startswith("FAIL: no memory or no kernel")

    # Golden data that were changed: the output of the first sample, then an input.
    source = (folder / "golden.c").read_text()
    prepare(folder, [given], [wanted], arena=project.arena_bytes)
    first = wanted[0, 0]
    before, after = source.split("net_golden_output_0", 1)
    (folder / "golden.c").write_text(
        before + "net_golden_output_0" + after.replace(f" {first},", f" {first - 1 if first > 0 else first + 1},", 1)
    )
    build(folder)
    code, said = run(folder)
    assert (code, said[0]) == (1, "output 0: largest difference 1, 0 allowed (steps)")
    assert said[1].startswith("FAIL: 2 of 3 samples, ")
    build(folder, "-DNET_GOLDEN_OUTPUT_0_TOLERANCE=1")
    assert run(folder)[0] == 0
    changed = given[0, 0, 0, 0]
    (folder / "golden.c").write_text(
        source.replace(f" {changed},", f" {changed - 1 if changed > 0 else changed + 1},", 1)
    )
    build(folder)
    assert run(folder) == (1, ["FAIL: Invoke() failed"])


@needs_compiler
def test_files_of_two_exports_do_not_compile_together(project, float_file, pictures, tmp_path):
    other = write_firmware_project(float_file, tmp_path / "other", pictures, name="net", samples=3)
    for name in ("model.h", "golden.h"):
        folder = Path(shutil.copytree(project.folder, tmp_path / name))
        shutil.copy(other.folder / name, folder / name)
        command = ["g++", "-std=c++17", f"-I{_STUB}", "-fsyntax-only", "main.cc"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        assert "main.cc, model.h and golden.h come from different exports" in done.stderr
    shutil.copy(other.folder / "golden.c", folder / "golden.c")
    shutil.copy(project.folder / "golden.h", folder / "golden.h")
    done = subprocess.run(["gcc", "-fsyntax-only", "golden.c"], cwd=folder, capture_output=True, text=True)
    assert "golden.c and golden.h come from different exports" in done.stderr


@needs_compiler
@pytest.mark.parametrize(
    ("found", "said", "code"),
    [
        ([1.0, 2.00005], "output 1: largest difference 5.01e-05, 1.00e-04 allowed", 0),
        ([1.0, 2.001], "output 1: largest difference 1.00e-03, 1.00e-04 allowed", 1),
        ([1.0, np.nan], "output 1: largest difference not finite, 1.00e-04 allowed", 1),
        ([-np.inf, 2.0], "output 1: largest difference not finite, 1.00e-04 allowed", 1),
    ],
)
def test_every_dtype_by_hand(found, said, code, every_dtype):
    folder, inputs, outputs = every_dtype
    prepare(folder, inputs, [outputs[0], np.array([found], np.float32), *outputs[2:]])
    assert (run(folder)[0], run(folder)[1][1]) == (code, said)


@pytest.fixture(scope="module")
def every_dtype(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[np.ndarray], list[np.ndarray]]:
    """A program of three inputs and five outputs, built of arrays that no file made."""

    def port(name: str, position: int, array: np.ndarray) -> Port:
        return Port(name, position, (1, array.shape[1]), array.dtype, 0.0, 0)

    inputs = [np.array([[-128, 127]], "int8"), np.array([[0.1, -3e-9]], "float32"), np.array([[2**40]], "int64")]
    outputs = [
        np.array([[-32768, 32767]], "int16"),
        np.array([[1.0, 2.0]], "float32"),
        np.array([[True, False]], "bool"),
        np.array([[-(2**31), 7]], "int32"),
        np.array([[255]], "uint8"),
    ]
    made = Golden(
        tuple(GoldenArray(port(f"in{each}", each, array), array) for each, array in enumerate(inputs)),
        tuple(
            GoldenArray(port(f"out{each}", each, array), array, 1e-4 * (array.dtype.kind == "f"))
            for each, array in enumerate(outputs)
        ),
    )
    content = b"no file"
    folder = tmp_path_factory.mktemp("by_hand")
    ports = [tuple(each.port for each in group) for group in (made.inputs, made.outputs)]
    source = CSource(folder / "model.c", folder / "model.h", "net", len(content), 112, ("AddConv2D",), *ports)
    checksum = zlib.crc32(content)
    (folder / "model.c").write_text(_source_text(source, content))
    (folder / "model.h").write_text(_header_text(source, checksum))
    (folder / "golden.c").write_text(golden.source_text(made, "net", checksum))
    (folder / "golden.h").write_text(golden.header_text(made, "net", checksum))
    (folder / "main.cc").write_text(firmware_program.program_text(source, made, checksum))
    build(folder, "-O2")
    return folder, inputs, outputs


@needs_compiler
def test_the_arena_is_of_the_size_that_was_asked_for_whatever_the_name(pruned_file, pictures, tmp_path):
    # In model.h, ARENA_BYTES says how long this model is.
    written = write_firmware_project(pruned_file, tmp_path, pictures[:1], name="arena", arena_bytes=9008, compare=False)
    given, wanted = stored(pruned_file, pictures[:1])
    assert written.model_bytes != 9008
    for options, size in (((), 9008), (("-DSELF_TEST_ARENA_BYTES=9024",), 9024)):
        build(tmp_path, *options)
        for needed, code in ((size, 0), (size + 1, 1)):
            prepare(tmp_path, [given], [wanted], arena=needed)
            assert run(tmp_path)[0] == code


def test_what_is_written_and_said(project):
    assert sorted(path.name for path in project.folder.iterdir()) == sorted(FILES) == sorted(project.files)
    assert (project.samples, project.golden_bytes) == (3, 3 * (12 * 12 * 3 + 10))
    assert project.tolerances == {"scores": 0.0}
    notes = (project.folder / "README.md").read_text()
    for number in (f"{project.model_bytes:,}", f"{project.golden_bytes:,}", f"{project.arena_bytes} bytes of RAM"):
        assert number in notes
    for text in (notes, str(project)):
        assert f"{project.golden_bytes:,}" in text
        assert "@" not in text
    assert not re.search(r"@\w+@", "".join((project.folder / each).read_text() for each in FILES))
    assert project.to_dict()["golden_bytes"] == project.golden_bytes


def test_golden_data_are_spread_evenly_and_few(pruned_file, float_file, pictures, monkeypatch):
    layout = read_layout(pruned_file)
    made = make_golden(pruned_file, layout, {"image": pictures})
    given, wanted = stored(pruned_file, pictures)
    rows = [0, 13, 26, 39]
    np.testing.assert_array_equal(made.inputs[0].values, given[rows].reshape(4, -1))
    np.testing.assert_array_equal(made.outputs[0].values, wanted[rows])
    assert made.outputs[0].tolerance == 0
    monkeypatch.setattr(golden, "MOST_BYTES", 2 * 4 * (432 + 10))
    made = make_golden(float_file, read_layout(float_file), pictures)
    y = made.outputs[0].values
    assert (made.samples, made.bytes) == (2, 2 * 4 * (432 + 10))
    assert made.outputs[0].tolerance == pytest.approx(1e-4 * (max(y.max(), 0) - min(y.min(), 0)))
    # A picture alone is larger than that.
    monkeypatch.setattr(golden, "MOST_BYTES", 100)
    assert make_golden(float_file, read_layout(float_file), pictures[:1]).samples == 1


def test_a_project_is_replaced_and_other_folders_are_refused(project, float_file, pictures, tmp_path):
    folder = Path(shutil.copytree(project.folder, tmp_path / "copy"))
    (folder / ".model.c.0123abcd.tmp").write_text("left by a process that was killed")
    written = write_firmware_project(float_file, folder, pictures[:1])
    assert (written.samples, written.model_bytes) == (1, len(float_file))
    assert sorted(path.name for path in folder.iterdir()) == sorted(FILES)
    (folder / "notes.txt").write_text("mine")
    before = (folder / "model.h").read_text()
    with pytest.raises(FileExistsError, match=r"choose a new folder. Received: folder=.*, with notes.txt$"):
        write_firmware_project(float_file, folder, pictures[:1], name="other")
    assert (folder / "model.h").read_text() == before
    (folder / "notes.txt").unlink()
    (folder / "main.cc").write_text("int main() { return 0; }  // mine")
    with pytest.raises(FileExistsError, match=r"with main.cc$"):
        write_firmware_project(float_file, folder, pictures[:1])
    with pytest.raises(NotADirectoryError, match="folder is a file"):
        write_firmware_project(float_file, folder / "main.cc", pictures[:1])


def test_a_killed_process_leaves_whole_files(project, tmp_path, monkeypatch, pruned_file, pictures):
    folder = tmp_path / "firmware"
    kept = make_golden(pruned_file, read_layout(pruned_file), pictures, 3)
    monkeypatch.setattr(golden, "make_golden", lambda *_: kept)
    whole = {name: (project.folder / name).read_text() for name in FILES}

    def write() -> None:
        write_firmware_project(pruned_file, folder, pictures, "net", 3, project.arena_bytes, compare=False)

    def reset() -> None:
        shutil.rmtree(folder, ignore_errors=True)

    states = set()
    for operation in killed_at_each(write, reset):
        there = {name for name in FILES if (folder / name).exists()}
        states.add(len(there))
        for name in there - {"README.md"}:
            assert (folder / name).read_text() == whole[name], operation
    assert {0, 3, 7} <= states
    write()
    assert sorted(path.name for path in folder.iterdir()) == sorted(FILES)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"name": "a-b"}, ValueError, "identifier"),
        ({"name": "Self_Test"}, ValueError, "which the program uses. Received: name='Self_Test'$"),
        ({"name": "main"}, ValueError, "which the program uses. Received: name='main'$"),
        ({"samples": 0}, ValueError, "samples must be 1 or more. Received: samples=0$"),
        ({"samples": 1.5}, TypeError, "samples must be an int"),
        ({"data": {"x": np.zeros((1, 12, 12, 3))}}, ValueError, r"named \['image'\]. Received: \['x'\]$"),
        ({"data": np.zeros((1, 5))}, ValueError, "must have shape"),
        ({"data": "many"}, TypeError, "must be an array of numbers"),
        ({"folder": ""}, ValueError, "folder must name"),
        ({"folder": 5}, TypeError, "Received: path=5$"),
        ({"file": b"none"}, ValueError, "TFLite"),
    ],
)
def test_bad_input_is_refused_and_nothing_written(
    options, error, message, pruned_file, pictures, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    given: dict[str, Any] = {
        "file": pruned_file,
        "folder": "firmware",
        "data": pictures,
        "arena_bytes": 9000,
        **options,
    }
    with pytest.raises(error, match=message):
        write_firmware_project(**given, compare=False)
    assert not list(tmp_path.iterdir())


def test_values_that_are_not_finite_are_no_golden_data(float_file, pictures):
    broken = pictures[:1].copy()
    broken[0, 0, 0, 0] = np.nan
    with pytest.raises(ExportError, match=r"inputs are. Received: 1 of 432 values of input 'image'"):
        make_golden(float_file, read_layout(float_file), broken)
