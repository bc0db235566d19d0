"""Warning category of pruned trainings; a file of its own, as the command line imports it without TensorFlow."""


class PruningWarning(UserWarning):
    """Warning that a pruned training goes wrong.

    It diverges, removes nothing, empties a layer, skips updates, or ends early or with a jump of the predictions.
    """
