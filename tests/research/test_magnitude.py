import numpy as np
import tensorflow as tf

from research.magnitude import lamp


def test_lamp_scores_of_a_layer():
    # Squares 9, 1, 4: the largest weight counts as 1, the next as 4/13, the last as 1/14.
    scores = lamp(tf.constant([[3.0], [-1.0], [2.0]]))

    np.testing.assert_allclose(scores.numpy(), [[1.0], [1 / 14], [4 / 13]], rtol=1e-6)
