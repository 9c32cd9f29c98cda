"""HTML elements out of Python: what is text is escaped, always."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

_VOID = frozenset({"br", "input", "link", "meta"})


class Html(str):
    """Text that is HTML already."""

    __slots__ = ()


def text(child: str | Html) -> Html:
    """`child` as HTML: escaped, unless it is HTML already."""
    return child if isinstance(child, Html) else Html(escape(child, quote=True))


def element(name: str, *children: str | Html, **attributes: str | int | bool | None) -> Html:
    """`<name …>children</name>`. `class_` is `class`, `_` in a name is `-`; None and False are left out."""
    told = "".join(_attribute(key.rstrip("_").replace("_", "-"), value) for key, value in attributes.items())
    return Html(f"<{name}{told}>" if name in _VOID else f"<{name}{told}>{''.join(map(text, children))}</{name}>")


def joined(children: Iterable[str | Html], between: str = "") -> Html:
    """The children one after another."""
    return Html(between.join(map(text, children)))


def _attribute(name: str, value: str | int | bool | None) -> str:
    if value is None or value is False:
        return ""
    return f" {name}" if value is True else f' {name}="{escape(str(value), quote=True)}"'


def hidden(told: str) -> Html:
    """Words for those who listen to the page."""
    return element("span", told, class_="sr")


def scroller(label: str, table: Html) -> Html:
    """A wide table that scrolls in itself, with the keyboard too."""
    return element("div", table, class_="scroll", tabindex=0, role="region", aria_label=label)


def facts(pairs: Iterable[tuple[str, str | Html]]) -> Html:
    """What is called what, as a list of terms."""
    return element("dl", *(element("div", element("dt", name), element("dd", value)) for name, value in pairs))
