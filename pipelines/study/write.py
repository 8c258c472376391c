"""Puts the tables of a study into a page: a page of their own, or the part of another between two marks."""

from __future__ import annotations

from pathlib import Path

from recap.errors import ConfigError
from recap.files import write_atomic


def write_tables(page: Path, study: str, text: str) -> None:
    """Replaces what a page says of a study between its marks; a page that is not there is made.

    Raises:
        ConfigError: the page has no such marks, or not one of each in order.
    """
    begin, end = f"<!-- study {study} -->", f"<!-- end of study {study} -->"
    whole = page.read_text(encoding="utf-8") if page.exists() else f"# Study {study}\n\n{begin}\n{end}\n"
    before, opened, rest = whole.partition(begin)
    _, closed, after = rest.partition(end)
    if not opened or not closed or whole.count(begin) != 1 or whole.count(end) != 1:
        raise ConfigError(
            f"{page}: expected the lines '{begin}' and '{end}', once each",
            hint=f"put them where the tables belong, then recap study tables {study} --write {page}",
        )
    write_atomic(page, f"{before}{begin}\n{text}{end}{after}".encode())
