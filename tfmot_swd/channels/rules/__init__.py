"""Channel rules of Keras's layers and of TensorFlow's operators, a family a file; importing registers them."""

from tfmot_swd.channels.rules import (
    attention as attention,
    convolution as convolution,
    dense as dense,
    elementwise as elementwise,
    merging as merging,
    normalization as normalization,
    operators as operators,
    recurrent as recurrent,
    spatial as spatial,
    structure as structure,
    wrapping as wrapping,
)
