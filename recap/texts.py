"""Text that came from outside: whole, or refused by name.

A Python string can hold half of a character (a lone surrogate): a bad escape in JSON or YAML makes one, and so does a
file name that is not UTF-8. No file, table or page can keep it, so it is refused where it comes in.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from recap.errors import ConfigError

_AROUND = 20
"""Characters shown on either side of what is wrong: a text may be very long."""


def text_problem(text: str) -> str:
    r"""What keeps `text` from being written to a file; "" for any Unicode text.

    Example:
        >>> text_problem("fold \U0001f455"), text_problem("fold \ud83d")
        ('', "what is no character at place 5 of 'fold \\ud83d' (half of a pair, or a byte that is not UTF-8)")
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        part = text[max(error.start - _AROUND, 0) : error.start + _AROUND]
        return f"what is no character at place {error.start} of {part!r} (half of a pair, or a byte that is not UTF-8)"
    return ""


def check_text(where: str, text: str) -> str:
    """`text`, if it is Unicode text.

    Raises:
        ConfigError: it holds half of a character; names `where`.
    """
    problem = text_problem(text)
    if problem:
        raise ConfigError(f"{where}: {problem}, expected Unicode text")
    return text


def check_texts(where: str, value: Any) -> Any:
    """A JSON value, if every text in it is Unicode text, names of fields included.

    Raises:
        ConfigError: one holds half of a character; names its place below `where`.
    """
    if isinstance(value, str):
        check_text(where, value)
    elif isinstance(value, Mapping):
        for name, inner in value.items():
            if isinstance(name, str):
                check_text(f"{where}: name of a field", name)
            check_texts(f"{where}: {name}", inner)
    elif isinstance(value, list | tuple):
        for place, inner in enumerate(value):
            check_texts(f"{where}[{place}]", inner)
    return value


def escaped(text: str) -> str:
    r"""`text` with each half of a character spelled out, for what must be shown all the same: messages, file names.

    Example:
        >>> escaped("caf\udce9")
        'caf\\udce9'
    """
    return text.encode(errors="backslashreplace").decode()


def size_text(count: int) -> str:
    """Bytes in the largest unit that leaves at least 1.0."""
    size = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"
