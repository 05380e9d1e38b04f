"""Options of backends: each backend names what it takes, and anything else is an error, never silence."""

import difflib
from collections.abc import Mapping, Sequence

from plaster_ops.errors import SettingsError
from plaster_ops.ports import EngineSpec, Option

Schema = Mapping[str, Option | tuple[str, ...]]
"""Name -> default; a tuple holds the words that the option may be, the default first."""


def read_options(spec: EngineSpec, schema: Schema) -> dict[str, Option]:
    """Every option of `schema` with the spec's values in place.

    A key `backend.option` speaks to that backend only; a bare key speaks to the backend that is built. Raises
    `SettingsError` for an unknown name, a value of another type than the default's, or a word that is not listed.
    """
    options = {name: default[0] if isinstance(default, tuple) else default for name, default in schema.items()}
    for key, value in spec.options:
        owner, dot, name = key.rpartition(".")
        if dot and owner != spec.backend:
            continue
        if name not in schema:
            raise _unknown(key, spec.backend, schema)
        options[name] = _checked(key, value, schema[name])
    return options


def check_options(options: Mapping[str, Option], schemas: Mapping[str, Schema | None]) -> None:
    """Refuses options that would reach none of the backends in `schemas` (name -> schema, None: not known here).

    `backend.option` must name one of them and an option it takes; a bare name must be known to all whose schema is.
    """
    for key, value in options.items():
        owner, dot, name = key.rpartition(".")
        if dot and owner not in schemas:
            near = difflib.get_close_matches(owner, list(schemas), n=1, cutoff=0.0)
            raise SettingsError(
                f"engine option {key!r} is for backend {owner!r}, which is not among engine.backends",
                f"they are {', '.join(schemas)}" + (f"; nearest is {near[0]!r}" if near else ""),
            )
        for backend, schema in schemas.items():
            if schema is None or (dot and backend != owner):
                continue
            if name not in schema:
                raise _unknown(key, backend, schema)
            _checked(key, value, schema[name])


def options_for(
    objective: str, backend: str, options: Mapping[str, Option], schema: Schema | None
) -> dict[str, Option]:
    """The options, and with them `hint` as the objective where the backend takes that word and nobody set a hint."""
    words = (schema or {}).get("hint")
    given = {"hint", f"{backend}.hint"} & options.keys()
    if given or not isinstance(words, tuple) or objective not in words[1:]:
        return dict(options)
    return {**options, f"{backend}.hint": objective}


def _unknown(key: str, backend: str, schema: Schema) -> SettingsError:
    name = key.rpartition(".")[2]
    near = difflib.get_close_matches(name, list(schema), n=1, cutoff=0.0)
    return SettingsError(
        f"engine option {key!r} is unknown to backend {backend!r}",
        f"it takes {', '.join(sorted(schema))}; nearest is {near[0]!r}; an option of one backend is written"
        f" {backend}.{near[0]}"
        if near
        else "it takes no options",
    )


def _checked(key: str, value: Option, default: Option | Sequence[str]) -> Option:
    if isinstance(default, tuple):
        if value not in default:
            raise SettingsError(f"engine option {key} = {value!r} is not known", f"it is one of {', '.join(default)}")
        return value
    if isinstance(default, float) and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) is not type(default):
        raise SettingsError(
            f"engine option {key} = {value!r} is of type {type(value).__name__}",
            f"give a {type(default).__name__}, as in {default!r}",
        )
    return value
