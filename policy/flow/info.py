"""What a policy bundle says of itself, and which files it has. No torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from policy.flow.scaling import PolicyStats
from policy.flow.sizes import NetworkSizes
from policy.flow.tokenizer import LOCAL, Tokenizer
from policy.models import TrainedFor

PROMPT_SEPARATOR = "; "


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class BundleInfo:
    """What a bundle says of itself beside its weights."""

    network: NetworkSizes
    task: str
    """Prompt it was trained on, in words; several are divided by PROMPT_SEPARATOR. It acts on the observation's."""
    chunk: int
    execute: int
    euler_steps: int
    prompt_tokens: int
    cameras: tuple[str, ...]
    """In the order of the image tokens."""
    state_names: tuple[str, ...]
    action_names: tuple[str, ...]
    relative_dims: tuple[int, ...]
    """Action dimensions predicted relative to the state."""
    stats: PolicyStats
    condition: str = ""
    """Words of the advantage condition it acts with (policy.conditioning.POSITIVE), or "": none."""
    guidance: float = 1.0
    """beta: 1 acts by the conditioned flow alone, otherwise by unconditioned + beta (conditioned - unconditioned)."""
    noise_scale: float = 1.0
    """Factor on the standard normal noise that the flow starts from when acting."""
    tokenizer: Tokenizer = LOCAL
    """What cuts its prompts; one of a file travels in the bundle."""
    policy_id: str = ""
    """Identity of the folder's logical content; known once it is written."""

    @property
    def trained_for(self) -> TrainedFor:
        """The robot and the prompts."""
        return TrainedFor(
            prompts=tuple(self.task.split(PROMPT_SEPARATOR)),
            cameras=self.cameras,
            state_names=self.state_names,
            action_names=self.action_names,
            state_range=(self.stats.state.q01, self.stats.state.q99),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Layout:
    """The files of a family's bundles beside recap.json."""

    weights: str
    """Name of the file of weights (safetensors)."""
    prefix: str = ""
    """Of every weight's name there."""
    beside: Callable[[Mapping[str, Any]], Mapping[str, Any]] = lambda weights: {}
    """{name: tensor} that the other library wants beside the network's weights."""
    files: Callable[[BundleInfo], Mapping[str, Any]]
    """{name: what it holds}: JSON, bytes, or {name: array} where the name ends with .safetensors."""
