import numpy as np
import tensorflow as tf

from examples.references import gradual
from research.magnitude import every, lamp


def test_lamp_scores_of_a_layer():
    # Squares 9, 1, 4: the largest weight counts as 1, the next as 4/13, the last as 1/14.
    scores = lamp(tf.constant([[3.0], [-1.0], [2.0]]))

    np.testing.assert_allclose(scores.numpy(), [[1.0], [1 / 14], [4 / 13]], rtol=1e-6)


def test_rates_at_every_eighth_update_and_at_the_last():
    rates = every(gradual(0.8, end_step=10), 8)

    assert [step for step in range(1, 20) if rates(step) is not None] == [8, 10]
    assert rates(10) == 0.8
