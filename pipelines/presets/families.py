"""Settings of any registered family by its name, at one of the sizes that a preset of the run asks for."""

from __future__ import annotations

from typing import Any

from pipelines.config import DEFAULT_POLICY, Models


def policy_model(name: str, size: str, **asked: Any) -> Any:
    """Settings of a policy family.

    Args:
        name: of the family; "": pi05.
        size: "tiny" for tests, "small" for simulation, "published" for real weights; a family without it gives its
            default settings.
        asked: of PolicyFamily.presets.
    """
    from policy.models import POLICIES

    family = POLICIES.get(name or DEFAULT_POLICY)
    make = family.presets.get(size)
    return family.config() if make is None else make(**asked)


def noise_scales(policy: str) -> tuple[float, ...]:
    """The noise scales that a preset tries: of a policy that can act with any, a quiet one first."""
    from policy.models import POLICIES

    return (0.3, 1.0) if "noise_scale" in POLICIES.get(policy or DEFAULT_POLICY).acts_by else (1.0,)


def value_models(models: Models, size: str, **asked: Any) -> dict[str, Any]:
    """{name: settings} of the value model that labels and of those beside it, likewise.

    One that nobody published weights of has its small size where published ones are asked for, trained as long.
    """
    from value_model.models import VALUE_MODELS

    found = {}
    for name in dict.fromkeys(name for name in (models.value, *models.beside) if name):
        family = VALUE_MODELS.get(name)
        make = family.presets.get(size) or (family.presets.get("small") if size == "published" else None)
        found[name] = family.config() if make is None else make(**asked)
    return found
