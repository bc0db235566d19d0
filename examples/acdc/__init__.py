"""A pruning method of one's own in one folder: AC/DC, alternating compressed and decompressed training.

Weights are pruned by magnitude under one global threshold, trained under their masks for a phase, set free for the next
one, and so on, until a last compressed phase: so a weight that was pruned early may come back.

Source: Peste et al., "AC/DC: Alternating Compressed/DeCompressed Training of Deep Neural Networks", arXiv 2106.12379.
"""

from examples.acdc.method import METHOD, prune_acdc
from examples.acdc.schedule import AlternatingPhases

__all__ = ["METHOD", "AlternatingPhases", "prune_acdc"]
