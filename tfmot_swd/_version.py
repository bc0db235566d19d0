"""The version, for setuptools and for `--version`, which import nothing else."""

__version__ = "0.1.0"
