"""Foreign words in MLflow's markdown: shown as they are, never as markup, link, image or cell of a table."""

import re
from typing import Any

_SPECIAL = re.compile(r"([\\`*_\[\]#!~|])")
_LEADING = re.compile(r"^([-+=>]|\d+[.)](?=\s|$))")


def plain(text: Any) -> str:
    """The text on one line, so that markdown and HTML show every character of it; empty for None."""
    if text is None:
        return ""
    line = " ".join("".join(sign if sign.isprintable() else " " for sign in str(text)).split())
    marked = _SPECIAL.sub(r"\\\1", line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;"))
    return _LEADING.sub(_escaped, marked).replace("://", "&#58;//").replace("www.", "www&#46;")


def _escaped(found: re.Match[str]) -> str:
    start = found.group(1)
    return f"{start[:-1]}\\{start[-1]}"


def code(text: Any) -> str:
    """The text as a code span; what would end it, or a cell, is replaced."""
    line = " ".join(str(text).split()).replace("`", "'").replace("|", "/")
    return f"`{line or ' '}`"


def link(words: str, address: str) -> str:
    """A link with foreign words; `address` is one of ours."""
    return f"[{plain(words)}]({address})"


def table_rule(columns: int) -> str:
    """The line under a table's head; with fewer than two dashes a cell MLflow's pages show no table."""
    return "|" + "---|" * columns
