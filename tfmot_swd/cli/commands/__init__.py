"""Commands of the shell, one a file; each has a `COMMAND`, for the table in `tfmot_swd.cli.main`."""
