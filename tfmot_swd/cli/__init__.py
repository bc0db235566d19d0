"""The command line, `tfmot-swd`: for whoever has a model file and no time.

What needs TensorFlow is imported by a command when it runs, not before: these modules are imported while the package
above them has not been run yet (`tfmot_swd_cli`, `library`).
"""
