"""What is named by text: built in, of an installed package (entry point), or one of your own (`module:attribute`)."""

import difflib
import importlib
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Any

from plaster_ops.errors import SettingsError


@dataclass(frozen=True, kw_only=True, slots=True)
class Plugins:
    """One kind of them. `kind`: as messages call it; `group`: of entry points; `built_in`: name to `module:attribute`;
    `members`: what each must have; `see`: where that is described; `more`: further words that may be asked for."""

    kind: str
    group: str
    built_in: Mapping[str, str]
    members: Sequence[str]
    see: str
    more: tuple[str, ...] = ()

    def names(self) -> tuple[str, ...]:
        """What can be asked for here: built in, and of installed packages."""
        return tuple(sorted({*self.built_in, *(point.name for point in entry_points(group=self.group))}))

    def find(self, name: str) -> Any:
        """The object of that name; a class is called without arguments.

        Raises `SettingsError` that lists the known names and the nearest one, or says why it cannot be used.
        """
        reference = name if ":" in name else self._reference(name)
        module_name, _, attribute = reference.partition(":")
        try:
            named = getattr(importlib.import_module(module_name), attribute)
            found = named() if inspect.isclass(named) else named
        except Exception as error:
            raise SettingsError(
                f"{self.kind} {name!r} does not import: {type(error).__name__}: {error}",
                f"try: python -c 'from {module_name} import {attribute}'",
            ) from error
        lacking = [member for member in self.members if not hasattr(found, member)]
        if lacking:
            raise SettingsError(f"{self.kind} {name!r} lacks {', '.join(lacking)}", f"see {self.see}")
        return found

    def _reference(self, name: str) -> str:
        if name in self.built_in:
            return self.built_in[name]
        for point in entry_points(group=self.group):
            if point.name == name:
                return point.value
        known = (*self.more, *self.names())
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise SettingsError(
            f"unknown {self.kind} {name!r}{hint}", f"known: {', '.join(known)}; or your own as module:attribute"
        )
