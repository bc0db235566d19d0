"""Where a result says that it comes from."""

import sys
from types import ModuleType

import numpy as np

from examples.provenance import command, versions
from tfmot_swd.report import provenance


def test_the_command_has_no_directory_of_this_machine(monkeypatch):
    monkeypatch.setattr("sys.argv", ["/some/where/run.py", "--rate", "0.9 0.99"])
    monkeypatch.setitem(sys.modules, "__main__", ModuleType("__main__"))

    assert command() == "python run.py --rate '0.9 0.99'"


def test_code_without_a_file_is_of_python(monkeypatch):
    monkeypatch.setattr("sys.argv", ["-c", "1"])
    monkeypatch.setitem(sys.modules, "__main__", ModuleType("__main__"))

    assert command() == "python -c 1"


def test_an_installed_program_is_called_by_its_name(monkeypatch):
    monkeypatch.setattr("sys.argv", ["/usr/bin/tfmot-swd", "report"])
    monkeypatch.setitem(sys.modules, "__main__", ModuleType("__main__"))

    assert command() == "tfmot-swd report"


def test_examples_and_reports_say_the_same():
    assert (command, versions) == (provenance.command, provenance.versions)


def test_the_versions_that_decide_a_result_are_named():
    found = versions()

    assert found["numpy"] == np.__version__
    assert {"python", "tensorflow", "keras", "tf_keras", "tensorflow-model-optimization"} <= set(found)
