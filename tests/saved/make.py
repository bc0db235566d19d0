"""Writes the files of this folder: run it only for a format that is new, as the files of earlier versions must load.

python -m tests.saved.make
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tensorflow as tf
import tf_keras as keras

from tests.saved.nets import EPOCHS, FIT, METHODS, X, Y, compiled, end_of
from tfmot_swd import UpdatePruningStep

FOLDER = Path(__file__).parent


class _Killed(Exception):
    pass


def _kill(epoch: int, logs: object) -> None:
    if epoch == 1:
        raise _Killed


def _backup(method: str) -> None:
    callbacks = [
        UpdatePruningStep(backup_dir=FOLDER / f"{method}_backup"),
        keras.callbacks.LambdaCallback(on_epoch_end=_kill),
    ]
    try:
        compiled(method).fit(X, Y, epochs=EPOCHS, callbacks=callbacks, **FIT)
    except _Killed:
        # Whose process it was is no matter of the file.
        (FOLDER / f"{method}_backup" / "owner.lock").unlink()


def main() -> None:
    for method in METHODS:
        model = compiled(method)
        model.fit(X, Y, epochs=1, callbacks=[UpdatePruningStep(partial_fit=True)], **FIT)
        model.save(FOLDER / f"{method}.keras")
        model.save(FOLDER / f"{method}.h5")
        if method in ("weights", "channels"):
            tf.train.Checkpoint(model=model).write(str(FOLDER / f"{method}_checkpoint"))
        model.fit(X, Y, epochs=1, callbacks=[UpdatePruningStep()], **FIT)
        np.savez(FOLDER / f"{method}_end.npz", *end_of(model))
        _backup(method)


if __name__ == "__main__":
    main()
