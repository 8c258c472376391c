"""What gpu.py measures: networks of the published sizes on a card, tiny ones in the same layout on the CPU."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import checkout  # noqa: F401
import torch
from tests.support.policies import CAMERAS, NAMES, TASK, arm_pair, synthetic_stats
from tests.support.published import pi05_sizes, tokenizer_file, wan_vae
from tests.support.synthetic import synthetic_draft

from data.batches import TrainingBatches
from data.episodes import EpisodeStore
from data.framecache import FrameCache, FrameView
from policy.flow.bundle import read_bundle, write_bundle
from policy.flow.config import network_sizes, tokenizer_of
from policy.flow.info import BundleInfo
from policy.flow.learner import FlowLearner
from policy.flow.needs import flow_needs
from policy.flow.scaling import PolicyStats
from policy.models.pi05.config import Pi05Config, published_preset
from policy.models.pi05.network import Pi05Network
from recap.training.needs import Needs
from recap.training.runtime import Runtime
from value_model.models.viva import VivaConfig
from value_model.models.viva.config import EncoderConfig, TransformerSizes
from value_model.models.viva.config import published_preset as published_viva
from value_model.models.viva.needs import WAN22_VAE

TINY_WAN = TransformerSizes(layers=1, heads=2, head_dim=12, ffn_dim=48, freq_dim=16, patch=2, text_dim=10)


def draw[M: torch.nn.Module](network: M) -> M:
    """The network with random weights, where it lies: gates that start at zero would hide mistakes behind them."""
    with torch.no_grad():
        for name, value in network.named_parameters():
            if value.ndim > 1:
                value.normal_(0.0, 0.5 if name.endswith("scale_shift_table") else value[0].numel() ** -0.5)
    return network


@dataclass(frozen=True, kw_only=True)
class Bench:
    """What is measured, where, and how often."""

    folder: Path
    rounds: int
    card: bool

    @property
    def runtime(self) -> Runtime:
        device, micro_batch = ("cuda", 1) if self.card else ("cpu", 4)
        return Runtime(device=device, dtype="bfloat16", micro_batch=micro_batch)

    @property
    def steps(self) -> int:
        """Gradient steps of a training that count."""
        return 2 if self.card else 12

    @cached_property
    def policy(self) -> Pi05Config:
        # LeRobot makes actions relative in its preprocessor, recap in its batches: absolute ones leave that out.
        tokenizer = str(tokenizer_file(self.folder / "tokenizer"))
        made = replace(published_preset(steps=1, fine=False), relative_actions=False, tokenizer=tokenizer)
        return made if self.card else replace(made, network=pi05_sizes(), chunk=8, execute=4, batch_size=16)

    @cached_property
    def viva(self) -> VivaConfig:
        made, folder = published_viva(steps=1), self.folder / "vae"
        if self.card:
            from diffusers import AutoencoderKLWan

            with torch.device("cuda"):
                AutoencoderKLWan(**WAN22_VAE).save_pretrained(folder)
            return replace(made, encoder=replace(made.encoder, folder=str(folder)))
        encoder = EncoderConfig(kind="wan_vae", channels=4, patch_pixels=16, folder=str(wan_vae(folder)))
        return replace(made, transformer=TINY_WAN, encoder=encoder, image_size=(96, 64))

    @cached_property
    def bundle(self) -> Path:
        """A pi0.5 of random weights."""
        config, tokenizer, path = self.policy, tokenizer_of(self.policy), self.folder / "bundle"
        torch.manual_seed(0)
        with torch.device(self.runtime.device):
            network = draw(Pi05Network(network_sizes(config, arm_pair(), CAMERAS), tokenizer))
        info = BundleInfo(
            network=network.sizes, task=TASK, chunk=config.chunk, execute=config.execute, tokenizer=tokenizer,
            euler_steps=config.euler_steps, prompt_tokens=config.prompt_tokens, cameras=CAMERAS, relative_dims=(),
            state_names=NAMES, action_names=NAMES,
            stats=PolicyStats.from_json(synthetic_stats(config.chunk, ()), relative=False),
        )  # fmt: skip
        write_bundle(path, network, info)
        return path

    @cached_property
    def batches(self) -> TrainingBatches:
        packed = self.packed("policy", 200, *[self.policy.network.image_size] * 2)
        return TrainingBatches(packed, chunk=self.policy.chunk, batch_size=self.policy.batch_size, seed=0)

    @cached_property
    def needs(self) -> Needs:
        """Of a training of pi0.5, computed on shapes alone."""
        return flow_needs(
            Pi05Network, self.policy, self.batches.batch(0), synthetic_stats(self.policy.chunk, ()), prompts=(TASK,),
            robot=arm_pair(), cameras=CAMERAS, runtime=self.runtime,
        )  # fmt: skip

    def packed(self, name: str, frames: int, height: int, width: int) -> FrameView:
        """One made-up episode in a frame cache."""
        store = EpisodeStore(self.folder / name / "episodes")
        store.commit(synthetic_draft(0, length=frames, height=height, width=width))
        return FrameCache(self.folder / name / "cache").view(store, store.ids())

    def learner(self, kind: type[FlowLearner] = FlowLearner) -> FlowLearner:
        """pi0.5 with the weights of the bundle, on the device."""
        (network, info), config = read_bundle(Pi05Network, self.bundle), self.policy
        made = kind(network, prompts=(TASK,), stats=info.stats, draws=config.draws, shift_pixels=config.shift_pixels)
        return self.runtime.place(made.train())

    def clock(self) -> float:
        """Seconds; of a card, once it has done all it was given."""
        if not self.card:
            return time.process_time()
        torch.cuda.synchronize()
        return time.perf_counter()
