"""Committed outputs of steps: all or nothing, checked, never overwritten, never deleted when they turn out bad.

    artifacts/<step>-<key16>/manifest.json   written last; sealed by a hash of itself
    artifacts/<step>-<key16>/<output>.json | <output>/...
    artifacts/.tmp/<step>-<key16>/           an attempt in flight
    quarantine/<utc>-<step>-<key16>/         what failed its manifest, with reason.json beside it

Writing needs the workspace lock. It must not know what steps mean or when they run.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recap import faults
from recap.errors import ArtifactCorrupt, ConfigError
from recap.files import move, remove_tree, sync, write_atomic
from recap.hashing import canonical_json, digest_tree, file_sha256, files_under, plain_json, sha256_hex
from recap.step import Artifact, DirOutput, JsonOutput, Output, StepSpec
from recap.workspace import Workspace

FORMAT = 1
_MANIFEST = "manifest.json"
_MOVES = "moves.json"
_HEX = frozenset("0123456789abcdef")


def entry_name(step: str, key: str) -> str:
    """Directory name of a step's result: `<step>-<first 16 digits of its key>`."""
    if len(key) != 64 or not _HEX.issuperset(key):
        raise ConfigError(f"step '{step}': {key!r} is not a key: expected 64 hex digits")
    return f"{step}-{key[:16]}"


@dataclass(frozen=True, kw_only=True, slots=True)
class OutputFinding:
    """One thing wrong with a stored artifact."""

    entry: str
    """Directory name under artifacts/."""
    file: str
    problem: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Draft:
    """A place for one attempt's outputs, not yet committed."""

    step: str
    key: str
    root: Path
    out: Path
    """Empty directory for the step to write in."""


class Store:
    """The artifacts of a workspace."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._drafts = workspace.artifacts / ".tmp"

    def path(self, step: str, key: str) -> Path:
        """Where the result of a key lies, or would lie."""
        return self._workspace.artifacts / entry_name(step, key)

    def load(self, step: str, key: str) -> dict[str, Artifact] | None:
        """The outputs committed under a key, or None. Checks manifest, file presence and sizes; moves nothing.

        Raises:
            ArtifactCorrupt: something was torn or altered after the commit.
        """
        folder = self.path(step, key)
        manifest = self._manifest(folder)
        if manifest is None:
            return None
        if manifest["key"] != key or manifest["step"] != step:
            raise ArtifactCorrupt(f"{folder}: manifest is of step '{manifest['step']}', key {manifest['key']}")
        for file in manifest["files"]:
            problem = _size_problem(folder / file["path"], file["size"])
            if problem:
                raise ArtifactCorrupt(f"{folder / file['path']}: {problem}")
        return {
            name: Artifact(name=name, identity=output["identity"], path=folder / output["path"])
            for name, output in manifest["outputs"].items()
        }

    def load_usable(self, spec: StepSpec, key: str) -> dict[str, Artifact] | None:
        """`load`, and the step's own check of what its outputs refer to outside the store.

        Raises:
            ArtifactCorrupt: torn or altered, or the step says that it can no longer be used.
        """
        found = self.load(spec.name, key)
        if found is not None and spec.check is not None:
            problem = spec.check(self._workspace, found)
            if problem:
                raise ArtifactCorrupt(problem)
        return found

    def begin(self, step: str, key: str) -> Draft:
        """A fresh draft; one left behind by a killed attempt is undone first."""
        root = self._drafts / entry_name(step, key)
        if root.exists():
            self._undo(root)
        root.mkdir(parents=True)
        out = root / "out"
        out.mkdir()
        return Draft(step=step, key=key, root=root, out=out)

    def abandon(self, draft: Draft) -> None:
        """Drops a draft; what a commit had already taken from scratch goes back there."""
        if draft.root.exists():
            self._undo(draft.root)

    def recover(self) -> list[str]:
        """Undoes every draft that a killed process left; returns their names."""
        left = sorted(self._drafts.iterdir()) if self._drafts.is_dir() else []
        for root in left:
            self._undo(root)
        return [root.name for root in left]

    def commit(self, draft: Draft, outputs: Mapping[str, Output], facts: Mapping[str, Any]) -> dict[str, Artifact]:
        """Makes the outputs durable and visible, all at once. On any error nothing is visible and scratch is whole.

        Args:
            draft: from `begin`.
            outputs: by name; directories are moved from draft.out or the key's scratch.
            facts: what the key is the hash of; kept in the manifest for people.

        Raises:
            ConfigError: an output that is not plain JSON, or a directory from elsewhere.
            OSError: the disk refused.
        """
        final = self.path(draft.step, draft.key)
        if final.exists():
            raise ConfigError(f"{final} exists already: a committed artifact is never overwritten")
        try:
            committed = self._commit(draft, outputs, facts, final)
        except BaseException:
            self.abandon(draft)
            raise
        faults.point("store.after_rename")
        remove_tree(draft.root / "out")
        remove_tree(draft.root)
        return committed

    def quarantine(self, step: str, key: str, reason: str) -> Path:
        """Moves a bad artifact out of the way, whole, with the reason beside it; returns the new place."""
        return self.quarantine_entry(entry_name(step, key), reason)

    def quarantine_entry(self, entry: str, reason: str) -> Path:
        """`quarantine` by directory name, as `verify` reports it."""
        source = self._workspace.artifacts / entry
        if Path(entry).name != entry or not source.is_dir() or entry.startswith("."):
            raise ConfigError(f"no artifact '{entry}' in {self._workspace.artifacts}")
        stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
        place = self._workspace.quarantine / f"{stamp}-{time.time_ns() % 1_000_000_000:09d}-{entry}"
        place.mkdir()
        record = {"entry": entry, "reason": reason, "found": time.time()}
        write_atomic(place / "reason.json", json.dumps(record, indent=1).encode())
        source.rename(place / "artifact")
        return place

    def quarantined(self, step: str, key: str) -> str | None:
        """The latest reason for which a result of this key was quarantined, or None."""
        places = sorted(self._workspace.quarantine.glob(f"*-{entry_name(step, key)}"))
        return str(json.loads((places[-1] / "reason.json").read_bytes())["reason"]) if places else None

    def entries(self) -> list[str]:
        """Directory names of all committed artifacts, sorted."""
        return sorted(entry.name for entry in self._workspace.artifacts.iterdir() if not entry.name.startswith("."))

    def manifest(self, entry: str) -> dict[str, Any]:
        """What was committed under an entry: step, key, facts, outputs and files. Looks at no file beside it.

        Raises:
            ArtifactCorrupt: it is not there, not readable, or was altered.
        """
        found = self._manifest(self._workspace.artifacts / entry)
        if found is None:
            raise ArtifactCorrupt(f"no artifact {entry}")
        return found

    def verify(self, entry: str | None = None) -> list[OutputFinding]:
        """Hashes every file of every artifact (or of one) against its manifest; moves nothing."""
        findings: list[OutputFinding] = []
        for name in self.entries() if entry is None else [entry]:
            folder = self._workspace.artifacts / name
            try:
                manifest = self._manifest(folder)
                found = {file.relative_to(folder).as_posix() for file in files_under(folder)}
            except (ArtifactCorrupt, ConfigError) as error:
                findings.append(OutputFinding(entry=name, file=_MANIFEST, problem=error.message))
                continue
            if manifest is None:
                raise ConfigError(f"no artifact '{name}' in {self._workspace.artifacts}")
            for file in manifest["files"]:
                path = folder / file["path"]
                problem = _size_problem(path, file["size"])
                if not problem and file_sha256(path) != file["sha256"]:
                    problem = "content differs from what was committed"
                if problem:
                    findings.append(OutputFinding(entry=name, file=file["path"], problem=problem))
            extra = found - {file["path"] for file in manifest["files"]} - {_MANIFEST}
            findings += [OutputFinding(entry=name, file=path, problem="not in the manifest") for path in sorted(extra)]
        return findings

    def _manifest(self, folder: Path) -> dict[str, Any] | None:
        """The sealed manifest; None where there is no such directory."""
        try:
            content = (folder / _MANIFEST).read_bytes()
        except FileNotFoundError:
            if folder.is_dir():
                raise ArtifactCorrupt(f"{folder} has no {_MANIFEST}") from None
            return None
        try:
            manifest: dict[str, Any] = json.loads(content)
            seal = manifest.pop("seal")
            intact = seal == sha256_hex(canonical_json(manifest))
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            raise ArtifactCorrupt(f"{folder / _MANIFEST} is not readable: {error!r}") from error
        if not intact:
            raise ArtifactCorrupt(f"{folder / _MANIFEST} was altered after it was sealed")
        if manifest["format"] > FORMAT:
            raise ConfigError(f"{folder} has format {manifest['format']}, this recap knows up to {FORMAT}")
        return manifest

    def _commit(
        self, draft: Draft, outputs: Mapping[str, Output], facts: Mapping[str, Any], final: Path
    ) -> dict[str, Artifact]:
        stage = draft.root / "stage"
        stage.mkdir()
        identities, written = self._gather(draft, outputs, stage)
        files = files_under(stage)
        sums = {file: written.get(file) or file_sha256(file) for file in files}
        listed = [
            {"path": file.relative_to(stage).as_posix(), "size": file.stat().st_size, "sha256": sums[file]}
            for file in files
        ]
        described = {}
        for name, output in outputs.items():
            place = stage / (f"{name}.json" if isinstance(output, JsonOutput) else name)
            identity = identities[name] or digest_tree(place, known=sums)
            described[name] = {"identity": identity, "path": place.name}
        faults.point("store.before_fsync")
        for file in files:
            if file not in written:
                sync(file)
        for folder, _, _ in stage.walk():
            if folder != stage:
                sync(folder)
        manifest = {
            "format": FORMAT,
            "step": draft.step,
            "key": draft.key,
            "facts": plain_json(facts),
            "outputs": described,
            "files": listed,
        }
        sealed = {**manifest, "seal": sha256_hex(canonical_json(manifest))}
        faults.point("store.before_manifest")
        _write_synced(stage / _MANIFEST, json.dumps(sealed).encode())
        sync(stage)
        faults.point("store.before_rename")
        move(stage, final)
        return {
            name: Artifact(name=name, identity=output["identity"], path=final / output["path"])
            for name, output in described.items()
        }

    def _gather(
        self, draft: Draft, outputs: Mapping[str, Output], stage: Path
    ) -> tuple[dict[str, str | None], dict[Path, str]]:
        """Brings every output into `stage`.

        Returns:
            The identities known without reading files, and {file: sha256} of the files written and synced here.
        """
        identities: dict[str, str | None] = {}
        written: dict[Path, str] = {}
        moves: list[tuple[Path, Path]] = []
        for name, output in outputs.items():
            if isinstance(output, JsonOutput):
                value = plain_json(output.value, where=f"output '{name}'")
                identities[name] = sha256_hex(canonical_json(value))
                content = json.dumps(value).encode()
                _write_synced(stage / f"{name}.json", content)
                written[stage / f"{name}.json"] = sha256_hex(content)
            else:
                identities[name] = output.identity
                moves.append((self._movable(draft, name, output), stage / name))
        for source, _ in moves:
            for other, _ in moves:
                if source is not other and source.is_relative_to(other):
                    raise ConfigError(f"output directory {source} lies inside another output, {other}")
        root = self._workspace.root
        # Written before the first move, so that a killed commit can give scratch its checkpoints back.
        record = [[str(s.relative_to(root)), str(t.relative_to(root))] for s, t in moves]
        if moves:
            write_atomic(draft.root / _MOVES, json.dumps(record).encode())
        for source, target in moves:
            source.rename(target)
        return identities, written

    def _movable(self, draft: Draft, name: str, output: DirOutput) -> Path:
        homes = (draft.out, self.scratch_dir(draft.step, draft.key))
        source = output.path.absolute()
        home = next((home for home in homes if source.is_relative_to(home)), None)
        if home is None or ".." in source.parts:
            raise ConfigError(f"output '{name}' is {source}: expected a directory under ctx.out or ctx.scratch")
        # A link on the way would lead out of the two places whose loss a killed commit can make good.
        if source.resolve() != home.resolve() / source.relative_to(home) or not source.is_dir():
            raise ConfigError(f"output '{name}': {source} is not a directory")
        files_under(source)
        if output.identity is not None and (len(output.identity) != 64 or not _HEX.issuperset(output.identity)):
            raise ConfigError(f"output '{name}': identity {output.identity!r} is not a sha256: expected 64 hex digits")
        return source

    def scratch_dir(self, step: str, key: str) -> Path:
        """Where attempts at a key keep work in progress."""
        return self._workspace.scratch / entry_name(step, key)

    def _undo(self, root: Path) -> None:
        """Removes a draft after moving back what its commit had taken from scratch."""
        record = root / _MOVES
        if record.exists():
            for source, target in json.loads(record.read_bytes()):
                home, taken = self._workspace.root / source, self._workspace.root / target
                inside = home.is_relative_to(self._workspace.scratch / root.name) and taken.parent == root / "stage"
                if inside and ".." not in home.parts and taken.exists() and not home.exists():
                    home.parent.mkdir(parents=True, exist_ok=True)
                    taken.rename(home)
        remove_tree(root)


def _size_problem(path: Path, size: int) -> str:
    try:
        got = path.stat().st_size
    except (FileNotFoundError, NotADirectoryError):
        return "is gone"
    return "" if got == size else f"expected {size} bytes, got {got}"


def _write_synced(path: Path, content: bytes) -> None:
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
