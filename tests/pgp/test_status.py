"""The numbers of an epoch, for logs and for TensorBoard."""

from tfmot_swd.pgp.status import ProgressiveStatus

STATUS = ProgressiveStatus(
    epoch=2,
    rate=0.25,
    channels=10,
    soft_pruned=3,
    removed=4,
    parameters=1234,
    threshold=0.5,
    sizes={"a": 6, "body/b": 4},
    done=False,
)


def test_logs_are_what_keras_shows():
    assert STATUS.logs() == {"channels": 10, "soft_channels": 3, "parameters": 1234}


def test_scalars_are_floats_under_one_name():
    assert STATUS.scalars() == {
        "progressive_gradient/rate": 0.25,
        "progressive_gradient/channels": 10.0,
        "progressive_gradient/soft_pruned": 3.0,
        # Its deprecated name.
        "progressive_gradient/silenced": 3.0,
        "progressive_gradient/removed": 4.0,
        "progressive_gradient/parameters": 1234.0,
        "progressive_gradient/threshold": 0.5,
        "progressive_gradient/channels/a": 6.0,
        "progressive_gradient/channels/body/b": 4.0,
    }
    assert {type(each) for each in STATUS.scalars().values()} == {float}
