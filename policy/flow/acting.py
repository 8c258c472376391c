"""A trained bundle as a Policy: one observation and a noise seed in, a chunk of robot actions out.

Deterministic on the CPU: one torch thread, float32, noise from the seed alone. The bundle says by which advantage
condition it acts, how far the flow is pushed towards it (guidance beta; 1 is one pass, as without
condition) and how much noise it starts from. Costs torch to load, neither transformers nor LeRobot.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from data.resize import letterbox
from policy.conditioning import TEXTS, Condition, code_of
from policy.flow.bundle import read_bundle
from policy.flow.info import BundleInfo
from policy.flow.learner import float_images
from policy.flow.network import EulerModulations, FlowNetwork, Prefix
from policy.flow.prompt import PromptForm
from recap.errors import ConfigError
from recap.protocols import PolicyFacts
from recap.training.runtime import CPU, Runtime
from recap.types import FloatArray, FrameArray, Observation


class FlowActor:
    """A ServedPolicy (recap.protocols). Build it with `load_policy`."""

    def __init__(self, network: FlowNetwork, info: BundleInfo, runtime: Runtime = CPU) -> None:
        # Half of the memory, and nothing is rounded anew at every step of a flow.
        runtime.round_matrices(network.eval().requires_grad_(False).paligemma_with_expert)
        self.network = runtime.place(network)
        self.info, self.runtime = info, runtime
        self._relative = np.zeros(len(info.action_names), np.float32)
        self._relative[list(info.relative_dims)] = 1.0
        # The weights stay, so these are the same at every call with as many rows.
        self._modulations: tuple[int, EulerModulations] | None = None

    @property
    def policy_id(self) -> str:
        """Identity of the bundle's logical content (sha256, hex)."""
        return self.info.policy_id

    @property
    def chunk(self) -> int:
        """H, actions per call."""
        return self.info.chunk

    @property
    def execute(self) -> int:
        """Actions of a chunk that are meant to be sent before the next call."""
        return self.info.execute

    @property
    def facts(self) -> PolicyFacts:
        """What it sees and does. Trained without conditions it can be told none."""
        info, trained = self.info, self.info.trained_for
        return PolicyFacts(
            prompts=trained.prompts,
            cameras=trained.cameras,
            state_names=trained.state_names,
            action_names=trained.action_names,
            chunk=info.chunk,
            conditions=TEXTS if info.condition else ("",),
            condition=info.condition,
            guidance=info.guidance,
        )

    def check(self, observation: Observation) -> None:
        """ConfigError for a missing camera, a state of another shape or a prompt longer than in training."""
        self._check_shapes(observation)
        tokens = _longest(self.network.form, observation.prompt, len(self.info.state_names))
        if tokens > self.info.prompt_tokens:
            raise ConfigError(
                f"{self.network.family}: a prompt of up to {tokens} tokens, expected at most {self.info.prompt_tokens}"
            )

    def told(self, condition: str, guidance: float) -> FlowActor:
        """The same weights, told another condition (its words) and guidance.

        Raises:
            ConfigError: there is no such condition, it was trained without any, or guidance has nothing to mix.
        """
        code_of(condition)
        if condition not in self.facts.conditions:
            raise ConfigError(f"{self.network.family}: trained without advantage conditions, cannot hear {condition!r}")
        if guidance != 1.0 and not condition:
            raise ConfigError(f"{self.network.family}: guidance {guidance:g} without a condition, expected 1")
        return FlowActor(self.network, replace(self.info, condition=condition, guidance=guidance), self.runtime)

    def act(self, observation: Observation, *, noise_seed: int) -> FloatArray:
        """[H, A] actions in robot units. The same observation and seed give the same bits.

        Raises:
            ConfigError: a camera is missing, or the state has another shape than in training.
        """
        chunk: FloatArray = self.act_batch([observation], noise_seeds=[noise_seed])[0]
        return chunk

    def act_batch(self, observations: Sequence[Observation], *, noise_seeds: Sequence[int]) -> FloatArray:
        """[B, H, A] actions for B observations, whatever the prompt of each.

        Equal to B single calls up to rounding: matrix products of another height sum in another order.
        """
        info = self.info
        for observation in observations:
            self._check_shapes(observation)
        images = torch.from_numpy(np.stack([self._frames(observation) for observation in observations]))
        state = np.stack([observation.state for observation in observations]).astype(np.float32)
        scaled = info.stats.state.apply(state)
        noise = info.noise_scale * torch.stack([self.noise(seed) for seed in noise_seeds])
        sampled = self._sample(images, [observation.prompt for observation in observations], scaled, noise)
        action = info.stats.action.invert(sampled[..., : len(info.action_names)].cpu().numpy())
        return (action + self._relative * _aligned(state, action.shape[-1])[:, None]).astype(np.float32)

    def noise(self, seed: int) -> Tensor:
        """[H, F] what the chunk of a seed starts from, before its scale: padded dimensions are noise as in training."""
        return chunk_noise(seed, self.info.chunk, len(self.info.action_names), self.network.sizes.action_dim)

    def _sample(self, images: Tensor, prompts: Sequence[str], state: FloatArray, noise: Tensor) -> Tensor:
        """[B, H, F] normalised actions on the device, from images [B, C, s, s, 3], state [B, S] and noise [B, H, F]."""
        move = self.runtime.move
        with torch.inference_mode(), self.runtime.autocast():
            prefix = self._prefix(float_images(move(images)), prompts, state)
            return self.network.sample(
                prefix,
                move(noise)[:, None],
                self.info.euler_steps,
                guidance=self.info.guidance,
                condition=self.info.condition,
                modulations=self._modulations_for(len(prefix.length)),
            )[:, 0]

    def _prefix(self, images: Tensor, prompts: Sequence[str], state: FloatArray) -> Prefix:
        """Of B observations; with guidance of 2 B, first with condition, then without, over the same image features.

        Of B with guidance too where the prompt carries no condition.
        """
        network, info, move = self.network, self.info, self.runtime.move
        told = [TEXTS.index(network.sizes.words(info.condition))]
        features = network.embed_images(images)
        if info.guidance != 1.0 and network.sizes.condition != "embedding":
            told, features = [*told, Condition.NONE], torch.cat([features, features])
        states = np.concatenate([state] * len(told))
        different = list(dict.fromkeys(prompts))
        which = np.array([different.index(prompt) for prompt in prompts] * len(told), np.int64)
        tokens, written = network.form.mixed_tokens(different, which, states, np.repeat(told, len(state)))
        return network.prefix_after(
            features,
            move(torch.from_numpy(tokens)),
            token_valid=None if written is None else move(torch.from_numpy(written)),
        )

    def _modulations_for(self, rows: int) -> EulerModulations:
        """Those of a prefix of `rows` rows, one draw each; made again for other rows, which may round otherwise."""
        if self._modulations is None or self._modulations[0] != rows:
            info = self.info
            self._modulations = (
                rows,
                self.network.euler_modulations(
                    rows, 1, info.euler_steps, guidance=info.guidance, condition=info.condition
                ),
            )
        return self._modulations[1]

    def _check_shapes(self, observation: Observation) -> None:
        wanted, got = len(self.info.state_names), observation.state.shape
        if got != (wanted,):
            raise ConfigError(f"{self.network.family}: state of {' x '.join(map(str, got))} numbers, expected {wanted}")
        missing = [name for name in self.info.cameras if name not in observation.frames]
        if missing:
            raise ConfigError(
                f"{self.network.family}: no frame of {', '.join(missing)}; got {sorted(observation.frames)}"
            )

    def _frames(self, observation: Observation) -> FrameArray:
        size = self.network.sizes.image_size
        frames = [letterbox(observation.frames[name][None], size, size) for name in self.info.cameras]
        return np.concatenate(frames)


@lru_cache(maxsize=256)
def _longest(form: PromptForm, prompt: str, states: int) -> int:
    return form.longest(prompt, states)


def chunk_noise(seed: int, steps: int, width: int, padded: int = 0) -> Tensor:
    """[H, max(width, padded)] standard normal noise of a seed (any integer).

    Whatever the padding, a seed has the same noise in its `width` real dimensions.
    """
    parts = [
        np.random.Generator(np.random.Philox(key=np.array([seed % 2**64, key], np.uint64))).standard_normal(
            (steps, count), dtype=np.float32
        )
        for key, count in ((0x7069_3035, width), (0x7069_3036, max(padded - width, 0)))
    ]
    return torch.from_numpy(np.concatenate(parts, axis=1))


def load_policy(kind: type[FlowNetwork], path: Path, *, runtime: Runtime = CPU) -> FlowActor:
    """The policy of a bundle folder of a family, acting where `runtime` says.

    Raises:
        ArtifactCorrupt: the folder is not a whole bundle.
        ConfigError: there is no such device.
    """
    torch.set_num_threads(1)
    network, info = read_bundle(kind, path)
    return FlowActor(network, info, runtime)


def _aligned(state: FloatArray, width: int) -> FloatArray:
    """[B, S] -> [B, width]: state as far as actions go, zeros beyond it."""
    out = np.zeros((len(state), width), np.float32)
    shared = min(width, state.shape[1])
    out[:, :shared] = state[:, :shared]
    return out
