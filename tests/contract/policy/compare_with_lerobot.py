"""Run in its own process by test_lerobot.py: compares Pi05Network with LeRobot's PI05Pytorch. Prints one JSON line."""

from __future__ import annotations

import json
from dataclasses import replace

import torch
from lerobot.policies.pi05 import modeling_pi05 as theirs
from lerobot.policies.pi05.configuration_pi05 import PI05Config

from policy.flow.sizes import NetworkSizes
from policy.models.pi05.network import Pi05Network
from policy.models.pi05.sizes import full

UNUSED = {"paligemma_with_expert.paligemma.lm_head.weight", "paligemma_with_expert.gemma_expert.lm_head.weight"}


def small_like_published() -> NetworkSizes:
    """SigLIP tower, 8 heads (LeRobot writes that number into its code), no slot embeddings."""
    return NetworkSizes(
        vision="siglip", image_size=32, patch_size=16, vision_width=24, vision_depth=2, vision_heads=4, vision_mlp=40,
        vocab_size=50, text_width=32, text_mlp=48, expert_width=16, expert_mlp=40, depth=3, heads=8, kv_heads=1,
        head_dim=8, action_dim=6, slot_embeddings=False,
    )  # fmt: skip


def lerobot_network(sizes: NetworkSizes, chunk: int) -> torch.nn.Module:
    """LeRobot's own class at these sizes; it has no settings for them, so its tables are replaced."""
    gemma = {
        "gemma_2b": (sizes.text_width, sizes.text_mlp),
        "gemma_300m": (sizes.expert_width, sizes.expert_mlp),
    }
    theirs.get_gemma_config = lambda variant: theirs.GemmaConfig(
        width=gemma[variant][0], depth=sizes.depth, mlp_dim=gemma[variant][1], num_heads=sizes.heads,
        num_kv_heads=sizes.kv_heads, head_dim=sizes.head_dim,
    )  # fmt: skip
    original = theirs.CONFIG_MAPPING["paligemma"]

    class Small(original):
        def __init__(self, **kwargs: object) -> None:
            super().__init__(**kwargs)
            vision = self.vision_config
            vision.hidden_size, vision.num_hidden_layers = sizes.vision_width, sizes.vision_depth
            vision.num_attention_heads, vision.patch_size = sizes.vision_heads, sizes.patch_size
            vision.projection_dim = sizes.text_width

    paligemma = theirs.PaliGemmaForConditionalGenerationWithPiGemma

    def build(config: object) -> torch.nn.Module:
        config.vision_config.intermediate_size = sizes.vision_mlp
        config.vision_config.projection_dim = sizes.text_width
        config.text_config.vocab_size = sizes.vocab_size
        return paligemma(config=config)

    theirs.CONFIG_MAPPING = {"paligemma": Small, "gemma": theirs.CONFIG_MAPPING["gemma"]}
    theirs.PaliGemmaForConditionalGenerationWithPiGemma = build
    size = (sizes.image_size, sizes.image_size)
    return theirs.PI05Pytorch(
        PI05Config(image_resolution=size, chunk_size=chunk, n_action_steps=chunk, max_action_dim=sizes.action_dim,
                   device="cpu", num_inference_steps=4)
    )  # fmt: skip


def compare_values() -> dict[str, float]:
    """Largest differences of loss, gradient and sample, with padding and a missing camera in the batch."""
    torch.manual_seed(0)
    sizes, batch, steps = small_like_published(), 3, 5
    reference = lerobot_network(sizes, steps).train()
    for parameter in reference.parameters():  # zero-initialised modulation would hide mistakes
        torch.nn.init.normal_(parameter, 0.0, 0.2)
    ours = Pi05Network(sizes)
    weights = {name: value for name, value in reference.state_dict().items() if name not in UNUSED}
    ours.load_state_dict(weights)
    images = [torch.rand(batch, 3, 32, 32) * 2 - 1 for _ in range(2)]
    image_masks = [torch.ones(batch, dtype=torch.bool), torch.tensor([True, False, True])]
    tokens = torch.randint(1, 50, (batch, 9))  # not 0: theirs freezes the padding row
    token_mask = torch.arange(9)[None] < torch.tensor([9, 6, 4])[:, None]
    action, noise = torch.randn(batch, steps, 6), torch.randn(batch, steps, 6)
    time = torch.rand(batch)
    expected = reference(images, image_masks, tokens, token_mask, action, noise, time)
    prefix = ours.prefix(
        torch.stack(images, 1), tokens, image_valid=torch.stack(image_masks, 1), token_valid=token_mask
    )
    at = time[:, None, None]
    velocity = ours.velocity(prefix, (at * noise + (1 - at) * action)[:, None], time[:, None])[:, 0]
    losses = (noise - action - velocity).square()
    expected.mean().backward()
    losses.mean().backward()
    grads = dict(reference.named_parameters())
    gradient = max(
        (value.grad - grads[name].grad).abs().max().item() / (grads[name].grad.abs().max().item() + 1e-6)
        for name, value in ours.named_parameters()
        if value.grad is not None
    )
    reference.eval()
    sample = reference.sample_actions(images, image_masks, tokens, token_mask, noise=noise)
    with torch.no_grad():
        mine = ours.sample(prefix, noise[:, None], 4)[:, 0]
    return {
        "loss": ((losses - expected).abs() / (1 + expected.abs())).max().item(),
        "gradient": gradient,
        "sample": ((mine - sample).abs() / (1 + sample.abs())).max().item(),
        "reference_loss": expected.mean().item(),
    }


def compare_layout() -> dict[str, object]:
    """Names and shapes at full size."""
    with torch.device("meta"):
        published = theirs.PI05Pytorch(PI05Config(device="cpu"))
        ours = Pi05Network(replace(full(), action_dim=32))
    theirs_shapes = {name: tuple(v.shape) for name, v in published.state_dict().items() if name not in UNUSED}
    shapes = {name: tuple(value.shape) for name, value in ours.state_dict().items()}
    return {
        "missing": sorted(set(theirs_shapes) - set(shapes)),
        "extra": sorted(set(shapes) - set(theirs_shapes)),
        "other_shape": sorted(n for n in set(shapes) & set(theirs_shapes) if shapes[n] != theirs_shapes[n]),
        "parameters": sum(value.numel() for value in ours.parameters()),
    }


if __name__ == "__main__":
    layout = compare_layout()  # first: comparing values replaces LeRobot's size tables
    print(json.dumps({**layout, **compare_values()}))  # noqa: T201
