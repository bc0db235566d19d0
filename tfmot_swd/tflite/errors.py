"""The one error of an export that was asked for correctly and still cannot be delivered."""


class ExportError(RuntimeError):
    """A model did not convert, its file does not run, or the file failed its proof.

    Wrong arguments raise `TypeError`, `ValueError` or `OSError` instead. Whenever this is raised,
    nothing was put in place: a file that was at the path before is still there.
    """
