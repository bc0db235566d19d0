"""Worker process that reads a whole HDF5 file: a damaged one can hang or crash libhdf5.

Called as a script by `model_copy.py`, so that it starts without TensorFlow; imports nothing of this package. It is
given the most bytes that the file may declare, the file and, where that is an archive, the name of the part in HDF5.
It prints one JSON object: `declared` bytes; or `outside`, what takes its data from elsewhere; or `damaged`, and how.
"""

from __future__ import annotations

import contextlib
import io
import json
import math
import signal
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py

# Seconds of processor time, which a busy machine does not stretch, for what takes milliseconds in a whole file; and how
# many bytes are read in one of them at least, compressed ones included.
_SECONDS, _BYTES_A_SECOND = 1.0, 2**25


def _limit(count: int) -> None:
    """Ends this process by SIGPROF unless it ends, or comes here again, within the time that so many bytes take."""
    signal.setitimer(signal.ITIMER_PROF, _SECONDS + count / _BYTES_A_SECOND)


def _objects(file: Any) -> Iterator[Any]:
    """Yields each group and dataset once, without following a link.

    Raises:
        _OutsideError: a link, or data that are not in the file.
    """
    seen, waiting = set(), [file["/"]]
    while waiting:
        each = waiting.pop()
        address = h5py.h5o.get_info(each.id).addr
        if address in seen:
            continue
        seen.add(address)
        yield each
        if isinstance(each, h5py.Group):
            for name in each:
                if not isinstance(each.get(name, getlink=True), h5py.HardLink):
                    raise _OutsideError(f"a link at {each.name}/{name}")
                waiting.append(each[name])
        elif isinstance(each, h5py.Dataset) and (each.external or each.is_virtual):
            raise _OutsideError(f"the data of {each.name}")


def _declared(each: Any) -> int:
    """Returns the bytes of an object's values and attributes."""
    held = [each.attrs.get_id(name) for name in each.attrs]
    if isinstance(each, h5py.Dataset):
        held.append(each.id)
    # What has no values has no shape.
    return sum(math.prod(one.shape) * one.get_type().get_size() for one in held if one.shape is not None)


def _read(each: Any) -> None:
    """Reads the contents of an object; failures are left to the code that reads them later."""
    for name in each.attrs:
        with contextlib.suppress(Exception):
            each.attrs[name]
    if isinstance(each, h5py.Dataset):
        with contextlib.suppress(Exception):
            each[()]


class _OutsideError(Exception):
    """A file that takes data from elsewhere."""


def look_into(most: int, path: Path, member: str | None) -> dict[str, Any]:
    """Returns findings on a file, after reading all of it where it declares at most `most` bytes."""
    _limit(path.stat().st_size)
    content: Any = path
    if member is not None:
        with zipfile.ZipFile(path) as archive:
            content = io.BytesIO(archive.read(member))
    try:
        with h5py.File(content, "r") as file:
            objects = list(_objects(file))
            declared = sum(map(_declared, objects))
            if declared <= most:
                _limit(declared)
                for each in objects:
                    _read(each)
    except _OutsideError as error:
        return {"outside": str(error)}
    except Exception as error:
        return {"damaged": f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"}
    return {"declared": declared}


def main() -> None:
    # What a parent ignores stays ignored.
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    most, path, *member = sys.argv[1:]
    print(json.dumps(look_into(int(most), Path(path), next(iter(member), None))))


if __name__ == "__main__":
    main()
