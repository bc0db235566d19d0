"""The library's messages with flags of the shell in place of Python arguments."""

from __future__ import annotations

import re

# Arguments that flags of the same name stand for.
_FLAGS = (
    "backup_dir batch_size board by calibration_percentile flash float_layers floor int16_layers max_accuracy_loss "
    "max_drop max_trials min_agreement only ram round_to skip target tolerance"
)
_LIMITS = "bytes latency macs parameters sparsity"
_NAMES = {
    "check_data": "--data",
    "final_rate": "--rate",
    "final_sparsity": "--rate",
    "recipe": "--recipes",
    "representative_data": "--data",
    **{name: f"--{name}" for name in _FLAGS.split()},
}
# Names that are not English words, and so arguments wherever they stand.
_UNMISTAKABLE = sorted(name for name in _NAMES if "_" in name)
_MISTAKABLE = sorted(set(_NAMES) - set(_UNMISTAKABLE))
# Advice that the shell has another form of, or none.
_SENTENCES = (
    (r"dense= of advise, --dense of tfmot-swd check", "--dense"),
    (r"prune_progressive_gradient or fit_budget, then strip_pruning", "tfmot-swd prune"),
    (r"tfmot_swd\.tflite\.advise\(path\) of", "tfmot-swd check of"),
    (r"the model with Budget\(bytes=([^)]*)\)", r"it with tfmot-swd prune --bytes=\1"),
    (r"register_board adds yours", "a module that calls register_board, named with --modules, adds yours"),
    (r"or give flash and ram;", "or give --flash and --ram;"),
    (r"(Set layer\.trainable = True on some of them)(?=, such| for|\.)", r"\1 in Python and save the model again"),
    (r"worst value itself, as floor=", "worst value itself, as --floor="),
    (
        r"in float \(float_layers\) or 16 bits \(int16_layers\)",
        "in float (tfmot-swd export --float_layers) or 16 bits (--int16_layers)",
    ),
    (r"a smaller minimum or round_to", "a smaller round_to"),
    (r"lower minimum or round_to", "lower round_to"),
    (r"Raise final_rate", "Give a larger final_rate"),
    (
        r"Train longer, or raise the strength: a_max, or shrink_max where no a is given",
        "Train for more epochs (--epochs)",
    ),
    (
        r"Raise a_max, lower the learning rate less, train longer at the end, ask for a lower rate, or use "
        r"penalty='implicit', which leaves nothing; fine-tuning with the zeros fixed \(a fit that continues after "
        r"end_step\) helps too",
        "Train for more epochs (--epochs), or ask for less (a lower --rate, or a larger budget)",
    ),
    (r"raise minimum_kept", "lower final_rate, or raise minimum_kept of SelectiveDecay in Python"),
    (r"lower minimum_kept, give it as a share \(0\.1\), or lower final_sparsity", "lower final_sparsity"),
    (
        r"and compile again, or pass UpdatePruningStep\(partial_fit=True\) in the first phase of a "
        r"training that unfreezes them later",
        "in Python and save the model again",
    ),
    (r"pass a larger timeout if it needs longer, or fewer samples", "give fewer samples"),
    (r" and max_encoded_weights=\.\.\., which", ", in Python with max_encoded_weights=..., which"),
    (r"(tfmot_swd\.register_layer\(\w+, macs=\.\.\.\))(?=\.)", r"\1 in a module, and name it with --modules"),
    (r"with skip\b", "with --skip"),
    (r"\bpass (?=calibration_percentile|check_data|representative_data|tolerance|min_agreement|max_acc)", "give "),
)


def in_shell_words(text: str) -> str:
    """Returns a message of the library as somebody needs it who types flags.

    >>> in_shell_words("round_to must be 1 or more. Received: round_to=0")
    '--round_to must be 1 or more. Received: --round_to=0'
    """
    for pattern, words in _SENTENCES:
        text = re.sub(pattern, words, text)
    # What is part of a path or of a call in Python, or has its dashes, is left alone.
    text = re.sub(rf"(?<![-\w./(])({'|'.join(_UNMISTAKABLE)})\b(?!\.\w|[/(])", _flag, text)
    text = re.sub(rf"(?<![-\w./(])({'|'.join(_MISTAKABLE)})(?==| (?:must|names?) )", _flag, text)
    # A flag's value needs no quotes.
    text = re.sub(r"(--\w+=)(['\"])([\w.]+)\2", r"\1\3", text)
    said, received, values = text.partition("Received:")
    return said + received + re.sub(rf"(?<![-\w])({'|'.join(_LIMITS.split())})=", r"--\1=", values)


def _flag(name: re.Match[str]) -> str:
    return _NAMES[name[1]]
