"""The table of boards, and those that a user adds."""

import pytest

from tfmot_swd.tflite import BOARDS, Board, register_board
from tfmot_swd.tflite import boards as module
from tfmot_swd.tflite.boards import get_board


@pytest.fixture(autouse=True)
def _boards_of_the_package(monkeypatch):
    """Leaves out the board that the example of `register_board` adds, where that has run in this process."""
    shipped = {name: board for name, board in BOARDS.items() if name != "my-sensor"}
    monkeypatch.setattr(module, "_BOARDS", shipped)
    monkeypatch.setattr(module, "BOARDS", shipped)


def test_each_row_is_whole():
    assert len(module.BOARDS) >= 8
    for name, board in module.BOARDS.items():
        assert name == board.name
        # Flash of a microcontroller comes in whole 64 KiB, RAM in whole 8 KiB.
        assert board.flash_bytes % 2**16 == board.ram_bytes % 2**13 == 0
        assert board.ram_bytes < board.flash_bytes
        assert board.clock_mhz
        assert board.chip
        assert board.core
        assert board.source


@pytest.mark.parametrize("name", ["nucleo-l4r5zi", "NUCLEO-L4R5ZI", " nucleo_l4r5zi ", "nucleo L4R5ZI"])
def test_a_name_in_any_writing(name):
    board = get_board(name)
    assert (board.flash_bytes, board.ram_bytes, board.clock_mhz) == (2 * 2**20, 640 * 2**10, 120.0)
    assert get_board(board) is board


def test_names_that_are_not_known():
    with pytest.raises(ValueError, match=r"raspberry-pi-pico,.*did you mean nucleo-l4r5zi\?.*Received: board='nucleo'"):
        get_board("nucleo")
    with pytest.raises(TypeError, match="Received: board=5"):
        get_board(5)


def test_a_board_of_ones_own():
    own = register_board(Board("my-sensor", 2**19, 2**16))
    assert get_board("My Sensor") is own
    assert register_board(Board("my-sensor", 2**19, 2**16)) == own
    with pytest.raises(ValueError, match="not taken.*Received: name='my-sensor', of another board"):
        register_board(Board("my-sensor", 2**19, 2**17))
    with pytest.raises(TypeError, match="board must be a Board"):
        register_board("my-sensor")


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (("My Board", 1, 1), ValueError, "small letters and digits.*Received: name='My Board'"),
        (("", 1, 1), ValueError, "Received: name=''"),
        (("a", "256k", 1), TypeError, "flash_bytes must be an int.*Received: flash_bytes='256k'"),
        (("a", 1, 0), ValueError, "ram_bytes must be above 0. Received: ram_bytes=0"),
    ],
)
def test_what_is_no_board(arguments, error, message):
    with pytest.raises(error, match=message):
        Board(*arguments)
