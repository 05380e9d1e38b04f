"""What matplotlib draws, as a piece of a page: no prologue, no links, colours of the page, ids of its own."""

import io
import re
from typing import Any
from xml.etree import ElementTree

INK = {
    "text": "#0a0b01",
    "soft": "#0a0b02",
    "line": "#0a0b03",
    "bad": "#0a0b04",
    "good": "#0a0b05",
    "busy": "#0a0b06",
    "card": "#0a0b07",
    "level": "#0a0b08",
    "c1": "#0a0b11",
    "c2": "#0a0b12",
    "c3": "#0a0b13",
    "c4": "#0a0b14",
    "c5": "#0a0b15",
    "c6": "#0a0b16",
}
"""Colours that stand for variables of the page's style sheet, `--text` and so on, so that one drawing serves both
light and dark."""

_HREF = "{http://www.w3.org/1999/xlink}href"
_DROPPED = ("metadata", "style")


def svg_of(figure: Any, *, name: str, label: str) -> str:
    """The figure as `<svg>` text. `name` makes its ids unique in a page; `label` is what it shows, in words."""
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    FigureCanvasSVG(figure)
    file = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none"}):
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    root = ElementTree.fromstring(file.getvalue())
    ids = {found: f"{name}-{place}" for place, found in enumerate(_ids(root))}
    linked = {target.removeprefix("#") for target in _targets(root)}
    _clean(root, ids, linked)
    root.attrib = {"viewBox": root.attrib["viewBox"], "role": "img", "aria-label": label, "class": "chart"}
    return ElementTree.tostring(root, encoding="unicode")


def _ids(root: ElementTree.Element) -> list[str]:
    return list(dict.fromkeys(found for node in root.iter() if (found := node.get("id"))))


def _targets(root: ElementTree.Element) -> list[str]:
    links = [node.get(_HREF, "") for node in root.iter()]
    clips = [found for node in root.iter() for found in re.findall(r"url\((#[^)]+)\)", str(node.attrib))]
    return [*filter(None, links), *clips]


def _clean(node: ElementTree.Element, ids: dict[str, str], linked: set[str]) -> None:
    node.tag = node.tag.rpartition("}")[2]
    node.attrib = {
        _local(key): _value(key, value, ids) for key, value in node.attrib.items() if key != "id" or value in linked
    }
    node.text = node.text.strip() if node.text else None
    node.tail = None
    for child in list(node):
        if child.tag.rpartition("}")[2] in _DROPPED:
            node.remove(child)
        else:
            _clean(child, ids, linked)


def _local(key: str) -> str:
    return key.rpartition("}")[2]


def _value(key: str, value: str, ids: dict[str, str]) -> str:
    if key == "id":
        return ids[value]
    if key == _HREF:
        return "#" + ids[value.removeprefix("#")]
    if key == "d":
        return re.sub(r"\s+", " ", re.sub(r"(\d+\.\d)\d+", r"\1", value)).strip()
    text = re.sub(r"url\(#([^)]+)\)", lambda found: f"url(#{ids[found.group(1)]})", value)
    text = re.sub(r"font-family:[^;]*;? ?", "", text)
    for name, colour in INK.items():
        text = text.replace(colour, f"var(--{name})")
    return text
