"""Files that version 0.1.0 wrote load, and their trainings go on to the same end."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from tests.saved.nets import EPOCHS, FIT, METHODS, X, Y, compiled, end_of
from tfmot_swd import UpdatePruningStep

FOLDER = Path(__file__).parent / "saved"


def check_end(method, model):
    expected = np.load(FOLDER / f"{method}_end.npz")
    found = end_of(model)
    assert [each.shape for each in found] == [expected[name].shape for name in expected.files]
    for name, array in zip(expected.files, found, strict=True):
        # Another machine rounds otherwise; what is pruned is zero on all.
        np.testing.assert_allclose(array, expected[name], atol=1e-4, err_msg=f"{method}: {name}")


@pytest.mark.parametrize("ending", [".keras", ".h5"])
@pytest.mark.parametrize("method", METHODS)
def test_a_saved_model_goes_on(method, ending):
    model = keras.models.load_model(FOLDER / f"{method}{ending}")
    model.fit(X, Y, epochs=1, callbacks=[UpdatePruningStep()], **FIT)
    check_end(method, model)


@pytest.mark.parametrize("method", ["weights", "channels"])
def test_a_checkpoint_goes_on(method):
    model = compiled(method)
    tf.train.Checkpoint(model=model).read(str(FOLDER / f"{method}_checkpoint"))
    model.fit(X, Y, epochs=1, callbacks=[UpdatePruningStep()], **FIT)
    check_end(method, model)


@pytest.mark.parametrize("method", METHODS)
def test_a_backup_goes_on(method, tmp_path):
    backup = shutil.copytree(FOLDER / f"{method}_backup", tmp_path / "backup")
    model, callback = compiled(method), UpdatePruningStep(backup_dir=backup)
    history = model.fit(X, Y, epochs=EPOCHS, callbacks=[callback], **FIT)
    assert history.epoch == [1]
    check_end(method, model)
