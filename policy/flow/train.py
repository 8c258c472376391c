"""Training a policy from batches to candidate bundles on disk. Resumable anywhere; deterministic with one thread.

Starts from seeded weights or from those of a base bundle, and trains all of them or adapters beside them. Candidates
are bundles of the averaged weights along the way; which of them is best is for whoever can roll them out to say.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from policy.conditioning import TEXTS
from policy.flow.bundle import link_folder, read_bundle, write_bundle
from policy.flow.config import FlowConfig, candidate_steps, network_sizes, relative_dims, tokenizer_of
from policy.flow.info import PROMPT_SEPARATOR, BundleInfo
from policy.flow.initialise import initialise
from policy.flow.learner import FlowLearner, check_images
from policy.flow.lora import adapt, merge
from policy.flow.network import FlowNetwork
from policy.flow.scaling import PolicyStats
from policy.flow.sizes import NetworkSizes
from policy.flow.vocabulary import FIRST_BIN
from policy.flow.weights import load_weights
from recap import faults
from recap.config import semantic_dict, to_json
from recap.contents import content_identity
from recap.errors import ConfigError, ResumeRefused
from recap.files import publish_dir
from recap.hashing import sha256_hex
from recap.hub import located
from recap.protocols import BatchSource, Journal
from recap.specs import RobotSpec
from recap.training.checkpoint import checkpoint_folder, newest_step
from recap.training.fit import fit
from recap.training.runtime import CPU, Runtime


def train(
    kind: type[FlowNetwork],
    config: FlowConfig,
    batches: BatchSource,
    stats: Mapping[str, Any],
    *,
    prompts: Sequence[str],
    robot: RobotSpec,
    cameras: tuple[str, ...],
    scratch: Path,
    out: Path,
    journal: Journal,
    data_identity: str = "",
    base: Path | None = None,
    condition: str = "",
    seed: int = 0,
    runtime: Runtime = CPU,
) -> dict[str, float]:
    """Trains and writes one bundle per candidate: `out`/step-<six digits>, sorted by step, the last step among them.

    Args:
        kind: network of the family.
        config: what to train.
        batches: batches of `config.batch_size` with chunks of `config.chunk`, actions relative on
            `relative_dims(config, robot)` (data.batches.TrainingBatches); with the field "condition" where the policy
            is to act with one (policy.conditioning.ConditionedBatches).
        stats: `data.normalise.Stats.to_json()` of the same data, chunk and relative dimensions. Not used with a base,
            whose weights mean what they mean under the base's own figures: those are kept, also in the new bundles.
        prompts: the instructions, in words; with several, batches have the field "prompt"
            (policy.conditioning.PromptedBatches).
        robot: names and units of state and action.
        cameras: names in the order of the batches' images.
        scratch: survives attempts; checkpoints and finished candidates lie there.
        out: folder to make; replaced if an earlier attempt left it half written.
        journal: told how training goes.
        data_identity: identity of the training data, labels included; a resume on other data is refused.
        base: bundle whose weights training starts from; None: those of `config.start`, or weights drawn from `seed`.
        condition: words that the bundles act with (policy.conditioning.POSITIVE), or "" for a policy without any.
        seed: of starting weights and training noise.
        runtime: where to compute; with several ranks every one of them calls this, and rank 0 writes the bundles.

    Returns:
        Figures of the training (loss, parameters, steps), equal for a resumed and an uninterrupted run.

    Raises:
        ConfigError: batches, config, condition or base do not fit together.
        ArtifactCorrupt: the base is not a whole bundle.
        ResumeRefused: `scratch` holds a checkpoint of another training, or an incomplete one.
    """
    relative = relative_dims(config, robot)
    sizes = network_sizes(config, robot, cameras)
    first = batches.batch(0)
    _check(
        kind.family,
        config,
        first,
        robot,
        cameras,
        action_dim=sizes.action_dim,
        condition=condition,
        several=len(prompts) > 1,
    )
    if relative and (tuple(stats["relative_dims"]) != relative or stats["chunk"] != config.chunk):
        raise ConfigError(
            f"{kind.family}: stats of chunk {stats['chunk']} relative on {stats['relative_dims']}, "
            f"expected chunk {config.chunk} relative on {list(relative)}"
        )
    task = PROMPT_SEPARATOR.join(prompts)
    info = BundleInfo(
        network=sizes,
        task=task,
        chunk=config.chunk,
        execute=config.execute,
        euler_steps=config.euler_steps,
        prompt_tokens=config.prompt_tokens,
        cameras=cameras,
        state_names=robot.state_names,
        action_names=robot.action_names,
        relative_dims=relative,
        stats=PolicyStats.from_json(stats, relative=bool(relative), scaling=kind.scaling),
        condition=condition,
        tokenizer=tokenizer_of(config),
    )
    asked = semantic_dict(config)
    # Beside the other settings: a refusal of another names it. Absent without adapters, as in older checkpoints.
    fingerprint = {"lora": asked.pop("lora")} if config.lora.rank else {}
    fingerprint |= {"policy": asked, "network": to_json(sizes), "task": task, "data": data_identity}
    if isinstance(info.tokenizer.content, bytes):
        fingerprint["tokenizer"] = sha256_hex(info.tokenizer.content)
    starting = partial(_starting, kind, config, info, base, seed)
    network, start = starting()
    if start is not None:
        info = replace(info, stats=start.stats)
        fingerprint["base"] = start.policy_id
    elif config.start:
        fingerprint["start"] = content_identity(config.start)
    if config.lora.rank:
        adapt(network, config.lora, seed=seed, runtime=runtime)

    def plain() -> FlowNetwork:
        if not config.lora.rank:
            return network
        # Made again rather than kept: unrounded, the frozen weights would take memory all along.
        merged, _ = starting()
        merge(network, merged)
        return merged

    candidates = _Candidates(folder=scratch / "candidates", network=plain, info=info)
    steps = candidate_steps(config)
    candidates.check(steps, newest_step(checkpoint_folder(scratch)))
    learner = FlowLearner(
        network, prompts=prompts, stats=info.stats, draws=config.draws, shift_pixels=config.shift_pixels
    )
    result = fit(
        learner,
        batches,
        config.fit,
        seed=seed,
        scratch=scratch,
        journal=journal,
        runtime=runtime,
        fingerprint={**fingerprint, "condition": condition},
        snapshots=steps,
        on_snapshot=candidates.keep,
    )
    if runtime.rank == 0:
        if out.exists():
            shutil.rmtree(out)
        for step in steps:
            link_folder(candidates.path(step), out / candidates.path(step).name)
    runtime.barrier()
    return result.figures


def _starting(
    kind: type[FlowNetwork], config: FlowConfig, info: BundleInfo, base: Path | None, seed: int
) -> tuple[FlowNetwork, BundleInfo | None]:
    """The network that bundles of `info` would have at step 0, and what its base says of itself."""
    network = kind(info.network, info.tokenizer)
    if base is not None:
        weights, start = read_bundle(kind, base)
        _check_base(kind.family, base, start, info)
        # A copy, so that memory layouts are those of a fresh network. What a base of text lacks starts at zero.
        network.load_state_dict({**network.state_dict(), **weights.state_dict()})
        return network, start
    if config.start:
        load_weights(network, located(config.start))
    else:
        initialise(network, seed=seed, first_bin=FIRST_BIN)
    return network, None


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Candidates:
    """Bundles beside the checkpoints, each whole or not there: a resume after a snapshot finds it made."""

    folder: Path
    network: Callable[[], FlowNetwork]
    """Gives the network as a bundle holds it."""
    info: BundleInfo

    def path(self, step: int) -> Path:
        return self.folder / f"step-{step:06d}"

    def keep(self, step: int) -> None:
        """Commits the bundle of the weights that the network has now."""
        final, temporary = self.path(step), self.folder / f".tmp-{step:06d}"
        for left in (temporary, final):  # of an attempt that was killed before its checkpoint
            if left.exists():
                shutil.rmtree(left)
        write_bundle(temporary, self.network(), self.info)
        faults.point("train.inside_snapshot")
        publish_dir(temporary, final)

    def check(self, steps: tuple[int, ...], resumed: int | None) -> None:
        """ResumeRefused if a checkpoint lies beyond a candidate that is gone."""
        missing = [step for step in steps if resumed is not None and step <= resumed and not self.path(step).is_dir()]
        if missing:
            raise ResumeRefused(
                f"training stands at step {resumed}, but its candidate {self.path(missing[0])} is gone",
                hint=f"delete {self.folder.parent} to train from the start",
            )


def _check_base(family: str, base: Path, start: BundleInfo, wanted: BundleInfo) -> None:
    names = ("network", "cameras", "state_names", "action_names", "relative_dims", "chunk")
    start = replace(start, network=start.network.started_as(wanted.network))
    for name in names:
        got, expected = getattr(start, name), getattr(wanted, name)
        if got != expected:
            raise ConfigError(
                f"{family}: base {base} has {name} {_short(got)}, expected {_short(expected)}",
                hint="train the base with the same policy.model settings, robot and cameras",
            )
    if start.tokenizer.content != wanted.tokenizer.content:
        raise ConfigError(f"{family}: base {base} was trained with another tokenizer than policy.model.tokenizer says")


def _short(value: Any) -> str:
    return str(to_json(value)) if isinstance(value, NetworkSizes) else str(value)


def _check(
    family: str,
    config: FlowConfig,
    batch: Mapping[str, Any],
    robot: RobotSpec,
    cameras: tuple[str, ...],
    *,
    action_dim: int,
    condition: str,
    several: bool,
) -> None:
    images, action = batch["images"], batch["action"]
    if action.shape[1:] != (config.chunk, len(robot.action_names)):
        raise ConfigError(
            f"{family}: batches hold action chunks {action.shape[1:]}, "
            f"expected ({config.chunk}, {len(robot.action_names)})"
        )
    if batch["state"].shape[1] != len(robot.state_names) or images.shape[1] != len(cameras):
        raise ConfigError(
            f"{family}: batches hold {batch['state'].shape[1]} state values and {images.shape[1]} cameras, "
            f"expected {len(robot.state_names)} and {len(cameras)}"
        )
    if action_dim < action.shape[2]:
        raise ConfigError(
            f"{family}: network.action_dim = {action_dim} is less than the robot's {action.shape[2]} actions"
        )
    check_images(family, images, config.network.image_size)
    if condition not in TEXTS:
        raise ConfigError(f"{family}: condition {condition!r}, expected one of {', '.join(map(repr, TEXTS))}")
    if several and "prompt" not in batch:
        raise ConfigError(
            f'{family}: several instructions need batches with the field "prompt", got {sorted(batch)}',
            hint="wrap the batches in policy.conditioning.PromptedBatches",
        )
    if "level" in batch and config.network.condition != "embedding":
        raise ConfigError(
            f"{family}: graded conditions have no words, and network.condition = {config.network.condition!r}",
            hint="--set policy.model.network.condition=embedding",
        )
    if condition and "condition" not in batch:
        raise ConfigError(
            f'{family}: a policy that acts with {condition!r} needs batches with "condition", got {sorted(batch)}',
            hint="wrap the batches in policy.conditioning.ConditionedBatches",
        )
    if not condition and np.any(batch.get("condition", 0)):
        raise ConfigError(
            f"{family}: the batches hold conditions, but condition='' would have the policy act without one"
        )
