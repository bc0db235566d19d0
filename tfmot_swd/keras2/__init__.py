"""Access to tf_keras and TensorFlow Model Optimization, their private names included."""
