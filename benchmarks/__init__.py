"""Scripts that measure the package, and the files of results that they wrote."""

import examples as examples  # loads TensorFlow without its start-up chatter
