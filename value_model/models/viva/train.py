"""Training a ViVa model from experience to a bundle on disk. Resumable at any moment; deterministic with one thread."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from recap.config import semantic_dict
from recap.contents import content_identity
from recap.errors import ConfigError
from recap.hub import located
from recap.protocols import Journal
from recap.training.fit import fit
from recap.training.runtime import CPU, Runtime
from value_model.models import ValueData, training_rows
from value_model.models.viva.batches import ValueBatches, cached_latents
from value_model.models.viva.bundle import Parts, write_bundle
from value_model.models.viva.checks import check_channels
from value_model.models.viva.config import VivaConfig
from value_model.models.viva.encoder import make_encoder
from value_model.models.viva.frames import Layout, StateRange
from value_model.models.viva.learner import VivaLearner
from value_model.models.viva.model import build_transformer, initialise
from value_model.models.viva.text import embed_prompts
from value_model.models.viva.weights import load_weights
from value_model.views import view_positions


def train(
    config: VivaConfig,
    data: ValueData,
    episodes: NDArray[np.integer[Any]],
    *,
    seed: int,
    scratch: Path,
    out: Path,
    journal: Journal,
    data_identity: str,
    runtime: Runtime = CPU,
) -> dict[str, float]:
    """Trains and writes the bundle to `out`; see ValueFamily.train.

    Returns:
        steps, parameters, frames, and loss if a step was taken; equal for a resumed and an uninterrupted run.

    Raises:
        ConfigError: nothing to learn from, or data and config do not fit.
        ResumeRefused: `scratch` holds a checkpoint of another training, or an incomplete one.
    """
    packed = data.packed
    rows = training_rows(data, episodes, "viva")
    views = np.array(view_positions(packed.cameras, config.views, family="viva"), dtype=np.int64)
    encoder = runtime.place(make_encoder(config.encoder, packed.images, rows, views))
    size = packed.image_size
    channels, height, width = encoder.latent_size(*size)
    check_channels(channels, config.encoder.channels)
    patch = config.transformer.patch
    if height % patch or width % patch:
        raise ConfigError(f"viva: latents of {height} x {width} cells, expected multiples of transformer.patch {patch}")
    layout = Layout(
        views=len(views),
        channels=channels,
        height=height,
        width=width,
        state_dim=int(packed.state.shape[1]),
        future_state=config.use_future_state,
    )
    prompts = embed_prompts(
        data.prompts, tokens=config.transformer.text_tokens, dim=config.transformer.text_dim, file=config.prompt_file
    )
    state_range = StateRange.of(torch.from_numpy(packed.state[rows]))
    transformer = build_transformer(config.transformer, channels)
    if config.start:
        load_weights(transformer, located(config.start))
    else:
        initialise(transformer, seed=seed)
    order = sorted(prompts)
    learner = VivaLearner(transformer, encoder, layout, state_range, [prompts[name] for name in order], config)
    latents = None
    if not config.shift_pixels:  # a shifted picture has latents of its own
        with runtime.first_rank_first():
            latents = cached_latents(
                encoder,
                packed,
                views,
                np.unique(packed.episode_of[rows]).tolist(),
                lambda done, total: journal.progress(done, total, "episodes encoded"),
            )
    files = {"start": config.start, "prompt_file": config.prompt_file}
    batches = ValueBatches(
        data,
        rows,
        views=views,
        prompt_numbers=np.array([order.index(prompt) for prompt in data.prompts]),
        batch_size=config.batch_size,
        seed=seed,
        latents=latents,
    )
    result = fit(
        learner,
        batches,
        config.fit,
        seed=seed,
        scratch=scratch,
        journal=journal,
        runtime=runtime,
        fingerprint={
            "value_model": semantic_dict(config),
            "data": data_identity,
            "episodes": sorted(packed.episode_ids[int(e)] for e in episodes),
            "lookahead": data.lookahead[np.sort(episodes)].tolist(),
            # Their content: where they lie is in no setting that counts.
            **{name: content_identity(path) for name, path in files.items() if path},
        },
    )
    if runtime.rank == 0:
        if out.exists():
            shutil.rmtree(out)
        parts = Parts(
            config=config,
            layout=layout,
            views=tuple(packed.cameras[v] for v in views),
            image_size=size,
            transformer=transformer,
            encoder=encoder,
            state_range=state_range,
            prompts=prompts,
        )
        write_bundle(out, parts)
    runtime.barrier()
    return {**result.figures, "frames": float(len(rows))}
