"""The artifact store: whole or absent, checked on reading, moved aside when bad."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.support.faults import DAMAGES, damage

from recap.errors import ArtifactCorrupt, ConfigError
from recap.hashing import canonical_json, digest_tree, sha256_hex
from recap.step import DirOutput, JsonOutput, Output
from recap.store import Store
from recap.workspace import Workspace

KEY = sha256_hex(b"key")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(Workspace.open(tmp_path / "w"))


def committed(store: Store, *, key: str = KEY) -> Path:
    """A JSON output, a directory from scratch and one from ctx.out, under `key`."""
    scratch = store.scratch_dir("s", key)
    (scratch / "model" / "sub").mkdir(parents=True)
    (scratch / "model" / "weights.bin").write_bytes(bytes(range(200)))
    (scratch / "model" / "sub" / "config.json").write_text('{"a": 1}')
    draft = store.begin("s", key)
    (draft.out / "page").mkdir()
    (draft.out / "page" / "index.html").write_text("hello")
    outputs: dict[str, Output] = {
        "numbers": JsonOutput({"b": [1, 2.5], "a": None}),
        "model": DirOutput(scratch / "model"),
        "page": DirOutput(draft.out / "page"),
    }
    store.commit(draft, outputs, {"step": "s"})
    return store.path("s", key)


def test_a_commit_can_be_read_back(store: Store) -> None:
    assert store.load("s", KEY) is None
    folder = committed(store)
    found = store.load("s", KEY)
    assert found is not None
    assert list(found) == ["numbers", "model", "page"]
    assert found["numbers"].json() == {"b": [1, 2.5], "a": None}
    assert found["numbers"].identity == sha256_hex(canonical_json({"a": None, "b": [1, 2.5]}))
    assert found["model"].identity == digest_tree(folder / "model")
    assert (found["page"].path / "index.html").read_text() == "hello"
    assert store.verify() == []
    assert store.entries() == [folder.name]


def test_directories_are_moved_not_copied(store: Store) -> None:
    scratch = store.scratch_dir("s", KEY)
    (scratch / "model").mkdir(parents=True)
    (scratch / "model" / "w").write_bytes(b"x")
    inode = (scratch / "model" / "w").stat().st_ino
    draft = store.begin("s", KEY)
    found = store.commit(draft, {"model": DirOutput(scratch / "model")}, {})
    assert (found["model"].path / "w").stat().st_ino == inode
    assert not (scratch / "model").exists()
    assert not draft.root.exists()


def test_an_identity_that_the_step_knows_is_kept(store: Store) -> None:
    draft = store.begin("s", KEY)
    (draft.out / "m").mkdir()
    known = sha256_hex(b"weights")
    assert store.commit(draft, {"m": DirOutput(draft.out / "m", identity=known)}, {})["m"].identity == known


def test_a_committed_result_is_never_overwritten(store: Store) -> None:
    committed(store)
    draft = store.begin("s", KEY)
    with pytest.raises(ConfigError, match="never overwritten"):
        store.commit(draft, {"x": JsonOutput(1)}, {})


def listed_files(folder: Path) -> list[str]:
    return [entry["path"] for entry in json.loads((folder / "manifest.json").read_bytes())["files"]]


@pytest.mark.parametrize("how", DAMAGES)
@pytest.mark.parametrize("name", ["manifest.json", "numbers.json", "model/weights.bin", "model/sub/config.json"])
def test_damage_is_found(store: Store, how: str, name: str) -> None:
    folder = committed(store)
    damage(folder / name, how, at=3)
    assert store.verify(), f"{how} of {name} was accepted by verify"
    if how != "flip" or name == "manifest.json":
        with pytest.raises(ArtifactCorrupt, match=str(folder)):
            store.load("s", KEY)


def test_any_single_flipped_byte_of_the_manifest_is_found_on_reading(store: Store) -> None:
    folder = committed(store)
    path = folder / "manifest.json"
    content = path.read_bytes()
    meaning = json.loads(content)
    for at in range(0, len(content), 7):
        path.write_bytes(content[:at] + bytes([content[at] ^ 0x01]) + content[at + 1 :])
        try:
            store.load("s", KEY)
        except ArtifactCorrupt:
            continue
        assert json.loads(path.read_bytes()) == meaning, f"byte {at}: another meaning was accepted"


def test_a_manifest_of_another_key_or_a_newer_format_is_refused(store: Store) -> None:
    folder = committed(store)
    twin = KEY[:16] + sha256_hex(b"other")[:48]
    with pytest.raises(ArtifactCorrupt, match="manifest is of step"):
        store.load("s", twin)
    manifest = json.loads((folder / "manifest.json").read_bytes())
    del manifest["seal"]
    manifest["format"] = 2
    manifest["seal"] = sha256_hex(canonical_json(manifest))
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ConfigError, match="format 2"):
        store.load("s", KEY)


def test_files_that_nobody_committed_are_reported(store: Store) -> None:
    folder = committed(store)
    (folder / "model" / "extra.bin").write_bytes(b"x")
    assert [(f.file, f.problem) for f in store.verify()] == [("model/extra.bin", "not in the manifest")]


def test_quarantine_keeps_everything_and_the_reason(store: Store, tmp_path: Path) -> None:
    folder = committed(store)
    damage(folder / "numbers.json", "truncate")
    left = sorted(path.relative_to(folder) for path in folder.rglob("*"))
    place = store.quarantine("s", KEY, "numbers.json is torn")
    assert store.load("s", KEY) is None
    assert sorted(path.relative_to(place / "artifact") for path in (place / "artifact").rglob("*")) == left
    assert json.loads((place / "reason.json").read_bytes())["reason"] == "numbers.json is torn"
    assert store.quarantined("s", KEY) == "numbers.json is torn"
    committed(store)
    assert store.verify() == []


@pytest.mark.parametrize("entry", ["../w", "nothing", ".tmp", "a/b"])
def test_quarantine_takes_artifacts_only(store: Store, entry: str) -> None:
    with pytest.raises(ConfigError, match="no artifact"):
        store.quarantine_entry(entry, "x")


@pytest.mark.parametrize("key", ["../../etc", "abc", "A" * 64, KEY + "0"])
def test_keys_are_checked(store: Store, key: str) -> None:
    with pytest.raises(ConfigError, match="is not a key"):
        store.load("s", key)


def test_outputs_from_elsewhere_are_refused_and_scratch_stays_whole(store: Store, tmp_path: Path) -> None:
    scratch = store.scratch_dir("s", KEY)
    (scratch / "model").mkdir(parents=True)
    (scratch / "model" / "w").write_bytes(b"x")
    (scratch / "outside").symlink_to(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    bad: dict[str, Output] = {
        "expected a directory under": DirOutput(tmp_path / "elsewhere"),
        "expected a directory": DirOutput(scratch / ".." / ".."),
        "is not a directory": DirOutput(scratch / "none"),
        "is not a directory$": DirOutput(scratch / "outside" / "elsewhere"),
        "not a sha256": DirOutput(scratch / "model", identity="abc"),
        "lies inside another output": DirOutput(scratch / "model"),
        "output 'bad' is nan": JsonOutput(float("nan")),
    }
    for expected, output in bad.items():
        outputs: dict[str, Output] = {"bad": output}
        if "inside" in expected:
            (scratch / "model" / "sub").mkdir(exist_ok=True)
            outputs["worse"] = DirOutput(scratch / "model" / "sub")
        draft = store.begin("s", KEY)
        with pytest.raises(ConfigError, match=expected):
            store.commit(draft, outputs, {})
        assert store.load("s", KEY) is None
        assert (scratch / "model" / "w").read_bytes() == b"x"
        assert not draft.root.exists()


def test_links_inside_an_output_are_refused_before_anything_moves(store: Store) -> None:
    scratch = store.scratch_dir("s", KEY)
    (scratch / "model").mkdir(parents=True)
    (scratch / "model" / "link").symlink_to("/etc/hostname")
    draft = store.begin("s", KEY)
    with pytest.raises(ConfigError, match="symbolic link"):
        store.commit(draft, {"model": DirOutput(scratch / "model")}, {})
    assert (scratch / "model").is_dir()


def test_a_forged_record_of_moves_cannot_write_outside_scratch(store: Store, tmp_path: Path) -> None:
    draft = store.begin("s", KEY)
    (draft.root / "stage" / "model").mkdir(parents=True)
    taken = (draft.root / "stage" / "model").relative_to(tmp_path / "w")
    for home in (
        "../stolen",
        "scratch/../../stolen",
        f"scratch/{draft.root.name}/../../../stolen",
        "/tmp/stolen-by-recap",
    ):
        (draft.root / "stage" / "model").mkdir(parents=True, exist_ok=True)
        (draft.root / "moves.json").write_text(json.dumps([[home, str(taken)]]))
        store.abandon(draft)
        assert not (tmp_path / "stolen").exists()
        assert not Path("/tmp/stolen-by-recap").exists()


@dataclass(frozen=True, kw_only=True)
class _Written:
    steps: int


def test_an_output_of_another_recap_is_refused_by_its_file(store: Store) -> None:
    folder = committed(store)
    found = store.load("s", KEY)
    assert found is not None
    with pytest.raises(ConfigError, match=r"numbers\.json: not what this recap writes as 'numbers'.* 'b'") as refused:
        found["numbers"].read(_Written)
    assert folder.name in refused.value.message
    assert refused.value.hint.startswith("recap resume")
