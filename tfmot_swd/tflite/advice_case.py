"""One piece of advice, and the facts about the file that it rests on."""

from __future__ import annotations

from dataclasses import dataclass

from tfmot_swd.tflite.file_facts import FileFacts

HELPS, NO_HELP, UNKNOWN, FAILS = "helps", "does not help", "unknown", "fails"
REMOVE = "remove channels: prune_progressive_gradient or fit_budget, then strip_pruning"
GIVE_DENSE = (
    "give the file of the model before it was pruned, in the same form: dense= of advise, --dense of tfmot-swd check, "
    "--dense_file of tfmot-swd report"
)


@dataclass(frozen=True)
class Advice:
    """The verdict on one topic, with its reason and a remedy.

    Attributes:
        topic: `"download size"`, `"speed on a phone"` and so on.
        verdict: `"helps"`, `"does not help"`, `"fails"`: it does not run there, or not right; or `"unknown"`: zeros do
            not help, removed channels would, and a file alone does not tell whether any were.
        reason: why, with the numbers of this file.
        remedy: what to do.
        where: the operators it is about, by number, type and output shape; empty: the file as a whole.
    """

    topic: str
    verdict: str
    reason: str
    remedy: str
    where: str = ""


@dataclass(frozen=True)
class Case:
    """Facts on a file, on its dense counterpart where there is one, and its bytes.

    Without a counterpart `removed` tells whether the model lost channels; None where that is unknown.
    """

    content: bytes
    file: FileFacts
    dense: FileFacts | None
    removed: bool | None = None

    @property
    def is_smaller(self) -> bool:
        """Whether channels were removed, as far as is known."""
        return bool(self.removed) if self.dense is None else bool(smaller(self.file, self.dense))

    def is_smaller_in(self, operator: str) -> bool:
        """Returns whether kernels of such operators lost channels, as far as is known."""
        if self.dense is None:
            return self.is_smaller and any(name == operator for name, _ in self.file.kernels)
        return any(each.startswith(operator) for each in smaller(self.file, self.dense))

    @property
    def is_known(self) -> bool:
        """Whether it is known that channels were removed, or that none were."""
        return self.dense is not None or self.removed is not None

    def or_removal(self, remedy: str) -> str:
        """Returns a remedy, and the removal of channels beside it where it is known that none were removed."""
        return remedy if not self.is_known or self.is_smaller else f"{remedy}; or {REMOVE}"

    def zeros_gain_nothing(self, topic: str, reason: str, remedy: str = REMOVE, where: str = "") -> Advice:
        """Returns the advice on what only removed channels help with, where it is not known that any were."""
        if self.is_known:
            return Advice(topic, NO_HELP, reason, remedy, where)
        return Advice(topic, UNKNOWN, f"{reason}; whether channels were removed is not known", GIVE_DENSE, where)


def smaller(file: FileFacts, dense: FileFacts) -> list[str]:
    """Describes the kernels that lost channels; those of other networks cannot be matched."""
    if [name for name, _ in file.kernels] != [name for name, _ in dense.kernels]:
        return [f"{dense.weights:,} → {file.weights:,} weights"] if file.weights < dense.weights else []
    pairs = [(name, old, new) for (name, new), (_, old) in zip(file.kernels, dense.kernels, strict=True) if new != old]
    return [f"{name} {sides(old)} → {sides(new)}" for name, old, new in pairs]


def sides(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
