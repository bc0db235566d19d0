"""Settings that are tried: of the references and of ours as many each, and the search for a form of our own."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A method with one setting.

    Args:
      name: of the setting, in tables.
      method: a key of `research.methods.METHODS`.
      learning_rate: peak.
      setting: arguments of the method.
    """

    name: str
    method: str
    learning_rate: float
    setting: dict[str, Any]

    @property
    def family(self) -> str:
        """The method in the sense of the protocol, of whose settings one is chosen."""
        return family_of(self.name)


def family_of(name: str) -> str:
    """Returns the method of a setting by its name, whose first word it is."""
    return name.split(" ")[0]


def _grid(name: str, method: str, rates: tuple[float, ...], settings: list[dict[str, Any]]) -> list[Candidate]:
    return [
        Candidate(f"{name} {_words(setting)} lr {rate:g}".replace("  ", " "), method, rate, setting)
        for setting, rate in itertools.product(settings, rates)
    ]


def _words(setting: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in setting.items())


# Peaks of the learning rate that each method is tried with.
LEARNING_RATES = (0.1, 0.2)

# Eight settings a method, learning rate among them; the dense net has its four learning rates alone.
TUNING: list[Candidate] = [
    *_grid("dense", "dense", (0.05, 0.1, 0.2, 0.4), [{}]),
    *_grid("st3", "st3", LEARNING_RATES, [{"end": end, "clip": clip} for end in (0.5, 0.8) for clip in (0.0, 3.0)]),
    *_grid(
        "feather", "feather", LEARNING_RATES, [{"end": end, "clip": clip} for end in (0.5, 0.8) for clip in (0.0, 3.0)]
    ),
    *_grid("global_gradual", "global_gradual", LEARNING_RATES, [{"ramp_end": end} for end in (0.4, 0.5, 0.67, 0.8)]),
    *_grid("lamp_gradual", "lamp_gradual", LEARNING_RATES, [{"ramp_end": end} for end in (0.4, 0.5, 0.67, 0.8)]),
    *_grid("bimp", "bimp", LEARNING_RATES, [{"at": at, "restart": r} for at in (0.33, 0.5) for r in (0.5, 1.0)]),
    *_grid("tfmot", "tfmot", LEARNING_RATES, [{"ramp_end": end} for end in (0.4, 0.5, 0.67, 0.8)]),
    *_grid("swd", "swd", LEARNING_RATES, [{"ramp": 0.5}, {"ramp": 2 / 3}, {"ramp": 0.8}, {"shrink_min": 0.01}]),
]


def _search(name: str, **setting: Any) -> Candidate:
    return Candidate(name, "forward", setting.pop("learning_rate", 0.2), setting)


# What was tried for a form of Selective Weight Decay that prunes in the forward pass, at one learning rate.
SEARCH: list[Candidate] = [
    Candidate("dense", "dense", 0.2, {}),
    _search("soft, ramp to 1/2 (as ST-3)", power=1.0, end=0.5),
    _search("power 3, half gradient, ramp to 1/2 (as Feather)", power=3.0, gradient_scale=0.5, end=0.5),
    # After the first two (one seed: 73.34 and 74.58 on the validation split) around the second.
    _search("power 3, half gradient, ramp to 2/3", power=3.0, gradient_scale=0.5, end=2 / 3),
    _search("power 3, ramp to 2/3", power=3.0, end=2 / 3),
    _search("power 3, half gradient, ramp to 0.8", power=3.0, gradient_scale=0.5, end=0.8),
    _search("power 2, half gradient, ramp to 2/3", power=2.0, gradient_scale=0.5, end=2 / 3),
    _search("hard, half gradient, ramp to 2/3", power=0.0, gradient_scale=0.5, end=2 / 3),
    _search("power 3, quarter gradient, ramp to 2/3", power=3.0, gradient_scale=0.25, end=2 / 3),
    _search("power 3, no gradient, ramp to 2/3", power=3.0, gradient_scale=0.0, end=2 / 3),
    _search(
        "power 3, half gradient, ramp to 2/3, decay of what is used",
        power=3.0,
        gradient_scale=0.5,
        end=2 / 3,
        decay_dense=False,
    ),
    _search(
        "power 3, half gradient, ramp to 2/3, selective to 0.01",
        power=3.0,
        gradient_scale=0.5,
        end=2 / 3,
        selective_max=0.01,
    ),
    _search(
        "power 3, half gradient, ramp to 2/3, selective to 0.1",
        power=3.0,
        gradient_scale=0.5,
        end=2 / 3,
        selective_max=0.1,
    ),
    _search(
        "power 3, half gradient, ramp to 2/3, relative 0.25", power=3.0, gradient_scale=0.5, end=2 / 3, relative=0.25
    ),
    _search("power 3, half gradient, ramp to 2/3, rest from 0.85", power=3.0, gradient_scale=0.5, end=2 / 3, rest=0.85),
    _search("soft, ramp to 2/3", power=1.0, end=2 / 3),
    _search("soft, half gradient, ramp to 2/3", power=1.0, gradient_scale=0.5, end=2 / 3),
    Candidate("swd (default of 0.1.0)", "swd", 0.2, {}),
    Candidate("gradual, global", "global_gradual", 0.2, {"ramp_end": 2 / 3}),
]
# How often the threshold is computed, in updates; of 2,106 updates in case A6.
FREQUENCY: list[Candidate] = [
    Candidate(f"threshold every {frequency} updates", "swd", 0.2, {"frequency": frequency}) for frequency in (1, 4, 16)
]

# Settings of the cases that begin with trained weights, four a method; the learning rate is one of two by optimizer.
_SMALL_RATES = {"sgd": (0.01, 0.05), "adam": (3e-4, 1e-3)}


def fine_tuning(optimizer: str) -> list[Candidate]:
    """Returns the settings that are tried from trained weights, of as many for each method."""
    rates = _SMALL_RATES[optimizer]
    return [
        *_grid("dense", "dense", rates, [{}]),
        *_grid("feather", "feather", rates, [{"end": end} for end in (0.5, 0.8)]),
        *_grid("global_gradual", "global_gradual", rates, [{"ramp_end": end} for end in (0.5, 0.8)]),
        *_grid("bimp", "bimp", rates, [{"at": 0.0, "restart": restart} for restart in (1.0, 2.0)]),
        *_grid("tfmot", "tfmot", rates, [{"ramp_end": 0.8}, {"ramp_end": 1.0, "initial": 0.5}]),
        *_grid("swd", "swd", rates, [{"ramp": 0.5}, {"ramp": 0.8}]),
        *_grid("swd_forward", "swd", rates, [{"penalty": "forward", "ramp": ramp} for ramp in (0.5, 0.8)]),
    ]


def fine_tuning_of_channels(optimizer: str) -> list[Candidate]:
    """Returns the settings that are tried from trained weights where channels leave, of as many for each method."""
    rates = _SMALL_RATES[optimizer]
    return [
        *_grid("dense", "dense", rates, [{}]),
        *_grid("once", "channels_once", rates, [{"scores": scores, "restart": 1.0} for scores in ("l1", "magnitude")]),
        *_grid("pgp", "progressive", rates, [{"pruning_epochs": epochs} for epochs in (1, 2)]),
        *_grid("swd", "structured", rates, [{"ramp": 0.5}, {"ramp": 0.8}]),
    ]


# In the order in which they are worth running.
FINAL_RATES = {
    "A": (0.99, 0.98, 0.95, 0.995),
    "B": (0.99, 0.98),
    "Cg": (0.99, 0.999, 0.98, 0.995, 0.95, 0.998),
    "Cp": (0.99, 0.999, 0.98, 0.995, 0.95, 0.998),
    **dict.fromkeys(("Fs", "Fa", "Rs", "Ra"), (0.9, 0.8, 0.95, 0.98)),
    "Fc": (0.8, 0.5, 0.9, 0.95),
}
