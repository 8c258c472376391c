"""Which models a comparison trains: those named, and variations of ViVa by settings that it has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pipelines.config import PRESETS, Models, RunConfig
from recap.errors import ConfigError
from value_model.models import VALUE_MODELS, family_of

if TYPE_CHECKING:
    from value_model.models.viva.config import VivaConfig

LOOKAHEADS = (10, 25, 75)
"""K of the future state in the ablation `K`, control steps."""
_MAIN_CAMERA = "cam_high"


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One model of a comparison."""

    model: Any
    """Its settings."""
    lookahead: int | None = None
    """K of the future state, control steps; None: that of each task."""
    ablates: str = ""
    """What is varied of the base; "" for a model that was named."""


def named_models(config: RunConfig, preset: str, names: Sequence[str]) -> dict[str, Any]:
    """{name: settings}: those that the run has, and of the others the preset's.

    A name of the run may be anything; another one is that of a family.
    """
    found = dict(config.values)
    others = [name for name in names if name not in found]
    for name in others:
        VALUE_MODELS.get(name)
    if others:
        made = PRESETS.get(preset)(config.tasks, Models(value=others[0], beside=tuple(others[1:])))
        found |= made.values
    return {name: found[name] for name in names}


def entries(models: Mapping[str, Any], ablate: Sequence[str], cameras: Sequence[str]) -> dict[str, Entry]:
    """{name: entry} of the models and of what is varied of the first ViVa among them.

    Raises:
        ConfigError: there is no ViVa to vary, or nothing to vary in it; two entries of one name.
    """
    found = {name: Entry(model=model) for name, model in models.items()}
    if not ablate:
        return found
    base = next((name for name, model in models.items() if family_of(model).name == "viva"), None)
    if base is None:
        raise ConfigError(
            f"--ablate {','.join(ablate)} without a model of family viva among --values {','.join(models)}",
            hint=f"--values viva,{','.join(models)}",
        )
    for what in ablate:
        for name, entry in _VARIATIONS[what](models[base], cameras).items():
            full = f"{base}-{name}"
            if full in found:
                raise ConfigError(f"two models named '{full}'", hint="name it otherwise in --values")
            found[full] = replace(entry, ablates=what)
    return found


def base_of(found: Mapping[str, Entry]) -> str | None:
    """The model that the ablations vary; None where there is none."""
    if not any(entry.ablates for entry in found.values()):
        return None
    return next(name for name, entry in found.items() if family_of(entry.model).name == "viva")


def _future_state(model: VivaConfig, cameras: Sequence[str]) -> dict[str, Entry]:
    del cameras
    if not model.use_future_state:
        raise ConfigError("--ablate future_state: use_future_state is off already in this viva", hint="leave it out")
    return {"no-future-state": Entry(model=replace(model, use_future_state=False))}


def _lookahead(model: VivaConfig, cameras: Sequence[str]) -> dict[str, Entry]:
    del cameras
    if not model.use_future_state:
        raise ConfigError("--ablate K: K is of the future state, which this viva does not denoise", hint="leave K out")
    return {f"K{steps}": Entry(model=model, lookahead=steps) for steps in LOOKAHEADS}


def _views(model: VivaConfig, cameras: Sequence[str]) -> dict[str, Entry]:
    seen = tuple(model.views) or tuple(cameras)
    if len(seen) < 2:
        raise ConfigError(
            f"--ablate views: this viva sees one camera alone ({', '.join(seen)}), so none can be left out",
            hint="leave views out of --ablate",
        )
    one = _MAIN_CAMERA if _MAIN_CAMERA in seen else seen[0]
    return {f"only-{one}": Entry(model=replace(model, views=(one,)))}


def _backbone(model: VivaConfig, cameras: Sequence[str]) -> dict[str, Entry]:
    del cameras
    if model.start:
        raise ConfigError(
            f"--ablate backbone: the weights of {model.start} have one size",
            hint="leave backbone out of --ablate",
        )
    layers = model.transformer.layers
    return {
        f"{count}-layers": Entry(model=replace(model, transformer=replace(model.transformer, layers=count)))
        for count in (layers // 2, 2 * layers)
        if count
    }


def _pretrained(model: VivaConfig, cameras: Sequence[str]) -> dict[str, Entry]:
    del cameras
    if not model.start:
        raise ConfigError(
            "--ablate pretrained: this viva starts from no weights, so there is nothing to leave out "
            "(start names none)",
            hint="--set values.viva.start=PATH",
        )
    return {"from-scratch": Entry(model=replace(model, start=""))}


_VARIATIONS: Mapping[str, Any] = {
    "future_state": _future_state,
    "K": _lookahead,
    "views": _views,
    "backbone": _backbone,
    "pretrained": _pretrained,
}
