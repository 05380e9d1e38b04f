"""What a module and its data module kept of their arguments by Lightning's `save_hyperparameters`, as plain texts."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

_MOST = 60
_MOST_SIGNS = 100
_SECRET = re.compile(r"(?i)password|passwd|secret|credential|api_?key|(access|auth|hf)_?token")
_PLAIN = (str, int, float, bool)


def saved_arguments(module: Any, data: Any) -> dict[str, str]:
    """`module.lr` to `0.001`, `data.batch_size` to `64`: numbers, texts, and short lists of them.

    At most 60, in the order of their names. What is longer than 100 signs or named like a secret, and every other
    object, is left out: the text of an object may differ although it is the same.
    """
    found = [
        (f"{of}.{name}", str(value))
        for of, owner in (("module", module), ("data", data))
        for name, value in _flat(getattr(owner, "hparams_initial", None) or {})
    ]
    return dict(sorted(each for each in found if len(each[1]) <= _MOST_SIGNS and not _SECRET.search(each[0]))[:_MOST])


def _flat(values: Mapping[Any, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from ((f"{name}.{inner}", each) for inner, each in _flat(value))
        elif value is None or isinstance(value, _PLAIN) or _is_plain_list(value):
            yield str(name), value


def _is_plain_list(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and all(isinstance(each, _PLAIN) for each in value)
