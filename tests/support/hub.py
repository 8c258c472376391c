"""A local cache of a model hub as huggingface_hub lays it out, made of folders and asked without any network."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest


def published_at(cache: Path, repo: str, folder: Path, *, at: str = "", branch: str = "main") -> str:
    """Puts a folder into the cache as `repo` at a commit and lets `branch` point at it; returns the commit.

    Args:
        cache: of the hub.
        repo: OWNER/NAME.
        folder: what the repository holds.
        at: folder of the repository that it is put in; empty: the top one.
        branch: that points at the commit.
    """
    store = cache / f"models--{repo.replace('/', '--')}"
    files = {file.relative_to(folder): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}
    commit = hashlib.sha1(b"".join(name.as_posix().encode() + data for name, data in files.items())).hexdigest()
    for name, data in files.items():
        blob = store / "blobs" / hashlib.sha256(data).hexdigest()
        blob.parent.mkdir(parents=True, exist_ok=True)
        blob.write_bytes(data)
        place = store / "snapshots" / commit / at / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(blob)
    (store / "refs").mkdir(exist_ok=True)
    (store / "refs" / branch).write_text(commit)
    return commit


def forget(cache: Path, repo: str) -> None:
    """Takes a repository out of the cache."""
    shutil.rmtree(cache / f"models--{repo.replace('/', '--')}")


def offline(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    """This process and those that it starts have this cache and no network."""
    from huggingface_hub import constants

    cache.mkdir(parents=True, exist_ok=True)
    monkeypatch.setenv("HF_HUB_CACHE", str(cache))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
