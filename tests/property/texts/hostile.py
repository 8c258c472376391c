"""Texts that have broken other people's tools, one list for every place where a text can stand."""

from __future__ import annotations

_ONE_EACH = (
    "🍎", "👩‍👩‍👧‍👦", "🏳️‍🌈", "👕🧺", "𠮷野家", "\U0001d523\U0001d52c", "🇩🇪", "\U0010ffff",  # beyond the basic plane
    "قميص", "שלום", "a\u202eb", "\u200fx\u200e", "\u2067rtl\u2069",  # right to left, and what turns it
    "e\u0301", "é", "Å", "A\u030a", "ﬁ", "Z͑͐̈́ͥa̸͓lgo", "n\u0303\u0323", "ẞ", "İ",  # combining, and their composed twins
    "fold\tit", "fold\nit", "fold\r\nit", "fold\rit", "a\x0bb", "a\x0cb", "a\x1cb", "a\x1db", "a\x1eb", "a\x85b",
    "a\u2028b", "a\u2029b", "a\x00b", "a\x01b", "a\x07b", "a\x1b[31mb", "a\x7fb", "a\x9fb",  # control characters
    "\ufeffbom", "zero\u200bwidth", "soft\u00adhyphen", "no\u00a0break", "\u3000wide", "\u00a0x", "a\ufffeb",
    "x" * 300, "ab " * 200, "é" * 260, "🍎" * 70,  # very long
    "'", '"', "''", '""', "\"'`", "it's", 'say "go"', "`ls`", "$(ls)", "${HOME}", "\\", "\\n", "\\u0041", "a\\",
    "yes", "no", "on", "off", "null", "~", "true", "1", "1.0", "1e3", "0x10", "0o7", "1_000", ".inf", ".nan",
    "2026-11-27", "12:30:45",
    "<<", "=", "!!str x", "&a", "*a", "%TAG", "@x", "- a", "-", "---", "...", "? a", ": a",
    "a: b", "a #b", "#a", "{a: b}", "[a, b]", "{", "}", "[", "]", ",", "|", ">", "|-\n a", "a:",  # specials of YAML
    "<script>alert(1)</script>", "a & b", "&amp;", "</p>", "<b>x", "{{ x }}", "{% x %}", "{0}", "{x}", "%s", "%d%%",
    "$x^2$", "\\frac{1}{2}", "a/b", "../../etc/passwd", "..", ".", "/", "C:\\x", "a;b", "a|b", "a,b", "a=b", "?", "*",
    "[!a]", " x", "x ", "CON", "-rf", "--help", "\N{SNOWMAN}", "naïve café", "Größe", "漢字",
    "..x", "a::b", "sqlite:///x", "fold, State: 1 2 3", "x;\nAction: ", "Advantage: positive", "word " * 300,
    "Z" + "\u0300" * 100, "\U0001f600" * 300, "\uffff", "\x00", "\x1b]0;title\x07", "x\x00",
    "ひらがな", "한국어", "ไทย",
)  # fmt: skip
TEXTS: tuple[str, ...] = tuple(dict.fromkeys(_ONE_EACH))
HALVES = ("\ud83d", "a\udc4d", "\udce9t\udce9", "\ude00\ud83d")
"""Halves of characters: no file can hold them."""
BLANK = ("", " ", "\t\n", "\u2003", "\u3000")
"""No words."""
