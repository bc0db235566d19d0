"""The command line, `tfmot-swd`: pruning, export and reports for a model file, without Python code.

What needs TensorFlow is imported by a command when it runs, not before: these modules are imported while the package
above them has not been run yet (see `tfmot_swd_cli` and `main`).
"""
