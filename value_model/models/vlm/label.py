"""Values of whole episodes from a VLM bundle: V = sum_b p(b) v(b), in batches."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from recap.training.runtime import CPU, Runtime
from recap.training.tokenizer import FILE_NAME
from value_model.direct import Direct, Inputs, load_direct
from value_model.models.vlm.config import VlmConfig
from value_model.models.vlm.model import VlmNetwork


def load(path: Path, *, runtime: Runtime = CPU) -> Direct:
    """The model of a bundle folder; ArtifactCorrupt if it is not whole, ConfigError if there is no such device."""

    def build(config: VlmConfig, inputs: Inputs) -> VlmNetwork:
        own = str(path / FILE_NAME) if config.tokenizer else ""
        return VlmNetwork(replace(config, tokenizer=own), inputs)

    return load_direct(path, "vlm", VlmConfig, build, runtime=runtime)
