"""Names of a hub in settings: what they mean, where they lie, what of them is in a key, what is said without them."""

from __future__ import annotations

import shlex
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tests.support.hub import forget, offline, published_at

from recap.config import setting, validate
from recap.contents import Contents, content_identity
from recap.errors import ConfigError
from recap.hub import HubName, NotFetched, bound, fetched, located, unfetched, without_unfetched
from recap.workspace import Workspace

REPO = "owner/name"


@dataclass(frozen=True, kw_only=True, slots=True)
class Inner:
    start: str = setting("", content=True, hub=".")
    folder: str = setting("", content=True, hub="vae")
    tokenizer: str = setting("", content=True, hub="tokenizer.json")
    own: str = setting("", content=True)

    def __post_init__(self) -> None:
        validate(self)


@dataclass(frozen=True, kw_only=True, slots=True)
class Outer:
    model: Inner = field(default_factory=Inner)
    values: dict[str, Inner] = field(default_factory=dict)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    offline(monkeypatch, tmp_path / "hub")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "hub"


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    folder = tmp_path / "weights"
    (folder / "vae").mkdir(parents=True)
    for name in ("model.safetensors", "config.json", "tokenizer.json", "vae/x.safetensors", "vae/config.json"):
        (folder / name).write_text(f"content of {name}")
    for name in ("README.md", "pytorch_model.bin", "vae/old.bin"):
        (folder / name).write_text("not read")
    return folder


@pytest.mark.parametrize(
    ("text", "part", "says"),
    [
        ("a/b", ".", "a/b@main/."),
        ("a/b@v1.0", "vae", "a/b@v1.0/vae"),
        ("a/b/c/d", ".", "a/b@main/c/d"),
        ("a/b@x/.", "vae", "a/b@x/."),
        *(
            (text, ".", None)
            for text in ("a", "/a/b", "./a/b", "../a", "a/../b", "a/b/../c", "~/a", "a//b", "a/b@", "")
        ),
        ("a/b", "", None),
    ],
)
def test_what_a_text_means(text: str, part: str, says: str | None) -> None:
    name = HubName.parse(text, part=part)
    assert (None if name is None else str(name)) == says
    assert name is None or HubName.parse(str(name)) == name


def test_names_are_bound_to_the_commit_of_the_cache_and_paths_left_alone(cache: Path, weights: Path) -> None:
    commit = published_at(cache, REPO, weights)
    asked = Outer(
        model=Inner(start=REPO, folder=REPO, tokenizer=REPO, own=REPO),
        values={"a": Inner(start=str(weights)), "b": Inner(start=f"{REPO}@main")},
    )
    found = bound(asked)
    assert found.model == Inner(
        start=f"{REPO}@{commit}/.", folder=f"{REPO}@{commit}/vae", tokenizer=f"{REPO}@{commit}/tokenizer.json", own=REPO
    )
    assert found.values == {"a": asked.values["a"], "b": Inner(start=f"{REPO}@{commit}/.")}
    assert bound(found) == found
    assert unfetched(found) == {}
    assert located(found.model.folder).samefile(cache / "models--owner--name" / "snapshots" / commit / "vae")
    assert located(found.model.tokenizer).read_text() == "content of tokenizer.json"
    Path(REPO).mkdir(parents=True)
    assert bound(asked).model.start == REPO, "what lies here goes first"
    assert located(REPO) == Path(REPO)


def test_the_key_is_of_what_is_read_of_it_and_of_nothing_else(cache: Path, weights: Path, tmp_path: Path) -> None:
    commit = published_at(cache, REPO, weights)
    contents = Contents(Workspace.open(tmp_path / "w"))

    def key(name: str) -> dict[str, str]:
        return contents.of(bound(Inner(start=name, folder=name, tokenizer=name)))

    first = key(REPO)
    # The same folders on this machine, less what nobody reads.
    (local := tmp_path / "local").mkdir()
    for name in ("model.safetensors", "config.json", "tokenizer.json"):
        shutil.copy(weights / name, local)
    shutil.copytree(weights / "vae", local.parent / "vae", ignore=shutil.ignore_patterns("*.bin"))
    here = Inner(start=str(local), folder=str(tmp_path / "vae"), tokenizer=str(local / "tokenizer.json"))
    assert contents.of(here) == first
    assert content_identity(f"{REPO}@{commit}/.") == first["start"]
    # Another program fetches more of the same commit.
    (cache / "models--owner--name" / "snapshots" / commit / "notes.txt").write_text("more")
    assert key(REPO) == first
    assert published_at(cache, "other/name", weights, at="inside") == commit
    assert contents.of(Inner(start=f"other/name@{commit}/inside"))["start"] == first["start"]
    (weights / "model.safetensors").write_text("moved on")
    assert published_at(cache, REPO, weights) != commit
    moved = key(REPO)
    assert moved["start"] != first["start"]
    assert (moved["folder"], moved["tokenizer"]) == (first["folder"], first["tokenizer"])
    assert key(f"{REPO}@{commit}") == first


def test_what_is_not_in_the_cache_is_named_and_nothing_is_lost(cache: Path, tmp_path: Path) -> None:
    asked = bound(Inner(start=REPO, tokenizer=f"{REPO}@v2"))
    assert asked == Inner(start=f"{REPO}@main/.", tokenizer=f"{REPO}@v2/tokenizer.json")
    assert list(unfetched(asked)) == ["start", "tokenizer"]
    assert without_unfetched(asked) == Inner()
    with pytest.raises(NotFetched, match=r"owner/name@main/\. is not in the local cache"):
        Contents(Workspace.open(tmp_path / "w")).of(asked)
    told: list[str] = []
    says = r"setting start: there is no file or folder owner/name here, and owner/name@main/\. cannot be had"
    with pytest.raises(ConfigError, match=says) as refused:
        fetched(asked, told.append)
    assert refused.value.hint.startswith("hf download owner/name   ")
    assert told == ["start: fetching owner/name@main/. from the hub"]
    assert list(cache.iterdir()) == []
    with pytest.raises(ConfigError, match="cannot be had"):
        fetched(Inner(start="a..b/c@main/."), told.append)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a/b@main/.", ["a/b"]),
        ("a/b@v1/vae", ["a/b", "--include", "vae/*", "--revision", "v1"]),
        ("a/b@main/x/tokenizer.json", ["a/b", "x/tokenizer.json"]),
    ],
)
def test_the_command_that_fetches_by_hand_is_one(text: str, words: list[str]) -> None:
    name = HubName.parse(text)
    assert name is not None
    command, _, _ = name.by_hand.partition("   (")
    assert shlex.split(command) == ["hf", "download", *words]


def test_what_is_there_in_part_is_not_there(cache: Path, weights: Path) -> None:
    for file in weights.rglob("*.safetensors"):
        file.unlink()
    commit = published_at(cache, REPO, weights)
    asked = bound(Inner(start=REPO, folder=REPO, tokenizer=REPO))
    assert asked.start == f"{REPO}@{commit}/."
    assert list(unfetched(asked)) == ["start", "folder"]
    forget(cache, REPO)
    assert list(unfetched(asked)) == ["start", "folder", "tokenizer"]
    with pytest.raises(NotFetched):
        located(asked.tokenizer)


def test_what_is_fetched_is_what_is_read(
    cache: Path, weights: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The hub's library decides by patterns; the hub itself is played by the folder."""
    import huggingface_hub
    from huggingface_hub.utils import filter_repo_objects

    (weights / "LICENSE.txt").write_text("terms")
    (weights / "sub").mkdir()
    (weights / "sub" / "model.safetensors").write_text("of another")
    real = huggingface_hub.snapshot_download

    def download(repo: str, *, revision: str, local_files_only: bool = False, **chosen: list[str]) -> str:
        if not local_files_only:
            every = [file.relative_to(weights).as_posix() for file in weights.rglob("*") if file.is_file()]
            (taken := tmp_path / "taken").mkdir()
            for name in filter_repo_objects(every, **chosen):
                (taken / name).parent.mkdir(exist_ok=True, parents=True)
                shutil.copy(weights / name, taken / name)
            published_at(cache, repo, taken)
            shutil.rmtree(taken)
        return str(real(repo, revision=revision, local_files_only=True, **chosen))

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    top = {"model.safetensors", "config.json", "tokenizer.json", "README.md", "LICENSE.txt"}
    for asked, names in (
        (Inner(start=REPO), top),
        (Inner(tokenizer=REPO), {"tokenizer.json", "README.md", "LICENSE.txt"}),
        (Inner(folder=REPO), {"vae/x.safetensors", "vae/config.json", "README.md", "LICENSE.txt"}),
    ):
        config = fetched(bound(asked), lambda line: None)
        (snapshot,) = (cache / "models--owner--name" / "snapshots").iterdir()
        assert {file.relative_to(snapshot).as_posix() for file in snapshot.rglob("*") if file.is_file()} == names
        assert unfetched(config) == {}
        assert snapshot.name in str(config)
        forget(cache, REPO)
    with pytest.raises(ConfigError, match="holds no safetensors in empty"):
        fetched(bound(Inner(start=f"{REPO}/empty")), lambda line: None)
