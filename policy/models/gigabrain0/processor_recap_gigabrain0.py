"""LeRobot processors of type `recap_gigabrain0`: pi0.5's steps, with GigaBrain-0's prompt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from lerobot.configs import PipelineFeatureType, PolicyFeature
from lerobot.lerobot_types import EnvTransition, TransitionKey
from lerobot.processor import ProcessorStep, ProcessorStepRegistry
from lerobot.utils.constants import OBS_STATE

from policy.flow.lerobot.processor import TokenizerStep, make_processors
from policy.models.gigabrain0.configuration_recap_gigabrain0 import RecapGigaBrain0Config
from policy.models.gigabrain0.layout import LEROBOT
from policy.models.gigabrain0.prompt import PROMPT


@dataclass
@ProcessorStepRegistry.register(name=LEROBOT.prompt)
class RecapGigaBrain0PromptStep(ProcessorStep):
    """Instruction and normalised state -> the text of the prompt, without a condition."""

    task_key: str = "task"

    def __call__(self, transition: EnvTransition) -> EnvTransition:
        """Writes a text per row in place of the instruction.

        Raises:
            ValueError: there is no state, or no instruction.
        """
        state = (transition.get(TransitionKey.OBSERVATION) or {}).get(OBS_STATE)
        said = dict(transition.get(TransitionKey.COMPLEMENTARY_DATA) or {})
        tasks = said.get(self.task_key)
        if state is None or tasks is None:
            raise ValueError(f"recap_gigabrain0 needs {OBS_STATE} and {self.task_key}")
        rows = PROMPT.bins(state.cpu().numpy()).tolist()
        tasks = [tasks] if isinstance(tasks, str) else tasks
        said[self.task_key] = [PROMPT.text(task, row) for task, row in zip(tasks, rows, strict=True)]
        result: EnvTransition = {**transition, TransitionKey.COMPLEMENTARY_DATA: said}
        return result

    def transform_features(
        self, features: dict[PipelineFeatureType, dict[str, PolicyFeature]]
    ) -> dict[PipelineFeatureType, dict[str, PolicyFeature]]:
        return features


@dataclass
@ProcessorStepRegistry.register(name=LEROBOT.tokenizer)
class RecapGigaBrain0TokenizerStep(TokenizerStep):
    """TokenizerStep of GigaBrain-0's prompt."""

    form = PROMPT


def make_recap_gigabrain0_pre_post_processors(
    config: RecapGigaBrain0Config, dataset_stats: dict[str, dict[str, torch.Tensor]] | None = None
) -> tuple[Any, Any]:
    """The two pipelines of a new policy. Statistics of LeRobot's are scaled by as they are, without ADDED."""
    return make_processors(
        config, dataset_stats, prompt=RecapGigaBrain0PromptStep(), tokenizer=RecapGigaBrain0TokenizerStep
    )
