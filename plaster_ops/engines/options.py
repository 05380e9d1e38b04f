"""Options of backends: each backend names what it takes, and anything else is an error, never silence."""

import difflib
from collections.abc import Mapping

from plaster_ops.errors import SettingsError
from plaster_ops.ports import EngineSpec

Option = str | int | float | bool


def read_options(spec: EngineSpec, schema: Mapping[str, Option]) -> dict[str, Option]:
    """Every option of `schema` (name -> default) with the spec's values in place.

    A key `backend.option` speaks to that backend only; a bare key speaks to the backend that is built. Raises
    `SettingsError` for an unknown name or a value of another type than the default's.
    """
    options = dict(schema)
    for key, value in spec.options:
        owner, dot, name = key.rpartition(".")
        if dot and owner != spec.backend:
            continue
        if name not in schema:
            near = difflib.get_close_matches(name, schema, n=1, cutoff=0.0)
            raise SettingsError(
                f"engine option {key!r} is unknown to backend {spec.backend!r}",
                f"it takes {', '.join(sorted(schema))}; nearest is {near[0]!r}" if near else "it takes no options",
            )
        options[name] = _checked(key, value, schema[name])
    return options


def _checked(key: str, value: Option, default: Option) -> Option:
    if isinstance(default, float) and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) is not type(default):
        raise SettingsError(
            f"engine option {key} = {value!r} is of type {type(value).__name__}",
            f"give a {type(default).__name__}, as in {default!r}",
        )
    return value
