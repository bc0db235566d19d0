"""Damaged copies of files: bytes, numbers and blocks that are others, parts that are missing, descriptions edited.

Every function takes a generator of random numbers and makes the same mutant of the same numbers.
"""

from __future__ import annotations

import contextlib
import copy
import io
import json
import random
import struct
import warnings
import zipfile
from collections.abc import Callable, Iterator
from typing import Any

import h5py

_NUMBERS = (0, 1, 2, 3, 5, 255, 65536, -1, -2, 2**31 - 1, -(2**31))
# What begins a table in an HDF5 file or an archive; the numbers behind it are offsets, sizes and counts.
_SIGNATURES = (b"PK\x01\x02", b"PK\x03\x04", b"PK\x05\x06", b"TREE", b"SNOD", b"HEAP", b"GCOL", b"\x89HDF")
_VALUES: tuple[Any, ...] = (
    *(None, True, -1, 0, 1, 2, 10**12, 0.5, "", "x", "Dense", "a", "\ud800"),
    *([], {}, [None], ["a", 0, 0], {"class_name": "Dense"}),
)
_WEIGHTS = "model.weights.h5"


def mutant(content: bytes, rng: random.Random, other: bytes | None = None) -> bytes:
    """Returns a file that is damaged in one way out of ten.

    Args:
        content: the whole file.
        rng: what chooses.
        other: another whole file of the same format, for mutants that begin as the one and end as the other.
    """
    changed = bytearray(content)
    kinds = [_bytes, _bits, _numbers, _small_numbers, _inflated, _copied, _swapped, _cut, _doubled, _after_signature]
    if other is not None:
        kinds.append(lambda changed, rng: _spliced(changed, rng, other))
    rng.choice(kinds)(changed, rng)
    return bytes(changed)


def _place(changed: bytearray, rng: random.Random, size: int) -> int:
    """Returns where so many bytes can be written, behind what tells the format as a rule."""
    least = 8 if rng.random() < 0.95 else 0
    return rng.randrange(least, max(least + 1, len(changed) - size))


def _bytes(changed: bytearray, rng: random.Random) -> None:
    for _ in range(rng.randint(1, 8)):
        changed[_place(changed, rng, 1)] = rng.randrange(256)


def _bits(changed: bytearray, rng: random.Random) -> None:
    for _ in range(rng.randint(1, 8)):
        changed[_place(changed, rng, 1)] ^= 1 << rng.randrange(8)


def _numbers(changed: bytearray, rng: random.Random) -> None:
    for _ in range(rng.randint(1, 4)):
        place = _place(changed, rng, 4) // 4 * 4
        number = rng.choice((*_NUMBERS, rng.randrange(len(changed))))
        changed[place : place + 4] = struct.pack("<i", number)


def _small_numbers(changed: bytearray, rng: random.Random) -> None:
    for _ in range(rng.randint(1, 3)):
        place = _place(changed, rng, 2) // 2 * 2
        changed[place : place + 2] = struct.pack("<H", rng.randrange(40))


def _inflated(changed: bytearray, rng: random.Random) -> None:
    """Makes numbers larger that are there: sizes and counts, if they are any."""
    for _ in range(rng.randint(1, 3)):
        place = _place(changed, rng, 4) // 4 * 4
        number = int.from_bytes(changed[place : place + 4], "little")
        larger = min(2**32 - 1, max(number, 1) << rng.randrange(1, 24))
        changed[place : place + 4] = larger.to_bytes(4, "little")


def _copied(changed: bytearray, rng: random.Random) -> None:
    size = rng.randrange(1, 64)
    source, place = _place(changed, rng, size), _place(changed, rng, size)
    changed[place : place + size] = changed[source : source + size]


def _swapped(changed: bytearray, rng: random.Random) -> None:
    size = rng.randrange(1, max(2, len(changed) // 8))
    first, second = _place(changed, rng, size), _place(changed, rng, size)
    one, two = changed[first : first + size], changed[second : second + size]
    changed[first : first + size], changed[second : second + size] = two, one


def _cut(changed: bytearray, rng: random.Random) -> None:
    del changed[rng.randrange(8, len(changed)) :]


def _doubled(changed: bytearray, rng: random.Random) -> None:
    size = rng.randrange(1, max(2, len(changed) // 4))
    place = _place(changed, rng, size)
    changed[place:place] = changed[place : place + size]


def _after_signature(changed: bytearray, rng: random.Random) -> None:
    places = [place for each in _SIGNATURES for place in _each(bytes(changed), each)]
    if not places:
        _numbers(changed, rng)
        return
    for _ in range(rng.randint(1, 3)):
        place = min(rng.choice(places) + 4 + rng.randrange(60), len(changed) - 8)
        size = rng.choice((1, 2, 4, 8))
        number = rng.choice((*_NUMBERS, rng.randrange(len(changed)), rng.choice(places)))
        changed[place : place + size] = (number % 2 ** (8 * size)).to_bytes(size, "little")


def _each(content: bytes, part: bytes) -> Iterator[int]:
    place = content.find(part)
    while place >= 0:
        yield place
        place = content.find(part, place + 1)


def _spliced(changed: bytearray, rng: random.Random, other: bytes) -> None:
    place = rng.randrange(8, min(len(changed), len(other)))
    changed[place:] = other[place:]


def mutant_json(config: Any, rng: random.Random) -> Any:
    """Returns a description with some entries that are others: values, copies of other parts, or missing."""
    config = json.loads(json.dumps(config))
    for _ in range(rng.randint(1, 3)):
        places = list(_places(config))
        holder, key = rng.choice(places)
        other, other_key = rng.choice(places)
        kind = rng.randrange(5)
        with contextlib.suppress(KeyError, IndexError):
            if kind == 0:
                del holder[key]
            elif kind == 1:
                holder[key] = json.loads(json.dumps(other[other_key]))
            elif kind == 2 and isinstance(holder[key], int):
                holder[key] *= 10 ** rng.randrange(1, 13)
            else:
                # A copy: what is put in can be changed by the next.
                holder[key] = copy.deepcopy(rng.choice(_VALUES))
    return config


def mutant_text(text: str | bytes, rng: random.Random) -> bytes:
    """Returns JSON with other entries, or text that is none any more, or goes deeper than anybody reads."""
    kind = rng.randrange(10)
    if kind == 0:
        return mutant(text if isinstance(text, bytes) else text.encode(), rng)
    changed = json.dumps(mutant_json(json.loads(text), rng))
    if kind == 1:
        depth = rng.choice((100, 1000, 100_000))
        changed = changed.replace('"name"', f'"deep": {"[" * depth}{"]" * depth}, "name"', 1)
    return changed.encode()


def _places(node: Any) -> Iterator[tuple[Any, Any]]:
    keys = node.keys() if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ()
    for key in keys:
        yield node, key
        yield from _places(node[key])


def mutant_archive(archive: bytes, rng: random.Random) -> bytes:
    """Returns a `.keras` file whose parts are missing, doubled, renamed, packed otherwise, or of other bytes."""
    with zipfile.ZipFile(io.BytesIO(archive)) as source:
        parts = [(name, source.read(name)) for name in source.namelist()]
    number = rng.randrange(len(parts))
    name, value = parts[number]
    packing = zipfile.ZIP_STORED
    match rng.randrange(5):
        case 0:
            del parts[number]
        case 1:
            parts.append((name, mutant(value, rng)))
        case 2:
            parts[number] = (rng.choice([each for each, _ in parts]), value)
        case 3:
            parts[number] = (name, mutant(value, rng))
            packing = rng.choice((zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA))
        case 4:
            parts[number] = (name, rng.choice((b"", bytes(2**20), b"[]", b"{}", b"null")))
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", packing) as target:
        for name, value in parts:
            # Names that come twice are meant.
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                target.writestr(name, value)
    return content.getvalue()


def replaced(archive: bytes, name: str, change: Callable[[bytes], bytes]) -> bytes:
    """Returns an archive in which one part is another."""
    content = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(archive)) as source, zipfile.ZipFile(content, "w") as target:
        for each in source.namelist():
            value = source.read(each)
            target.writestr(each, change(value) if each == name else value)
    return content.getvalue()


def described(whole: bytes, ending: str, rng: random.Random) -> bytes:
    """Returns a `.keras` or `.h5` file with another description of the model."""
    if ending == ".keras":
        part = rng.choice(("config.json", "config.json", "config.json", "metadata.json"))
        return replaced(whole, part, lambda text: mutant_text(text, rng))
    content = io.BytesIO(whole)
    with h5py.File(content, "r+") as file:
        # Texts end at a zero there.
        file.attrs["model_config"] = mutant_text(file.attrs["model_config"], rng).replace(b"\0", b" ")
    return content.getvalue()


def weighted(whole: bytes, ending: str, rng: random.Random) -> bytes:
    """Returns a `.keras` or `.h5` file with other weights."""
    if ending == ".keras":
        return replaced(whole, _WEIGHTS, lambda weights: mutant(weights, rng))
    content = io.BytesIO(whole)
    with h5py.File(content, "r+") as file:
        names: list[str] = []
        file["model_weights"].visit(names.append)
        name = rng.choice(names)
        if rng.random() < 0.5:
            del file["model_weights"][name]
        else:
            file["model_weights"][name].attrs["weight_names"] = rng.choice(("x", 3, ["a", "b"]))
    return content.getvalue()
