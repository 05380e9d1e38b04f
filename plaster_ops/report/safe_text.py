"""Text from outside, made harmless: for a terminal, and for Markdown. The page escapes by its template engine."""

import re

_MARKDOWN = re.compile(r"([\\`*_{}\[\]<>|~!@&]|#(?!\d))")
_LINK = re.compile(r"(?i)\b(https?|ftp|mailto)(:)|\bwww(\.)")


def one_line(text: object) -> str:
    """The text without line breaks and without what a terminal would obey: escapes, bells, marks of direction."""
    return " ".join("".join(sign if sign.isprintable() else " " for sign in str(text)).split())


def cut_line(text: object, most: int) -> str:
    """The same, of at most so many signs."""
    line = one_line(text)
    return line if len(line) <= most else line[: most - 3] + "..."


def markdown_text(text: object) -> str:
    """One line of GitHub Markdown that reads as the text itself: no markup, no link, no mention, no cell's end."""
    line = _MARKDOWN.sub(r"\\\1", one_line(text)).replace("\\<", "&lt;").replace("\\>", "&gt;").replace("\\&", "&amp;")
    line = line.replace("\\@", "@<!-- -->")
    return _LINK.sub(lambda found: found.group(0)[:-1] + "<!-- -->" + found.group(0)[-1], line)


def markdown_table(head: list[str], rows: list[list[str]]) -> str:
    """A table of cells that are Markdown already; columns whose name begins with `>` stand to the right."""
    names = [name.removeprefix(">") for name in head]
    rule = ["-:" if name.startswith(">") else "-" for name in head]
    return "\n".join("| " + " | ".join(line) + " |" for line in [names, rule, *rows]) + "\n"
