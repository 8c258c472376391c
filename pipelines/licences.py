"""Under which licences published weights are given: what lies with them says, or their family what is known.

Says what was found and judges nothing: terms have to be read by the person who agrees to them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recap.config import content_settings
from recap.hub import NotFetched, named

if TYPE_CHECKING:
    from pipelines.config import RunConfig

_PIPELINE = "model_index.json"
"""Of a folder of diffusers: its parts lie in folders below, what is said of them beside it."""
_FENCE = "---"


@dataclass(frozen=True, kw_only=True, slots=True)
class Weights:
    """One source of published weights that a run starts from."""

    place: str
    """Folder, file, or OWNER/NAME@REVISION of a hub."""
    settings: tuple[str, ...]
    """That name it."""
    here: bool
    """Whether it lies on this machine."""
    licence: str
    """What was found, in words; "" for nothing."""


def weights_of(config: RunConfig) -> list[Weights]:
    """The published weights that a run with these settings would start from, in the order of its settings."""
    found: dict[str, list[tuple[str, Path | None, str]]] = {}
    for setting, text, known in _named(config):
        name = named(text)
        try:
            folder = None if name is None else name.snapshot
        except NotFetched:
            found.setdefault(f"{name.repo}@{name.revision}" if name else text, []).append((setting, None, known))
            continue
        if name is not None:
            found.setdefault(f"{name.repo}@{name.revision}", []).append((setting, folder, known))
        else:
            own = Path(text) if Path(text).is_dir() else Path(text).parent
            top = own.parent if (own.parent / _PIPELINE).is_file() else own
            found.setdefault(str(top), []).append((setting, top if Path(text).exists() else None, known))
    return [_weights(place, told) for place, told in found.items()]


def said_in(folder: Path) -> str:
    """What the model card or the licence file in a folder names, and which of them; "" for nothing.

    Example:
        "license: gemma (README.md)" of a card whose front matter says so.
    """
    parts = []
    card = _front_matter(folder / "README.md")
    if told := [f"{key}: {card[key]}" for key in ("license", "license_name", "license_link") if card.get(key)]:
        parts.append(f"{', '.join(told)} (README.md)")
    titles = {file.name: _text(file).strip().partition("\n")[0] for file in sorted(folder.glob("LICENSE*"))}
    parts += [f"{title.strip()!r} ({name})" for name, title in titles.items() if title]
    return "; ".join(parts)


def _named(config: RunConfig) -> Iterator[tuple[str, str, str]]:
    """(dotted setting, what it names, what is known of the licence) of all published weights of a run."""
    from policy.models import family_of
    from value_model.models import family_of as value_family

    models: list[tuple[str, Any, Mapping[str, str]]] = [
        ("policy.model", config.policy.model, family_of(config.policy.model).licences)
    ]
    for name, model in config.values.items() if config.iterations else ():
        models.append((f"values.{name}", model, value_family(model).licences))
    for prefix, model, licences in models:
        for setting, text in content_settings(model):
            if setting in licences:
                yield f"{prefix}.{setting}", text, licences[setting]


def _weights(place: str, told: Sequence[tuple[str, Path | None, str]]) -> Weights:
    folders = [folder for _, folder, _ in told if folder is not None]
    licence = next((text for folder in folders if (text := said_in(folder))), "")
    known = "; ".join(dict.fromkeys(known for _, _, known in told))
    return Weights(
        place=place,
        settings=tuple(setting for setting, _, _ in told),
        here=len(folders) == len(told),
        licence=licence or (f"nothing there says; known: {known}" if known else ""),
    )


def _front_matter(file: Path) -> dict[str, Any]:
    """The YAML at the head of a model card; {} where there is none that can be read."""
    import yaml

    head, *rest = _text(file).splitlines() or [""]
    if head.strip() != _FENCE or not any(line.strip() == _FENCE for line in rest):
        return {}
    end = next(place for place, line in enumerate(rest) if line.strip() == _FENCE)
    try:
        told = yaml.safe_load("\n".join(rest[:end]))
    except yaml.YAMLError:
        return {}
    return told if isinstance(told, dict) else {}


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace")
    except OSError:  # absent, or not for us to read: then nothing is said
        return ""
