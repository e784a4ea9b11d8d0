"""What a model wrote as plain characters: no invisible, decorative or look-alike ones, and no emphasis."""

from __future__ import annotations

import html
import re
import unicodedata

_ALIKE = str.maketrans(
    {
        **dict.fromkeys("“”„‟«»「」『』〝〞", '"'),
        **dict.fromkeys("‘’‚‛‹›´ʼ", "'"),
        **dict.fromkeys("‐‑‒–—―−", "-"),
        **dict.fromkeys("◁〈⟨", "<"),
        **dict.fromkeys("▷〉⟩", ">"),
        **dict.fromkeys("•·●○◦▪▫■□▸►▶➤➔➜‣⁃∙", "\n- "),
        **dict.fromkeys("⁰¹²³⁴⁵⁶⁷⁸⁹", ""),
        **dict.fromkeys("→⇒⟶", " -> "),
    }
)
_ANSI = re.compile(r"\x1b(?:\[[0-9;?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\))")
_KEYCAP = re.compile("(\\d)\ufe0f?\u20e3")
_ENTITY = re.compile(r"&#?\w{2,8};")
_KEPT_SIGNS = frozenset("°\ufffd")
"""A degree is meant; a replacement character shows that something is lost."""

_LINK = re.compile(r"!?\[([^\[\]\n]*)\]\([^()\s]*\)")
_DOUBLED_QUOTES = re.compile(r"[\"']{2,}")
_EMPHASIS = re.compile(r"\*\*|~~|(?<!\w)__|__(?!\w)|```\w*")
_LIGHT_EMPHASIS = re.compile(r"(?<![\w*_`])([*_`])(?=\S)([^*_`\n]+)(?<=\S)\1(?![\w*_`])")


def to_plain(text: str) -> str:
    """Return a text in NFKC without what can't be read aloud; its lines end as on Unix."""
    text = _ENTITY.sub(lambda found: html.unescape(found[0]), _ANSI.sub("", text))
    text = "\n".join(_KEYCAP.sub(r"\1. ", text).splitlines()).translate(_ALIKE)
    text = unicodedata.normalize("NFKC", "".join(" " if _is_decoration(char) else char for char in text))
    return "".join(char for char in text.replace("\t", " ") if char == "\n" or not _is_invisible(char))


def leave_emphasis(text: str) -> str:
    """Return a text without Markdown's marks for bold, italic, code and links."""
    text = _DOUBLED_QUOTES.sub('"', _LINK.sub(r"\1", text))
    return _LIGHT_EMPHASIS.sub(r"\2", _EMPHASIS.sub("", text))


def _is_decoration(char: str) -> bool:
    return not char.isascii() and unicodedata.category(char) in ("So", "Sk") and char not in _KEPT_SIGNS


def _is_invisible(char: str) -> bool:
    # Marks that NFKC could not join with a letter, such as those of struck-through text, are decoration too.
    return unicodedata.category(char) in ("Cc", "Cf", "Co", "Cs", "Cn", "Mn", "Me")
