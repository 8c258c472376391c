"""What files that settings point at contain: their content decides a result, where they lie does not.

Weights of many gigabytes are read once per workspace: what was read is remembered beside the size and time of every
file. Links are followed, since model hubs keep their files behind them. It must not know what the files mean.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from recap.config import content_settings
from recap.errors import ConfigError
from recap.files import write_atomic
from recap.hashing import canonical_json, file_sha256, sha256_hex
from recap.hub import located, named
from recap.workspace import Workspace


def content_identity(place: str | Path) -> str:
    """sha256 (hex) over names and bytes of a file, of all below a folder, or of what a hub's name brings; reads it."""
    return sha256_hex(canonical_json([[name, file_sha256(file)] for name, file in _files(place)]))


class Contents:
    """Identities of external files, remembered in a workspace.

    Args:
        workspace: where they are remembered.
        remember: False to write nothing, for readers that must not change the workspace.
    """

    def __init__(self, workspace: Workspace, *, remember: bool = True) -> None:
        self._file = workspace.cache / "contents.json"
        self._remember = remember
        self._known: dict[str, str] = {}

    def of(self, *configs: Any) -> dict[str, str]:
        """{dotted setting: identity} of everything that settings (and facts) point at; None points at nothing.

        Raises:
            ConfigError: nothing lies where a setting points; names the setting.
            NotFetched: the name of a hub whose files are not in the local cache.
        """
        pointed = (one for config in configs if config is not None for one in content_settings(config))
        return {path: self.identity(value, setting=path) for path, value in pointed}

    def identity(self, place: str | Path, *, setting: str) -> str:
        """`content_identity` of what `setting` names; raises as `of`."""
        files = dict(_files(place))
        if not files:
            raise ConfigError(
                f"setting {setting}: no file at {place}",
                hint=f"put it there, or name another place where {setting} is set; from a model hub: "
                "OWNER/NAME, or hf download OWNER/NAME --local-dir DIR",
            )
        stats = {name: file.stat() for name, file in files.items()}
        seen = [[name, stat.st_size, stat.st_mtime_ns] for name, stat in stats.items()]
        key = sha256_hex(canonical_json([str(located(str(place)).resolve()), seen]))
        known = {**self._read(), **self._known}
        if key not in known:
            known[key] = self._known[key] = content_identity(place)
            if self._remember:
                write_atomic(self._file, json.dumps(known).encode(), durable=False)
        return known[key]

    def _read(self) -> dict[str, str]:
        try:
            known: dict[str, str] = json.loads(self._file.read_bytes())
        except (FileNotFoundError, ValueError):
            # A memory of what was read, nothing more: absent or torn, the files are read again.
            return {}
        return known


def _files(place: str | Path) -> Iterator[tuple[str, Path]]:
    """(relative name, file), sorted by name; a file on its own has no name: another name is the same content."""
    if (name := named(str(place))) is not None:
        yield from name.files()
        return
    path = Path(place)
    if path.is_file():
        yield "", path
        return
    found = (file for file in path.rglob("*") if file.is_file())
    for file in sorted(found, key=lambda file: file.relative_to(path).as_posix()):
        yield file.relative_to(path).as_posix(), file
