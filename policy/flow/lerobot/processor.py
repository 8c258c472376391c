"""What the LeRobot processors of recap share: pi0.5's steps, with the condition and the own tokenizer in them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from lerobot.configs import FeatureType, PipelineFeatureType, PolicyFeature
from lerobot.lerobot_types import TransitionKey
from lerobot.processor import (
    AbsoluteActionsProcessorStep,
    ObservationProcessorStep,
    ProcessorStep,
    RelativeActionsProcessorStep,
    make_default_policy_processor_steps,
    make_policy_processor_pipelines,
)
from lerobot.utils.constants import OBS_LANGUAGE_ATTENTION_MASK, OBS_LANGUAGE_TOKENS

from policy.flow.lerobot.config import FlowPolicyConfig
from policy.flow.lerobot.files import CONTENT
from policy.flow.prompt import PromptForm
from policy.flow.tokenizer import LOCAL, FileTokenizer, Tokenizer, whole_prompts
from policy.flow.vocabulary import PAD


@dataclass
class TokenizerStep(ObservationProcessorStep):
    """Prompt text, with the policy's condition -> token ids, padded on the right. Self-contained: no hub.

    Subclassed and registered with the form of a family. The tokenizer of published weights is the step's state: the
    bytes of its tokenizer.json, [n] uint8.
    """

    form: ClassVar[PromptForm]
    max_length: int = 64
    condition: str = ""
    task_key: str = "task"
    tokenizer: Tokenizer = LOCAL

    def observation(self, observation: dict[str, Any]) -> dict[str, Any]:
        """Adds token ids and attention mask, each [B, max_length].

        Raises:
            ValueError: a prompt is longer than max_length; cutting it would drop the state.
        """
        texts = self.transition[TransitionKey.COMPLEMENTARY_DATA][self.task_key]
        texts = [texts] if isinstance(texts, str) else texts
        rows = whole_prompts(self.tokenizer, [self.form.conditioned(text, self.condition) for text in texts])
        longest = max(map(len, rows))
        if longest > self.max_length:
            raise ValueError(f"a prompt of {longest} tokens, expected at most {self.max_length}")
        tokens = torch.full((len(rows), self.max_length), PAD, dtype=torch.long)
        for row, ids in zip(tokens, rows, strict=True):
            row[: len(ids)] = torch.tensor(ids)
        lengths = torch.tensor([len(ids) for ids in rows])
        mask = torch.arange(self.max_length)[None] < lengths[:, None]
        return {**observation, OBS_LANGUAGE_TOKENS: tokens, OBS_LANGUAGE_ATTENTION_MASK: mask}

    def state_dict(self) -> dict[str, torch.Tensor]:
        content = self.tokenizer.content
        return {CONTENT: torch.frombuffer(bytearray(content), dtype=torch.uint8)} if isinstance(content, bytes) else {}

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        self.tokenizer = FileTokenizer(state[CONTENT].numpy().tobytes())

    def get_config(self) -> dict[str, Any]:
        return {"max_length": self.max_length, "condition": self.condition}

    def transform_features(
        self, features: dict[PipelineFeatureType, dict[str, PolicyFeature]]
    ) -> dict[PipelineFeatureType, dict[str, PolicyFeature]]:
        for key in (OBS_LANGUAGE_TOKENS, OBS_LANGUAGE_ATTENTION_MASK):
            feature = PolicyFeature(type=FeatureType.LANGUAGE, shape=(self.max_length,))
            features[PipelineFeatureType.OBSERVATION].setdefault(key, feature)
        return features


def make_processors(
    config: FlowPolicyConfig,
    dataset_stats: dict[str, dict[str, torch.Tensor]] | None,
    *,
    prompt: ProcessorStep,
    tokenizer: type[TokenizerStep],
) -> tuple[Any, Any]:
    """The two pipelines of a new policy, in pi0.5's order."""
    relative = RelativeActionsProcessorStep(
        enabled=config.use_relative_actions,
        exclude_joints=config.relative_exclude_joints,
        action_names=config.action_feature_names,
    )
    steps = make_default_policy_processor_steps(config, dataset_stats)
    result: tuple[Any, Any] = make_policy_processor_pipelines(
        input_steps=[
            steps.rename_observations,
            steps.add_batch_dim,
            relative,
            steps.normalize,
            prompt,
            tokenizer(max_length=config.tokenizer_max_length, condition=config.network.words(config.condition)),
            steps.to_device,
        ],
        output_steps=[
            steps.unnormalize,
            AbsoluteActionsProcessorStep(enabled=config.use_relative_actions, relative_step=relative),
            steps.to_cpu,
        ],
    )
    return result
