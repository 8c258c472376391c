"""LeRobot processors of type `recap_pi05`: pi0.5's own steps but for the tokenizer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from lerobot.policies.pi05.processor_pi05 import Pi05PrepareStateTokenizerProcessorStep
from lerobot.processor import ProcessorStepRegistry

from policy.flow.lerobot.processor import TokenizerStep, make_processors
from policy.models.pi05.configuration_recap_pi05 import RecapPI05Config
from policy.models.pi05.layout import LEROBOT
from policy.models.pi05.prompt import PROMPT


@dataclass
@ProcessorStepRegistry.register(name=LEROBOT.tokenizer)
class RecapTokenizerStep(TokenizerStep):
    """TokenizerStep of pi0.5's prompt."""

    form = PROMPT


def make_recap_pi05_pre_post_processors(
    config: RecapPI05Config, dataset_stats: dict[str, dict[str, torch.Tensor]] | None = None
) -> tuple[Any, Any]:
    """The two pipelines of a new policy, in pi0.5's order."""
    prompt = Pi05PrepareStateTokenizerProcessorStep(max_state_dim=config.max_state_dim)
    return make_processors(config, dataset_stats, prompt=prompt, tokenizer=RecapTokenizerStep)
