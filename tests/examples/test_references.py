"""The magnitude references on weights small enough to follow by hand."""

import numpy as np
import tf_keras as keras

from examples.references import GlobalMagnitude


def trained(rate_at, batches: int) -> np.ndarray:
    net = keras.Sequential([keras.layers.Dense(1, use_bias=False, input_shape=(4,))])
    net.set_weights([np.array([[0.1], [-0.2], [0.3], [-0.4]], np.float32)])
    # Each update adds .25 to the first weight and leaves the others.
    net.compile(keras.optimizers.SGD(1.0), loss=lambda true, out: -0.25 * out)
    x = np.tile(np.array([[1, 0, 0, 0]], np.float32), (batches, 1))
    net.fit(x, np.zeros(batches), batch_size=1, shuffle=False, verbose=0, callbacks=[GlobalMagnitude(rate_at)])
    return net.get_weights()[0].ravel()


def test_the_smallest_half_of_the_model_is_zeroed_and_stays_zero():
    # After the first update the weights are .35 -.2 .3 -.4; the mask then holds.
    np.testing.assert_allclose(trained(lambda step: 0.5 if step == 1 else None, 3), [0.85, 0, 0, -0.4], atol=1e-6)


def test_a_weight_that_has_grown_back_returns_when_the_masks_are_recomputed():
    rates = {1: 0.75, 2: 0.75}
    # First only -.4 is kept; the second update brings the first weight to .25, still the smaller one.
    np.testing.assert_allclose(trained(rates.get, 2), [0, 0, 0, -0.4], atol=1e-6)
    np.testing.assert_allclose(trained({1: 0.75, 2: 0.5}.get, 2), [0.25, 0, 0, -0.4], atol=1e-6)
