"""Settings that name weights by where a model hub publishes them: `OWNER/NAME[@REVISION][/PATH]` instead of a path.

What lies on this machine under that text goes first. A name of a hub is bound to a commit when settings are read, by
the local cache of `huggingface_hub` alone, and fetched before the first step (`fetched`); steps read the cache and ask
no network. Only safetensors, JSON and what says the licence is fetched: no pickle.

Example:
    >>> str(HubName.parse("Wan-AI/Wan2.2-TI2V-5B-Diffusers", part="vae"))
    'Wan-AI/Wan2.2-TI2V-5B-Diffusers@main/vae'
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from recap.config import content_settings, holds_configs, rules_of
from recap.errors import ConfigError

ConfigT = TypeVar("ConfigT")
_WORD = r"[A-Za-z0-9][\w.-]*"
_NAME = re.compile(rf"(?P<repo>{_WORD}/{_WORD})(?:@(?P<revision>{_WORD}))?(?:/(?P<part>\.|{_WORD}(?:/{_WORD})*))?")
_READ = ("*.safetensors", "*.json")
"""Files of a folder that networks and tokenizers are read from."""
_TOLD = ("README.md", "LICENSE*")
"""Files of a repository that say under which terms it is given."""


class NotFetched(ConfigError):
    """A name of a hub whose files are not in the local cache; a run fetches them before its first step."""


@dataclass(frozen=True, kw_only=True, slots=True)
class HubName:
    """One folder or file of a repository on a hub."""

    repo: str
    """OWNER/NAME."""
    revision: str
    """Branch, tag or commit."""
    part: str
    """Folder or file in it; "." for its top folder."""

    @classmethod
    def parse(cls, text: str, *, part: str = "") -> HubName | None:
        """What a text names; None where it is no such name. `part` and the branch `main` are meant if it names none."""
        found = _NAME.fullmatch(text)
        if found is None or not (found["part"] or part):
            return None
        return cls(repo=found["repo"], revision=found["revision"] or "main", part=found["part"] or part)

    def __str__(self) -> str:
        return f"{self.repo}@{self.revision}/{self.part}"

    @property
    def is_file(self) -> bool:
        """Whether it names one file: by its ending."""
        return self.part.endswith((".json", ".safetensors"))

    @property
    def snapshot(self) -> Path:
        """The top folder of the repository in the local cache.

        Raises:
            NotFetched: not all of it is known to be there.
        """
        top, whole = self._cached()
        # Of what another program fetched no list may be there: then it is weights, or the file, that are asked for.
        if not whole or not any(name == "" or name.endswith(".safetensors") for name, _ in self._files(top)):
            raise self._not_here()
        return top

    @property
    def path(self) -> Path:
        """Where it lies on this machine; raises as `snapshot`."""
        return self.snapshot / self.part

    def files(self) -> Iterator[tuple[str, Path]]:
        """(relative name, file) of all that is read of it, sorted; "" is the name of a file. Raises as `snapshot`.

        What else of the repository lies in the cache is none of it: other programs fetch into the same folder.
        """
        return self._files(self.snapshot)

    def bound(self) -> HubName:
        """The same at the commit that the local cache has, or has begun to have; itself where the cache has none."""
        try:
            return dataclasses.replace(self, revision=self._cached()[0].name)
        except NotFetched:
            return self

    def fetch(self) -> None:
        """Fetches it into the local cache, as far as it is not there.

        Raises:
            ConfigError: it cannot be had, or holds no safetensors.
        """
        import httpx
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HFValidationError, XetDownloadError

        try:
            snapshot_download(self.repo, revision=self.revision, **self._chosen(*_TOLD))
        except (OSError, httpx.HTTPError, HFValidationError, XetDownloadError) as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise ConfigError(
                f"{self} cannot be had from the hub ({type(error).__name__}: {reason})", hint=self.by_hand
            ) from error
        try:
            self.snapshot  # noqa: B018 - says what is missing
        except NotFetched as error:
            lacks = self.part if self.is_file else f"safetensors in {self.part}"
            raise ConfigError(
                f"{self.repo}@{self.revision} holds no {lacks}",
                hint="name the folder in it: OWNER/NAME/FOLDER; no pickle is loaded",
            ) from error

    @property
    def by_hand(self) -> str:
        """How a person fetches it."""
        what = "" if self.part == "." else f" {self.part}" if self.is_file else f" --include '{self.part}/*'"
        at = "" if self.revision == "main" else f" --revision {self.revision}"
        return f"hf download {self.repo}{what}{at}   (where there is a network; HF_HOME says where the cache lies)"

    def _chosen(self, *besides: str) -> dict[str, Any]:
        """The files that are read, and `besides` of the top folder; patterns of the library match across folders."""
        inside = [self.part] if self.is_file else _READ if self.part == "." else [f"{self.part}/{end}" for end in _READ]
        deeper = "*/*" if self.part == "." else f"{self.part}/*/*"
        return {"allow_patterns": [*inside, *besides], "ignore_patterns": [deeper, *(f"{end}/*" for end in besides)]}

    def _files(self, top: Path) -> Iterator[tuple[str, Path]]:
        place = top / self.part
        if self.is_file:
            if place.is_file():
                yield "", place
            return
        found = {file.name: file for pattern in _READ for file in place.glob(pattern) if file.is_file()}
        yield from sorted(found.items())

    def _cached(self) -> tuple[Path, bool]:
        """The top folder in the local cache, and whether all that its list of files holds of this is there."""
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HFValidationError, IncompleteSnapshotError

        asked: dict[str, Any] = {"revision": self.revision, "local_files_only": True, **self._chosen()}
        try:
            return Path(snapshot_download(self.repo, **asked)), True
        except IncompleteSnapshotError as error:
            return Path(error.snapshot_path), False
        except (OSError, HFValidationError) as error:
            raise self._not_here() from error

    def _not_here(self) -> NotFetched:
        return NotFetched(f"{self} is not in the local cache of the hub", hint=self.by_hand)


def located(text: str) -> Path:
    """Where the content lies that a setting, as `bound` leaves it, points at.

    Raises:
        NotFetched: the name of a hub whose files are not in the local cache.
    """
    name = named(text)
    return Path(text) if name is None else name.path


def named(text: str) -> HubName | None:
    """The name of a hub that a setting holds as `bound` leaves it, with its revision; None: a path."""
    return HubName.parse(text) if "@" in text and not Path(text).exists() else None


def bound(config: ConfigT) -> ConfigT:
    """A copy in which names of a hub are written out, at the commit that the local cache has of them.

    A text that names something on this machine is left alone, and so is every setting that declares no hub.
    """

    def one(text: str, part: str) -> str:
        name = None if not part or Path(text).exists() else HubName.parse(text, part=part)
        return text if name is None else str(name.bound())

    return _changed(config, one)


def unfetched(config: Any) -> dict[str, HubName]:
    """{dotted setting: name of a hub} of what `fetched` would have to fetch."""
    found = {}
    for setting, text in content_settings(config):
        if (name := named(text)) is not None:
            try:
                name.snapshot  # noqa: B018 - says whether it is there
            except NotFetched:
                found[setting] = name
    return found


def without_unfetched(config: ConfigT) -> ConfigT:
    """A copy that points at none of what is not here yet: for estimates that need no file."""
    missing = {str(name) for name in unfetched(config).values()}
    return _changed(config, lambda text, part: "" if text in missing else text) if missing else config


def fetched(config: ConfigT, say: Callable[[str], None]) -> ConfigT:
    """A copy of `bound` settings whose files are all in the local cache, fetched as far as they were not.

    Raises:
        ConfigError: something cannot be had; names the setting, and both ways to read what it holds.
    """
    missing = unfetched(config)
    for setting, name in missing.items():
        say(f"{setting}: fetching {name} from the hub")
        try:
            name.fetch()
        except ConfigError as error:
            message = f"setting {setting}: there is no file or folder {name.repo} here, and {error.message}"
            raise ConfigError(message, hint=error.hint) from error
    return bound(config) if missing else config


def _changed(config: ConfigT, one: Callable[[str, str], str]) -> ConfigT:
    """A copy with one(text, part of a hub's repository that it declares) for every setting that points at content."""
    given: Any = config
    changed: dict[str, Any] = {}
    for item in dataclasses.fields(given):
        value, rules = getattr(given, item.name), rules_of(item)
        new: Any = value
        if dataclasses.is_dataclass(value):
            new = _changed(value, one)
        elif holds_configs(value):
            inner: Mapping[str, Any] = value
            new = {name: _changed(each, one) for name, each in inner.items()}
        elif rules is not None and rules.content and value:
            new = one(value, rules.hub)
        if new != value:
            changed[item.name] = new
    return dataclasses.replace(given, **changed) if changed else config
