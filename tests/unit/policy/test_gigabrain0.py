"""GigaBrain-0 at tiny size, against what its published code says, worked out by hand or written down plainly."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from tests.support.policies import TASK
from torch import Tensor

from policy.conditioning import POSITIVE
from policy.flow.initialise import initialise
from policy.flow.learner import FlowLearner
from policy.flow.network import number_slots
from policy.flow.prompt import without_condition
from policy.flow.scaling import PolicyStats
from policy.flow.vocabulary import FIRST_BIN, encode
from policy.models.gigabrain0.network import EmbodimentLinear, GigaBrain0Network
from policy.models.gigabrain0.prompt import PROMPT
from policy.models.gigabrain0.scaling import GigaBrain0Scaling
from policy.models.gigabrain0.sizes import GigaBrain0Sizes, published, tiny
from recap.errors import ConfigError

LAYOUT = Path(__file__).parents[2] / "golden" / "policy" / "gigabrain0_layout.json"
LIKE_PUBLISHED = GigaBrain0Sizes(
    vision="siglip", image_size=32, patch_size=16, vision_width=24, vision_depth=2, vision_heads=4, vision_mlp=40,
    vocab_size=50, text_width=32, text_mlp=48, expert_width=16, expert_mlp=40, depth=3, heads=8, kv_heads=4, head_dim=8,
    action_dim=6, slot_embeddings=False, embodiments=3, embodiment=1,
)  # fmt: skip


@pytest.fixture
def network() -> GigaBrain0Network:
    """Every weight drawn, so that every part has its say."""
    torch.manual_seed(0)
    made = GigaBrain0Network(LIKE_PUBLISHED)
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, 0.0, 0.2)
    return made


# What the published code does, from its weights alone: one joint pass, every mask written out.


def _norm(x: Tensor, weight: Tensor) -> Tensor:
    return x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt() * (1 + weight)


def _adaptive(x: Tensor, cond: Tensor, weights: dict[str, Tensor], name: str) -> tuple[Tensor, Tensor]:
    scale, shift, gate = F.linear(cond, weights[f"{name}.dense.weight"], weights[f"{name}.dense.bias"])[:, None].chunk(
        3, -1
    )
    return x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt() * (1 + scale) + shift, gate


def _rotated(x: Tensor, position: Tensor) -> Tensor:
    half = x.shape[-1] // 2
    angle = position[:, :, None, None] / 10_000 ** (torch.arange(half) / half)
    left, right = x[..., :half], x[..., half:]
    return torch.cat([left * angle.cos() - right * angle.sin(), right * angle.cos() + left * angle.sin()], -1)


def plain_velocity(
    network: GigaBrain0Network, features: Tensor, seen: Tensor, tokens: Tensor, written: Tensor, x: Tensor, t: Tensor
) -> Tensor:
    """Velocity [B, H, A] by one pass over prefix and actions together."""
    sizes = LIKE_PUBLISHED
    weights, body = dict(network.state_dict()), "paligemma_with_expert"
    prefix = torch.cat([features, weights[f"{body}.embed_tokens.weight"][tokens] * math.sqrt(sizes.text_width)], 1)
    chosen = sizes.embodiment
    actions = x @ weights["action_in_proj.weight"][chosen] + weights["action_in_proj.bias"][chosen]
    period = 4e-3 * (4.0 / 4e-3) ** torch.linspace(0, 1, sizes.expert_width // 2, dtype=torch.float64)
    angle = t[:, None].double() * 2 * math.pi / period
    cond = torch.cat([angle.sin(), angle.cos()], -1).float()
    for name in ("time_mlp_in", "time_mlp_out"):
        cond = F.silu(F.linear(cond, weights[f"{name}.weight"], weights[f"{name}.bias"]))
    valid = torch.cat([seen.repeat_interleave(features.shape[1] // seen.shape[1], 1), written], 1)
    length, horizon = prefix.shape[1], x.shape[1]
    everything = torch.cat([valid, torch.ones(len(x), horizon, dtype=torch.bool)], 1)
    mask = everything[:, None, :] & everything[:, :, None]
    mask[:, :length, length:] = False  # images and words never see actions; actions see all
    position = everything.cumsum(1) - 1
    streams = [prefix, actions]
    for index in range(sizes.depth):
        layer = f"{body}.layers.{index}"
        normed = [_norm(streams[0], weights[f"{layer}.input_layernorms.0.weight"])]
        adapted, gate = _adaptive(streams[1], cond, weights, f"{layer}.input_layernorms.1")
        projected = []
        for kind, heads in (("q", sizes.heads), ("k", sizes.kv_heads), ("v", sizes.kv_heads)):
            both = [
                F.linear(one, weights[f"{layer}.self_attn.{kind}_proj.{number}.weight"])
                for number, one in enumerate([*normed, adapted])
            ]
            projected.append(torch.cat(both, 1).unflatten(-1, (heads, sizes.head_dim)))
        q, k, v = _rotated(projected[0], position), _rotated(projected[1], position), projected[2]
        k, v = (one.repeat_interleave(sizes.heads // sizes.kv_heads, 2) for one in (k, v))
        scores = torch.einsum("bqhd,bkhd->bhqk", q, k) / math.sqrt(sizes.head_dim)
        share = scores.masked_fill(~mask[:, None], -1e30).softmax(-1)
        mixed = torch.einsum("bhqk,bkhd->bqhd", share, v).flatten(2)
        for number, part in enumerate((mixed[:, :length], mixed[:, length:])):
            gathered = F.linear(part, weights[f"{layer}.self_attn.o_proj.{number}.weight"])
            gathered = _norm(gathered, weights[f"{layer}.post_attention_layernorms.{number}.weight"])
            streams[number] = streams[number] + (gathered if number == 0 else gathered * gate)
        before = [_norm(streams[0], weights[f"{layer}.pre_feedforward_layernorms.0.weight"])]
        adapted, gate = _adaptive(streams[1], cond, weights, f"{layer}.pre_feedforward_layernorms.1")
        for number, one in enumerate([*before, adapted]):
            mlp = f"{layer}.mlps.{number}"
            up = F.gelu(F.linear(one, weights[f"{mlp}.gate_proj.weight"]), approximate="tanh")
            made = F.linear(up * F.linear(one, weights[f"{mlp}.up_proj.weight"]), weights[f"{mlp}.down_proj.weight"])
            made = _norm(made, weights[f"{layer}.post_feedforward_layernorms.{number}.weight"])
            streams[number] = streams[number] + (made if number == 0 else made * gate)
    out, _ = _adaptive(streams[1], cond, weights, f"{body}.norms.1")
    result: Tensor = out @ weights["action_out_proj.weight"][chosen] + weights["action_out_proj.bias"][chosen]
    return result


def _inputs() -> dict[str, Tensor]:
    """Two cameras, the second missing once; prompts of three lengths."""
    generator = torch.Generator().manual_seed(1)
    return {
        "images": torch.rand(3, 2, 3, 32, 32, generator=generator) * 2 - 1,
        "seen": torch.tensor([[True, True], [True, False], [True, True]]),
        "tokens": torch.randint(1, 50, (3, 9), generator=generator),
        "written": torch.arange(9)[None] < torch.tensor([9, 6, 4])[:, None],
        "x": torch.randn(3, 5, 6, generator=generator),
        "t": torch.rand(3, generator=generator),
    }


def test_the_two_passes_are_the_published_joint_one(network: GigaBrain0Network) -> None:
    given = _inputs()
    with torch.no_grad():
        features = network.embed_images(given["images"])
        prefix = network.prefix_after(
            features, given["tokens"], image_valid=given["seen"], token_valid=given["written"]
        )
        ours = network.velocity(prefix, given["x"][:, None], given["t"][:, None])[:, 0]
        theirs = plain_velocity(
            network, features, given["seen"], given["tokens"], given["written"], given["x"], given["t"]
        )
    assert theirs.abs().mean() > 0.1
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


def test_full_size_is_the_released_checkpoint() -> None:
    """On the meta device; the fixture says where its names and shapes are from."""
    fixture = json.loads(LAYOUT.read_text())
    expected: dict[str, list[int]] = {}
    for name, shape in fixture["shapes"].items():
        layers = fixture["vision_layers"] if "vision_tower" in name else fixture["layers"]
        expected |= {name.replace("*", str(index)): shape for index in range(layers)} if "*" in name else {name: shape}
    with torch.device("meta"):
        network = GigaBrain0Network(published())
    assert {name: list(value.shape) for name, value in network.state_dict().items()} == expected
    assert sum(value.numel() for value in network.parameters()) == fixture["parameters"] == 3_528_636_752


def test_a_closed_gate_lets_nothing_of_its_branch_through(network: GigaBrain0Network) -> None:
    """adaRMS makes scale, shift and gate of the time; a gate of 0 leaves the actions as they came."""
    block = network.paligemma_with_expert.expert_blocks[0]
    layer: Any = block.layer  # type: ignore[attr-defined]
    x, mixed = torch.randn(2, 1, 5, 16), torch.randn(2, 1, 5, 64)
    modulation, gate = next(block.modulations(torch.randn(2, 1, 16)))
    assert torch.equal(block.after_attention(x, mixed, torch.zeros_like(gate)), x)
    assert torch.equal(block.feed_forward(x, modulation, torch.zeros_like(gate)), x)
    gathered = layer.post_attention_layernorms[1](layer.self_attn.o_proj[1](mixed))
    torch.testing.assert_close(block.after_attention(x, mixed, gate), x + gathered * gate)
    dense = layer.input_layernorms[1].dense
    with torch.no_grad():
        dense.weight.zero_()
        dense.bias.copy_(torch.cat([torch.full((16,), one) for one in (0.5, 2.0, 3.0)]))
    (scale, shift), gate = next(block.modulations(torch.randn(2, 1, 16)))
    assert [one.unique().tolist() for one in (scale, shift, gate)] == [[1.5], [2.0], [3.0]]
    even = torch.full((1, 1, 1, 16), 2.0)  # its root mean square is 2, so it is 1 normalised
    torch.testing.assert_close(block.before_attention(even, (scale, shift)), torch.full((2, 1, 1, 16), 3.5))


def test_the_target_of_the_flow_is_noise_minus_action() -> None:
    """A network that answers 0 has lost the square of it, over real steps and dimensions alone."""
    sizes = replace(tiny(), action_dim=14, cameras=3)
    network = GigaBrain0Network(sizes)
    initialise(network, seed=0, first_bin=FIRST_BIN)
    with torch.no_grad():
        network.action_out_proj.get_parameter("weight").zero_()
        network.action_out_proj.get_parameter("bias").zero_()
    unit = GigaBrain0Scaling(q01=np.full(14, -1, np.float32), q99=np.full(14, 1 - 1e-6, np.float32))
    learner = FlowLearner(network, prompts=(TASK,), stats=PolicyStats(state=unit, action=unit), draws=2, shift_pixels=0)
    rng = np.random.default_rng(0)
    batch: dict[str, Any] = {
        "images": rng.integers(0, 256, (2, 3, 64, 64, 3), dtype=np.uint8),
        "state": np.zeros((2, 14), np.float32),
        "action": rng.uniform(-1, 1, (2, 8, 14)).astype(np.float32),
        "action_is_pad": np.arange(8)[None] >= np.array([8, 3])[:, None],
    }
    rows = learner.prepare(batch, torch.Generator().manual_seed(0))
    loss, _ = learner(rows)
    missed = (rows["noise"] - torch.from_numpy(batch["action"])[:, None]).square().numpy()
    real = ~batch["action_is_pad"]
    by_hand = np.concatenate([missed[row][:, real[row]].reshape(-1) for row in range(2)]).mean()
    assert float(loss.detach()) == pytest.approx(by_hand, rel=1e-5)


@pytest.mark.parametrize(
    ("task", "text"),
    [
        (" Fold_the Shirt ", "Task: fold the shirt, State: 0 128;\n"),
        ("Fold Subtask: Left_Sleeve\nthen stop", "Task: fold, Subtask: left sleeve, State: 0 128;\n"),
        ("two\nlines", "Task: two\nlines, State: 0 128;\n"),
    ],
)
def test_the_prompt_is_gigabrains(task: str, text: str) -> None:
    assert PROMPT.text(task, [0, 128]) == text
    assert PROMPT.text(task, [0, 128], condition=POSITIVE) == f"{text[:-2]};\nAdvantage: positive;\n"


def test_a_state_on_the_edge_of_a_bin_belongs_to_the_lower() -> None:
    """torch.bucketize(state, edges) - 1, as published: -1.0 is below every bin, where pi0.5 gives 0."""
    state = np.array([-1.01, -1.0, -0.9999, -0.9921875, 0.0, 1.0, 1.5], np.float32)
    edges = torch.linspace(-1, 1, 257)[:-1]
    assert PROMPT.bins(state).tolist() == (torch.bucketize(torch.from_numpy(state), edges) - 1).tolist()
    assert PROMPT.bins(state).tolist() == [-1, -1, 0, 0, 127, 255, 255]


def test_tokens_are_those_of_the_text() -> None:
    state = np.random.default_rng(0).uniform(-1.2, 1.2, (4, 14)).astype(np.float32)
    for condition in ("", POSITIVE):
        rows = PROMPT.tokens(TASK, state, condition=condition)
        for row, bins in zip(rows.tolist(), PROMPT.bins(state).tolist(), strict=True):
            assert row == encode(PROMPT.text(TASK, bins, condition=condition))
        slots = number_slots(torch.from_numpy(rows)).max(1).values
        assert slots.tolist() == [14] * 4
    plain, told = PROMPT.tokens(TASK, state), PROMPT.tokens(TASK, state, condition=POSITIVE)
    lengths = np.full(4, told.shape[1])
    cut = without_condition(told, lengths, PROMPT.tails(POSITIVE))
    assert cut[:, : plain.shape[1]].tolist() == plain.tolist()


def test_scaling_adds_to_every_width() -> None:
    """(x - q01) / (q99 - q01 + 1e-6) * 2 - 1; a dimension that never moves is -1, and comes back."""
    scaling = GigaBrain0Scaling(q01=np.array([0, 5], np.float32), q99=np.array([1, 5], np.float32))
    scaled = scaling.apply(np.array([[1, 5], [0.5, 5]], np.float32))
    by_hand = np.array([[2 / (1 + 1e-6) - 1, -1], [1 / (1 + 1e-6) - 1, -1]])
    np.testing.assert_allclose(scaled, by_hand, atol=1e-7)
    np.testing.assert_allclose(scaling.invert(scaled), np.array([[1, 5], [0.5, 5]]), atol=1e-6)


def test_every_robot_has_its_own_projection() -> None:
    projection = EmbodimentLinear(3, 2, embodiments=4, embodiment=2)
    x = torch.randn(5, 3)
    torch.testing.assert_close(projection(x), x @ projection.weight[2] + projection.bias[2])
    projection(x).sum().backward()
    assert projection.weight.grad is not None
    assert [bool(one.abs().sum()) for one in projection.weight.grad] == [False, False, True, False]
    with pytest.raises(ConfigError, match=r"embodiment = 3, expected less than embodiments = 3"):
        GigaBrain0Sizes(embodiments=3, embodiment=3)


@pytest.mark.parametrize("insulated", [False, True])
def test_knowledge_insulation_keeps_the_loss_from_the_prefix(insulated: bool) -> None:
    sizes = replace(tiny(), action_dim=14, cameras=3, knowledge_insulation=insulated)
    network = GigaBrain0Network(sizes)
    initialise(network, seed=0, first_bin=FIRST_BIN)
    tokens = torch.from_numpy(PROMPT.tokens(TASK, np.zeros((2, 14), np.float32)))
    prefix = network.prefix(torch.rand(2, 3, 3, 64, 64), tokens)
    network.velocity(prefix, torch.randn(2, 1, 8, 14), torch.rand(2, 1)).square().mean().backward()
    reached = {name for name, value in network.named_parameters() if value.grad is not None and value.grad.any()}
    body = "paligemma_with_expert"
    assert (f"{body}.embed_tokens.weight" in reached) is not insulated
    assert (f"{body}.layers.0.self_attn.k_proj.0.weight" in reached) is not insulated
    assert f"{body}.layers.0.self_attn.q_proj.1.weight" in reached
