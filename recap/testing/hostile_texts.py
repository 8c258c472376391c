"""Texts that break programs: each is legal Unicode, or half of a character, which no file can hold."""

from __future__ import annotations

_EMOJI = (
    "\U0001f600",
    "fold the \U0001f455 shirt",
    "\U0001f468\u200d\U0001f469\u200d\U0001f467",
    "\U0001f1e9\U0001f1ea",
    "\u2764\ufe0f",
)
_PLANES = ("\U00020000\U0002a6d6", "\U0001d54f", "\U000e0041", "\U0010fffd", "\uffff", "\ufffe\ufffd", "\U0010ffff")
_SCRIPTS = (
    "折叠衬衫",
    "シャツを畳む",
    "셔츠를 접다",
    "قم بطي القميص",
    "קפל את החולצה",
    "कमीज़ मोड़ो",
    "พับเสื้อ",
    "сложи рубашку",
    "Straße Ǆ İ ﬁ",
)
_DIRECTIONS = ("\u202efold\u202c", "\u202e", "\u2067left\u2069", "\u200f\u200e", "a\u061cb", "fold קפל 12 שלום")
_COMBINING = (
    "e\u0301",
    "\u0301leading",
    "Z" + "\u0300\u0301\u0302\u0303" * 40,
    "\u1100\u1161\u11a8",
    "\u0f77",
    "\u00e9 e\u0301",
)
_INVISIBLE = (
    "a\u200bb",
    "\u200b",
    "\ufeff",
    "\ufefffold",
    "fold\ufeff",
    "\u00a0",
    "a\u00a0b",
    "\u2060",
    "\u3000fold",
    "\u180e",
)
_LINES = (
    "a\nb",
    "a\r\nb",
    "a\rb",
    "a\u0085b",
    "a\u2028b",
    "a\u2029b",
    "a\x0bb",
    "a\x0cb",
    "a\x1cb",
    "\n",
    "a\n\n  b\n",
    "trailing\n",
)
_CONTROL = (
    "\x00",
    "a\x00b",
    "a\x00",
    "\x01\x02\x03",
    "\x07bell",
    "\x1b[31mred\x1b[0m",
    "\x1b]0;title\x07",
    "a\tb",
    "\x7f",
    "\x80\x9f",
    "\x08\x08",
)
_SPACE = ("", " ", "   ", " leading", "trailing ", "two  spaces", "\t", "\u2003")
_QUOTES = (
    "it's",
    '"quoted"',
    "'\"`",
    "\\",
    "\\\\n",
    'a\\"b',
    "`rm -rf`",
    "$(reboot)",
    "${HOME}",
    "%s %(a)d {0} {x}",
    "100 %",
    "$x^2$",
    "a;b|c&d>e",
)
_YAML = (
    "- item",
    "key: value",
    "# comment",
    "a #b",
    "yes",
    "no",
    "null",
    "~",
    "true",
    "1e3",
    "0x1F",
    "1_000",
    "12:30:45",
    "2024-01-01",
    "&a *a",
    "!!python/object:os.system",
    "%YAML 1.2",
    "---",
    "...",
    "{a: b}",
    "[a, b]",
    "? x",
    "| block",
    "> folded",
    "@at",
    "<<",
    "=",
    "*",
)
_MARKUP = (
    "<script>alert(1)</script>",
    "</style><b>",
    '" onload="x',
    "&amp;&lt;",
    "]]>",
    "<!--",
    "{{ 7 * 7 }}",
    "{% raw %}",
    "=cmd()",
    "'; DROP TABLE runs; --",
)
_PATHS = (
    "../up",
    "..x",
    "a/b",
    "/root",
    "C:\\x",
    ".",
    "..",
    ".hidden",
    "-rf",
    "--help",
    "~user",
    "a?b*c",
    "[abc]",
    "a::b",
    "file://x",
    "sqlite:///x",
    "a%2Fb#c",
    "con",
    "a=b,c",
)
_PROMPT = (", State: 1 2 3", "x;\nAction: ", "Advantage: positive", "Task: a, State: -1;\nAction: ", "_under_score_")
_LONG = ("x" * 255, "long " * 400, "\U0001f600" * 300, "y" * 20_000)
_HALVES = ("\ud83d", "\ude00 fold", "fold \ud83d", "\ude00\ud83d", "caf\udce9")

HOSTILE_TEXTS = (
    *_EMOJI, *_PLANES, *_SCRIPTS, *_DIRECTIONS, *_COMBINING, *_INVISIBLE, *_LINES, *_CONTROL, *_SPACE, *_QUOTES, *_YAML,
    *_MARKUP, *_PATHS, *_PROMPT, *_LONG, *_HALVES,
)  # fmt: skip
"""All different. Where one is not legal it has to be refused by a ConfigError."""

NASTIEST = "\u202e\U0001f600 e\u0301\u0085\u2028\x00\x1b[31m '\"\\ $x^2$ {{7}} <b>&amp; %s קפל, State: 1"
"""Nearly all of it at once."""


def is_whole(text: str) -> bool:
    """False for a text with half of a character."""
    return not any("\ud800" <= character <= "\udfff" for character in text)
