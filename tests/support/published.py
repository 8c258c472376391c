"""Weights in the layouts that others publish them in, at tiny sizes, and a tokenizer made like PaliGemma's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from torch import Tensor

from policy.flow.config import FlowConfig
from policy.flow.network import FlowNetwork
from policy.flow.sizes import NetworkSizes
from policy.models.gigabrain0.config import GigaBrain0Config
from policy.models.gigabrain0.network import GigaBrain0Network
from policy.models.gigabrain0.sizes import GigaBrain0Sizes
from policy.models.pi05.config import Pi05Config
from policy.models.pi05.network import Pi05Network
from recap.training.config import FitConfig

IMAGE = "<image>"
_PIECES = ("Task", "State", "Action", "Advantage", "positive", "negative", "fold", "shirt", "\u2581the")


def tokenizer() -> Tokenizer:
    """Byte-fallback BPE over SentencePiece's space, digits apart; <pad> <eos> <bos> <unk>; <image> beyond the rest."""
    vocab = {name: place for place, name in enumerate(("<pad>", "<eos>", "<bos>", "<unk>"))}
    merges: list[tuple[str, str]] = []
    for byte in range(256):
        vocab[f"<0x{byte:02X}>"] = len(vocab)
    for letter in "\n !,-.:;<>?_\u2581/0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ":
        vocab.setdefault(letter, len(vocab))
    for piece in _PIECES:
        for end in range(2, len(piece) + 1):
            if piece[:end] not in vocab:
                vocab[piece[:end]] = len(vocab)
                merges.append((piece[: end - 1], piece[end - 1]))
    made = Tokenizer(models.BPE(vocab=vocab, merges=merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    made.normalizer = normalizers.Replace(" ", "\u2581")
    made.pre_tokenizer = pre_tokenizers.Split(Regex(r"\d"), "isolated")
    made.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()])
    made.post_processor = processors.TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", vocab["<bos>"])])
    made.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in ("<pad>", "<eos>", "<bos>")])
    # As converters of SentencePiece files leave it: cut out of a text before the normalizer sees it.
    made.add_tokens([AddedToken("\n", normalized=False)])
    made.add_special_tokens([AddedToken(IMAGE, special=True, normalized=False)])
    return made


def tokenizer_file(folder: Path) -> Path:
    """tokenizer.json in a folder that transformers' AutoTokenizer loads too."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer().save(str(folder / "tokenizer.json"))
    names = '"bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>", "unk_token": "<unk>"'
    text = f'{{"tokenizer_class": "PreTrainedTokenizerFast", {names}}}'
    (folder / "tokenizer_config.json").write_text(text, encoding="utf-8")
    return folder / "tokenizer.json"


def vocab_size() -> int:
    """Rows of the embedding: all tokens but <image>, whose places pictures take."""
    return int(tokenizer().get_vocab_size(with_added_tokens=False))


def pi05_sizes() -> NetworkSizes:
    """A SigLIP tower and no slots, as the published network has them."""
    return NetworkSizes(
        vision="siglip", image_size=64, patch_size=32, vision_width=24, vision_depth=2, vision_heads=4, vision_mlp=40,
        vocab_size=vocab_size(), text_width=32, text_mlp=48, expert_width=16, expert_mlp=40, depth=3, heads=8,
        kv_heads=1, head_dim=8, action_dim=32, slot_embeddings=False,
    )  # fmt: skip


def gigabrain0_sizes() -> GigaBrain0Sizes:
    """The same of GigaBrain-0, for three robots."""
    return GigaBrain0Sizes(
        vision="siglip", image_size=64, patch_size=32, vision_width=24, vision_depth=2, vision_heads=4, vision_mlp=40,
        vocab_size=vocab_size(), text_width=32, text_mlp=48, expert_width=16, expert_mlp=40, depth=3, heads=4,
        kv_heads=2, head_dim=8, action_dim=32, slot_embeddings=False, embodiments=3, embodiment=1,
    )  # fmt: skip


def published_config(family: str, folder: Path, *, steps: int, seed: int = 7) -> tuple[FlowConfig, dict[str, Tensor]]:
    """Settings that start from weights written to `folder`, and those weights under the network's names.

    pi0.5 as openpi's converter leaves it: no prefix, the token embedding under the name of the tied head alone, an
    unused head of the expert. GigaBrain-0 as diffusers saves it: in parts, with the heads that recap does not have.
    """
    kinds: dict[str, tuple[type[FlowNetwork], Callable[..., FlowConfig], NetworkSizes]] = {
        "pi05": (Pi05Network, Pi05Config, pi05_sizes()),
        "gigabrain0": (GigaBrain0Network, GigaBrain0Config, gigabrain0_sizes()),
    }
    kind, make, sizes = kinds[family]
    config = make(
        network=sizes, chunk=8, execute=4, batch_size=4, draws=2, euler_steps=3, candidates=1, shift_pixels=0,
        prompt_tokens=200, start=str(folder), tokenizer=str(tokenizer_file(folder)), fit=FitConfig(steps=steps),
    )  # fmt: skip
    torch.manual_seed(seed)
    network = kind(replace(sizes, cameras=3))
    with torch.no_grad():
        for parameter in network.parameters():  # modulations that start at zero would hide mistakes
            parameter.normal_(0.0, 0.1)
    weights = {name: value.detach().clone() for name, value in network.state_dict().items()}
    stored = dict(weights)
    head = "paligemma_with_expert.paligemma.lm_head.weight"
    if family == "pi05":
        stored[head] = stored.pop("paligemma_with_expert.paligemma.model.language_model.embed_tokens.weight")
        stored["paligemma_with_expert.gemma_expert.lm_head.weight"] = torch.zeros(7, 16)
        save_file(stored, folder / "model.safetensors")
    else:
        names = sorted(stored)
        for part, own in enumerate((names[::2], names[1::2]), start=1):
            save_file(
                {name: stored[name].to(torch.bfloat16) for name in own},
                folder / f"diffusion_pytorch_model-{part:05d}-of-00002.safetensors",
            )
        weights = {name: value.to(torch.bfloat16).float() for name, value in weights.items()}
    return config, weights


def wan_vae(folder: Path) -> Path:
    """Wan2.2's autoencoder with few channels, in diffusers' layout: 4 latent channels, 16 pixels per cell."""
    from diffusers import AutoencoderKLWan

    torch.manual_seed(0)
    vae = AutoencoderKLWan(
        base_dim=4,
        decoder_base_dim=4,
        z_dim=4,
        dim_mult=[1, 1, 1, 1],
        num_res_blocks=1,
        latents_mean=[0.1, 0.2, 0.3, 0.4],
        latents_std=[0.5, 1.0, 1.5, 2.0],
        is_residual=True,
        in_channels=12,
        out_channels=12,
        patch_size=2,
        scale_factor_temporal=4,
        scale_factor_spatial=16,
    )
    vae.save_pretrained(folder)
    return folder
