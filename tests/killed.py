"""Forked processes, and such that are killed in front of each of their file operations in turn.

They start at once, and must not use TensorFlow, whose threads they do not have.
"""

import contextlib
import gc
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from typing import Any

Tell = Callable[[str], None]
# What changes a directory or a file in it, as Python names it to audit hooks.
_OPERATIONS = frozenset(
    {
        *("open", "os.chmod", "os.link", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.truncate"),
        *("fcntl.flock", "fcntl.lockf"),
    }
)
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


def forked(act: Callable[[Tell], Any]) -> tuple[int, str]:
    """Runs something in a forked process.

    Args:
        act: gets a function that tells its caller something.

    Returns:
        The exit code, 1 where `act` raises and minus the signal where there was one; and what was told, or the error.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            # Objects of TensorFlow would wait for its threads when they are collected.
            gc.disable()
            act(lambda text: os.write(writing, text.encode()) and None)
            code = 0
        except BaseException:
            os.write(writing, traceback.format_exc().encode())
        finally:
            os._exit(code)
    os.close(writing)
    with os.fdopen(reading) as answers:
        said = answers.read()
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), said


def killed_at_each(act: Callable[[], Any], reset: Callable[[], Any]) -> Iterator[str]:
    """Yields once for each file operation of `act`, with its name, when a process was killed in front of it.

    Opening a file to write is one, and writing into it another.

    Args:
        act: what the process does, from the same state each time.
        reset: restores that state.

    Raises:
        AssertionError: `act` raises, or has no file operations.
    """
    number, code = 0, -signal.SIGKILL
    while code:
        reset()
        code, said = forked(lambda tell, number=number: _counted(act, number, tell))
        assert code in (0, -signal.SIGKILL), said
        if code:
            yield said
            number += 1
    assert number, "no file operations"


def _counted(act: Callable[[], Any], number: int, tell: Tell) -> None:
    left, sync = number, os.fsync

    def count(name: str, opened: tuple[Any, ...] = ()) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            with contextlib.suppress(OSError):
                if opened:
                    os.open(opened[0], opened[2], 0o666)
            tell(name)
            os.kill(os.getpid(), signal.SIGKILL)

    def hook(name: str, given: tuple[Any, ...]) -> None:
        # Below 0 it is dying.
        if left < 0 or name not in _OPERATIONS:
            return
        if name != "open":
            count(name)
        elif (given[2] or 0) & _WRITING:
            count(name)
            # A file that was opened, and into which nothing was written yet.
            count("write", given)

    def counted_sync(descriptor: int) -> None:
        count("os.fsync")
        sync(descriptor)

    os.fsync = counted_sync
    sys.addaudithook(hook)
    act()
