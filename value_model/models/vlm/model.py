"""The network: SigLIP sees, Gemma 3 reads, and the last token answers with a distribution over values.

    [view 1 .. view V | words | state | query] -> Gemma 3 -> query's output -> B logits

As in PaliGemma, all that is given is read both ways; only the query, which comes last, sees itself. Owns the
construction and the calls that hide transformers.

Letters: B observations, V views, P tokens per view, L words, D width of a token.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Gemma3TextConfig, Gemma3TextModel, SiglipVisionConfig, SiglipVisionModel

from recap.errors import ConfigError
from recap.hub import located
from recap.training.tokenizer import FILE_NAME, opened
from value_model.direct import DirectNetwork, Inputs
from value_model.models.vlm.bins import cross_entropy, expected_value
from value_model.models.vlm.config import LanguageSizes, VisionSizes, VlmConfig, prompt_tokens


def vision_tower(sizes: VisionSizes, side: int) -> Any:
    """SigLIP for pictures of side x side pixels, without its pooling head."""
    return SiglipVisionModel(
        SiglipVisionConfig(
            hidden_size=sizes.width,
            intermediate_size=sizes.ffn_dim,
            num_hidden_layers=sizes.layers,
            num_attention_heads=sizes.heads,
            image_size=side,
            patch_size=sizes.patch,
            vision_use_head=False,
            attn_implementation="sdpa",
        )
    )


def language_model(sizes: LanguageSizes) -> Any:
    """Gemma 3's decoder, without a head for words.

    Its layers differ in the base of their rotary positions: every sixth and the last have that of far-reaching ones.
    Their windows are wider than any sequence here.
    """
    far = [number % 6 == 0 or number == sizes.layers for number in range(1, sizes.layers + 1)]
    return Gemma3TextModel(
        Gemma3TextConfig(
            vocab_size=sizes.vocabulary,
            hidden_size=sizes.width,
            intermediate_size=sizes.ffn_dim,
            num_hidden_layers=sizes.layers,
            num_attention_heads=sizes.heads,
            num_key_value_heads=sizes.kv_heads,
            head_dim=sizes.head_dim,
            query_pre_attn_scalar=sizes.head_dim,
            layer_types=["full_attention" if each else "sliding_attention" for each in far],
            use_cache=False,
            attn_implementation="sdpa",
        )
    )


class VlmNetwork(DirectNetwork):
    """Images, words and state -> logits over bins."""

    words: Tensor

    def __init__(self, config: VlmConfig, inputs: Inputs) -> None:
        super().__init__(inputs)
        height, width = inputs.image_size
        if height != width or (height % config.vision.patch and not config.vision_start):
            raise ConfigError(
                f"vlm: images of {height} x {width} pixels, expected squares of whole patches of {config.vision.patch}"
            )
        language = config.language
        self.vision = vision_tower(config.vision, height)
        self.language = language_model(language)
        self.projector = nn.Linear(config.vision.width, language.width)
        self.state = nn.Linear(inputs.state_dim, language.width)
        self.query = nn.Parameter(torch.randn(1, 1, language.width))
        self.head = nn.Linear(language.width, config.bins)
        self.register_buffer("words", torch.tensor(prompt_tokens(config, inputs.prompts)), persistent=False)
        self._tokenizer = config.tokenizer

    @property
    def files(self) -> Mapping[str, bytes]:
        """DirectNetwork.files: the tokenizer of published weights."""
        return {FILE_NAME: opened(located(self._tokenizer)).content} if self._tokenizer else {}

    @property
    def layers(self) -> Sequence[nn.Module]:
        """DirectNetwork.layers: of both models."""
        return [*self.vision.vision_model.encoder.layers, *self.language.layers]

    def forward(self, images: Tensor, state: Tensor, prompt: Tensor) -> Tensor:
        """Logits [B, bins]; see DirectNetwork.forward."""
        count, views = images.shape[:2]
        pixels = images.flatten(0, 1).permute(0, 3, 1, 2).float() / 127.5 - 1
        seen = self.projector(self.vision(pixels).last_hidden_state)
        seen = seen.unflatten(0, (count, views)).flatten(1, 2)
        words = self.words[prompt]
        read = self.language.embed_tokens(words)
        known = self.state(self.normalised(state))[:, None]
        tokens = torch.cat([seen, read, known, self.query.expand(count, -1, -1)], dim=1)
        shown = torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device)
        shown[:, seen.shape[1] : -2] = words > 0
        attend = shown[:, None, None, :].repeat(1, 1, tokens.shape[1], 1)
        attend[:, :, :-1, -1] = False
        masks = {"full_attention": attend, "sliding_attention": attend}
        out = self.language(inputs_embeds=tokens, attention_mask=masks, use_cache=False).last_hidden_state
        logits: Tensor = self.head(out[:, -1])
        return logits

    def loss(self, out: Tensor, value: Tensor) -> Tensor:
        """Cross-entropy against the two-hot values."""
        return cross_entropy(out, value)

    def values(self, out: Tensor) -> Tensor:
        """The mean of the distribution."""
        return expected_value(out)
