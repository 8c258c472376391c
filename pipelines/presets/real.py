"""real-FAMILY and lora-FAMILY: published policies in full size, for accelerators and for recordings of real robots.

What the papers and their code say where they say it (docs/gpu.md lists what does not follow them). The files of the
weights are the user's to name: a run without them is refused.
"""

from __future__ import annotations

from dataclasses import replace

from pipelines.config import PRESETS, Models, PretrainConfig, RunConfig
from pipelines.presets.families import policy_model, value_models
from pipelines.presets.sim import sim
from pipelines.steps.checkpoint_selection.step import CheckpointSelectionConfig
from pipelines.steps.policy.step import PolicyConfig
from recap.errors import ConfigError
from recap.training.config import RuntimeConfig

BASE_STEPS, STEPS, VALUE_STEPS = 10_000, 20_000, 45_000
RANK = 32
"""Of adapters: what openpi's action expert has; its prefix has 16, and one rank serves both here."""


def _real(preset: str, policy: str, tasks: tuple[str, ...], models: Models, *, rank: int = 0) -> RunConfig:
    from policy.flow.config import LoraConfig

    if models.policy not in ("", policy):
        raise ConfigError(
            f"--policy {models.policy} with --preset {preset}, whose policy is {policy}", hint="leave --policy out"
        )
    # Episodes, folds, bounds and the gate are those of the default size: they do not depend on the networks.
    base = sim(tasks, replace(models, policy=policy))
    return replace(
        base,
        # One card: a worker that acts holds two policies while the gate plays them.
        workers=1 if rank else base.workers,
        pretrain=PretrainConfig(steps=BASE_STEPS),
        policy=PolicyConfig(
            model=replace(policy_model(policy, "published", steps=STEPS, fine=True), lora=LoraConfig(rank=rank))
        ),
        values=value_models(models, "small" if rank else "published", steps=VALUE_STEPS),
        checkpoint_selection=CheckpointSelectionConfig(attempts=base.checkpoint_selection.attempts),
        # Kept, GigaBrain-0's activations would leave an 80 GB card 3 GiB for kernels; those of pi0.5 fit (docs/gpu.md).
        runtime=RuntimeConfig(device="cuda", dtype="bfloat16", micro_batch=1, recompute=policy == "gigabrain0"),
    )


@PRESETS.register("real-pi05")
def real_pi05(tasks: tuple[str, ...], models: Models) -> RunConfig:
    """pi0.5 from its published weights; ViVa from Wan2.2's, a VLM from SigLIP's and Gemma 3's."""
    return _real("real-pi05", "pi05", tasks, models)


@PRESETS.register("real-gigabrain0")
def real_gigabrain0(tasks: tuple[str, ...], models: Models) -> RunConfig:
    """GigaBrain-0 from its published weights; with the default value, ViVa, the run of the ViVa paper."""
    return _real("real-gigabrain0", "gigabrain0", tasks, models)


@PRESETS.register("lora-pi05")
def lora_pi05(tasks: tuple[str, ...], models: Models) -> RunConfig:
    """real-pi05 on one card of 24 GB: adapters (LoRA) beside the published weights, value models of small sizes."""
    return _real("lora-pi05", "pi05", tasks, models, rank=RANK)


@PRESETS.register("lora-gigabrain0")
def lora_gigabrain0(tasks: tuple[str, ...], models: Models) -> RunConfig:
    """The same of GigaBrain-0."""
    return _real("lora-gigabrain0", "gigabrain0", tasks, models, rank=RANK)
