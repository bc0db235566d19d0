"""C source that gcc compiles, with the file's very bytes in it."""

from __future__ import annotations

import re
import shutil
import subprocess
import zlib

import pytest

from tests.killed import killed_at_each
from tfmot_swd.tflite.layout import read_layout
from tfmot_swd.tflite.micro.c_names import is_taken
from tfmot_swd.tflite.micro.c_source import _method, write_c_source
from tfmot_swd.tflite.micro.decode import encode_pruned
from tfmot_swd.tflite.micro.interpreter import run_micro

_MAIN = """
#include <stdint.h>
#include <stdio.h>
#include "net.h"
static int added;
static void add(void) { added++; }
static struct { void (*AddConv2D)(void), (*AddDepthwiseConv2D)(void), (*AddReshape)(void),
                (*AddFullyConnected)(void), (*AddDecode)(void); } resolver = { add, add, add, add, add };
static const int shape[] = NET_INPUT_0_SHAPE;
int main(void) {
  unsigned a = 1, b = 0;
  for (unsigned long i = 0; i < sizeof(net); i++) { a = (a + net[i]) % 65521; b = (b + a) % 65521; }
  NET_ADD_OPERATORS(resolver);
  printf("%lu %u %d %d %d %d %d %d %d %.9g %d\\n", (unsigned long)sizeof(net), b << 16 | a,
         (int)((uintptr_t)net % 16), NET_OPERATORS, added, NET_ARENA_BYTES, shape[1], NET_INPUT_0_ELEMENTS,
         NET_OUTPUT_0_ELEMENTS, NET_INPUT_0_SCALE, NET_INPUT_0_ZERO_POINT);
  return 0;
}
"""
_GCC = ("gcc", "-std=c11", "-Wall", "-Wextra", "-Wpedantic", "-Werror")


@pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is missing")
def test_gcc_compiles_it(pruned_file, pictures, tmp_path):
    content = encode_pruned(pruned_file).content
    file = tmp_path / "model.tflite"
    file.write_bytes(content)
    written = write_c_source(file, tmp_path / "firmware" / "net.c", name="net")
    folder = tmp_path / "firmware"
    assert sorted(path.name for path in folder.iterdir()) == ["net.c", "net.h"]
    assert written.source == folder / "net.c"
    assert written.operators == ("AddConv2D", "AddDepthwiseConv2D", "AddReshape", "AddFullyConnected", "AddDecode")
    (folder / "main.c").write_text(_MAIN)
    subprocess.run([*_GCC, "-c", "net.c"], cwd=folder, check=True)
    subprocess.run([*_GCC, "main.c", "net.o", "-o", "main"], cwd=folder, check=True)
    said = subprocess.run([folder / "main"], capture_output=True, text=True, check=True).stdout.split()
    (port,) = read_layout(content).inputs
    sizes = ["5", "5", str(written.arena_bytes), "12", "432", "10"]
    assert said[:9] == [str(len(content)), str(zlib.adler32(content)), "0", *sizes]
    assert float(said[9]) == pytest.approx(port.scale, rel=1e-7)
    assert int(said[10]) == port.zero_point
    assert written.arena_bytes % 16 == 0
    assert run_micro(content, {"image": pictures[:1]}, arena_bytes=written.arena_bytes).samples == 1

    # The header of one export beside the source of another.
    write_c_source(pruned_file, tmp_path / "other" / "net", name="net", arena_bytes=1000)
    shutil.copy(tmp_path / "other" / "net.h", folder / "net.h")
    mixed = subprocess.run([*_GCC, "-c", "net.c"], cwd=folder, capture_output=True, text=True)
    assert "net.c and net.h come from different exports" in mixed.stderr


def test_both_files_or_neither(pruned_file, tmp_path):
    (tmp_path / "net.h").mkdir()
    with pytest.raises(IsADirectoryError):
        write_c_source(pruned_file, tmp_path / "net", arena_bytes=1000)
    assert [path.name for path in tmp_path.iterdir()] == ["net.h"]


def test_files_that_are_killed_are_old_or_new_each_and_never_half(pruned_file, tmp_path):
    source, header = (tmp_path / f"net.{ending}" for ending in "ch")

    def write() -> None:
        write_c_source(pruned_file, tmp_path / "net", arena_bytes=1000, compare=False)

    def reset() -> None:
        source.write_text("old source")
        header.write_text("old header")

    write()
    whole, found = (source.read_text(), header.read_text()), set()
    for operation in killed_at_each(write, reset):
        now = source.read_text(), header.read_text()
        assert now[0] in ("old source", whole[0]), operation
        assert now[1] in ("old header", whole[1]), operation
        found.add(now)
        write()
        assert (source.read_text(), header.read_text()) == whole
        assert {each.name for each in tmp_path.iterdir()} == {"net.c", "net.h"}
    # Between the two moves, one of each: the checksums in them keep those from compiling together.
    assert len(found) == 3


@pytest.mark.parametrize("name", ["", "2net", "my-net", "_Net", "a__b", 'x"; evil'])
def test_names_that_are_no_identifiers(pruned_file, tmp_path, name):
    with pytest.raises(ValueError, match="name must be an identifier"):
        write_c_source(pruned_file, tmp_path / "net", name=name, arena_bytes=1000)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["int", "class", "co_await", "index", "sinf", "size_t"])
def test_names_that_c_or_its_library_has_are_refused(name, tmp_path):
    with pytest.raises(
        ValueError, match=rf"must be free in C and C\+\+: .*such as '{name}_model'. Received: name='{name}'$"
    ):
        write_c_source(b"", tmp_path / "net", name=name, arena_bytes=1000)
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(shutil.which("g++") is None, reason="g++ is missing")
def test_names_that_are_not_refused_are_free_and_those_that_are_seldom_so(tmp_path):
    candidates = [
        *("model", "net", "Run", "arena", "keyword_spotting", "time_series", "indexes", "signal", "filter"),
        *("index", "gamma", "y0", "remove", "select", "int", "restrict", "export", "uint8_t", "stdout", "round", "and"),
    ]
    headers = "".join(f"#include <{each}>\n" for each in ("cfloat", "cmath", "cstddef", "cstdint", "cstdio", "cstring"))
    lines = "".join(f'extern "C" {{ extern const unsigned char {each}[1]; }}\n' for each in candidates)
    (tmp_path / "names.cc").write_text(headers + lines)
    command = ["g++", "-std=c++17", "-fsyntax-only", "-fmax-errors=0", "names.cc"]
    said = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True).stderr
    numbers = {int(each) - 7 for each in re.findall(r"^names\.cc:(\d+):\d+: error", said, re.MULTILINE)}
    refused = {each for each in candidates if is_taken(each)}
    assert {"int", "index"} <= {candidates[each] for each in numbers} <= refused
    # A keyword of C alone.
    assert refused == {*candidates[9:]}


@pytest.mark.parametrize("stem", ['a"b', "a\\b", "a\nb", "a??(b", "a\x1bb"])
def test_file_names_that_break_the_source_are_refused(stem, pruned_file, tmp_path):
    with pytest.raises(ValueError, match="named in C source: choose names without.*Received: "):
        write_c_source(pruned_file, tmp_path / stem, arena_bytes=1000)
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is missing")
@pytest.mark.parametrize("stem", ["it's 50 % of it", "modèle", "a.b", "x*y>z<#"])
def test_other_file_names_compile(stem, pruned_file, tmp_path):
    written = write_c_source(pruned_file, tmp_path / stem, arena_bytes=1000)
    subprocess.run([*_GCC, "-c", written.source.name, "-o", "net.o"], cwd=tmp_path, check=True)


@pytest.mark.parametrize(
    ("tflite", "path", "error", "message"),
    [
        (5, "net", TypeError, "Received: file=int$"),
        ("absent.tflite", "net", FileNotFoundError, "no such file.*Received: file='absent.tflite'$"),
        (b"", 5, TypeError, "Received: path=5$"),
        (b"", b"net", TypeError, "Received: path=b'net'$"),
        (b"", "", ValueError, "must name the files.*Received: path=''$"),
        (b"", ".c", ValueError, "must name the files.*Received: path='.c'$"),
        (b"", "folder/", ValueError, "must name the files.*Received: path='folder/'$"),
    ],
)
def test_what_is_no_file(tflite, path, error, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=message):
        write_c_source(tflite, path)
    assert not list(tmp_path.iterdir())


def test_arena_that_is_no_number(pruned_file, tmp_path):
    with pytest.raises(ValueError, match="arena_bytes must be a positive int"):
        write_c_source(pruned_file, tmp_path / "net", arena_bytes=0)


@pytest.mark.parametrize(
    ("operator", "method"),
    [
        ("CONV_2D", "AddConv2D"),
        ("DEPTHWISE_CONV_2D", "AddDepthwiseConv2D"),
        ("SPACE_TO_BATCH_ND", "AddSpaceToBatchNd"),
        ("RELU6", "AddRelu6"),
        ("PADV2", "AddPadV2"),
        ("SPLIT_V", "AddSplitV"),
        ("BATCH_MATMUL", "AddBatchMatMul"),
        ("UNIDIRECTIONAL_SEQUENCE_LSTM", "AddUnidirectionalSequenceLSTM"),
        ("TFLM_DECODE", "AddDecode"),
    ],
)
def test_methods_of_the_resolver(operator, method):
    assert _method(operator) == method


@pytest.mark.parametrize("operator", ["FlexErf", "ATAN2", "DENSIFY"])
def test_operators_that_tflite_micro_lacks_are_refused(operator):
    with pytest.raises(ValueError, match=operator):
        _method(operator)
