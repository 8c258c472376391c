"""Acting with a condition and with guidance, bundles that say so, and training that starts from a base."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.support.policies import (
    CAMERAS,
    TASK,
    MemoryJournal,
    SyntheticBatches,
    arm_pair,
    last_candidate,
    make_observation,
    synthetic_stats,
    train_synthetic,
)
from torch import Tensor

from policy.conditioning import NEGATIVE, POSITIVE
from policy.flow.acting import FlowActor, chunk_noise
from policy.flow.acting import load_policy as load_actor
from policy.flow.bundle import read_bundle, read_info
from policy.flow.config import candidate_steps
from policy.flow.learner import float_images
from policy.models import Acting, candidates, load_policy, with_acting, with_condition
from policy.models.gigabrain0.sizes import tiny as gigabrain_tiny
from policy.models.pi05.config import Pi05Config, tiny_config
from policy.models.pi05.network import Pi05Network
from policy.models.pi05.prompt import PROMPT
from policy.models.pi05.sizes import small
from recap.config import to_json
from recap.errors import ArtifactCorrupt, ConfigError, ResumeRefused
from recap.training.config import FitConfig


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A conditioned training of four steps."""
    folder = tmp_path_factory.mktemp("conditioned")
    train_synthetic("pi05", tiny_config(), folder, condition=POSITIVE)
    return folder


@pytest.fixture(scope="module")
def conditioned(trained: Path) -> Path:
    return last_candidate(trained)


@pytest.mark.parametrize("inside", ["tokenizer/tokenizer.json", "model.safetensors"])
def test_how_an_exported_folder_acts_is_not_changed(inside: str, bundle: Path, tmp_path: Path) -> None:
    """A tokenizer in a folder is of LeRobot's own pi0.5; weights under LeRobot's name are of GigaBrain-0 there."""
    source = tmp_path / "exported"
    shutil.copytree(bundle, source)
    if inside == "model.safetensors":
        told = json.loads((source / "recap.json").read_text())
        told |= {"family": "gigabrain0", "network": to_json(gigabrain_tiny())}
        (source / "recap.json").write_text(json.dumps(told))
    else:
        (source / inside).parent.mkdir()
        (source / inside).write_text("{}")
    for change in (
        lambda out: with_acting(source, out, Acting(noise_scale=0.5)),
        lambda out: with_condition(source, out, ""),
    ):
        with pytest.raises(ConfigError, match="an exported folder"):
            change(tmp_path / "out")
    assert not (tmp_path / "out").exists()


def velocity(actor: FlowActor, condition: str, noisy: Tensor, time: float, seed: int) -> Tensor:
    """The flow of one condition by itself: its own images, its own unpadded prompt."""
    observation = make_observation(seed)
    images = torch.from_numpy(np.stack([observation.frames[name] for name in CAMERAS])[None])
    state = actor.info.stats.state.apply(observation.state[None])
    tokens = torch.from_numpy(PROMPT.tokens(TASK, state, condition=condition))
    prefix = actor.network.prefix(float_images(images), tokens)
    return actor.network.velocity(prefix, noisy, torch.full((1, 1), time))


def by_hand(actor: FlowActor, beta: float | None, seed: int) -> Any:
    """[H, A] chunk by Euler steps of v_none + beta (v_condition - v_none); beta None: of v_condition, one pass."""
    noise = chunk_noise(seed, actor.chunk, 14)[None, None]
    x, steps = noise, actor.info.euler_steps
    with torch.inference_mode():
        for index in range(steps):
            time = 1.0 - index / steps
            flow = velocity(actor, actor.info.condition, x, time, seed)
            if beta is not None:
                without = velocity(actor, "", x, time, seed)
                flow = without + beta * (flow - without)
            x = x - flow / steps
    return actor.info.stats.action.invert(x[0, 0].numpy())


def test_the_bundle_says_how_it_acts(conditioned: Path, bundle: Path) -> None:
    assert (read_info(Pi05Network, conditioned).condition, read_info(Pi05Network, conditioned).guidance) == (
        POSITIVE,
        1.0,
    )
    assert (read_info(Pi05Network, bundle).condition, read_info(Pi05Network, bundle).guidance) == ("", 1.0)
    config = json.loads((conditioned / "config.json").read_bytes())
    assert (config["condition"], config["guidance"]) == (POSITIVE, 1.0)


def test_beta_one_is_one_pass_with_the_same_bits(conditioned: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    actor = load_actor(Pi05Network, conditioned)
    calls: list[int] = []
    inner = actor.network.flow
    monkeypatch.setattr(actor.network, "flow", lambda *args: calls.append(len(args[1])) or inner(*args))
    chunk = actor.act(make_observation(3), noise_seed=3)
    assert calls == [1] * actor.info.euler_steps
    monkeypatch.undo()
    again = FlowActor(actor.network, replace(actor.info, condition=""))
    assert not np.array_equal(chunk, again.act(make_observation(3), noise_seed=3))
    np.testing.assert_allclose(chunk, by_hand(actor, None, 3), atol=1e-6)


@pytest.mark.parametrize("beta", [1.0, 2.0])
def test_kept_modulations_give_the_bits_of_fresh_ones(conditioned: Path, beta: float) -> None:
    actor = load_actor(Pi05Network, conditioned)
    actor = FlowActor(actor.network, replace(actor.info, guidance=beta))
    observations = [make_observation(seed) for seed in range(3)]
    seen: list[Any] = []
    inner = actor.network.sample

    def sample(*args: Any, modulations: Any, **kwargs: Any) -> Tensor:
        seen.append(modulations)
        kept, fresh = inner(*args, modulations=modulations, **kwargs), inner(*args, **kwargs)
        assert torch.equal(kept, fresh)
        return kept

    actor.network.sample = sample  # type: ignore[method-assign]
    first = actor.act(observations[0], noise_seed=0)
    np.testing.assert_array_equal(first, actor.act(observations[0], noise_seed=0))
    actor.act_batch(observations, noise_seeds=[0, 1, 2])
    np.testing.assert_array_equal(first, actor.act(observations[0], noise_seed=0))
    assert seen[0] is seen[1]
    assert seen[1] is not seen[2]


def test_a_step_of_the_kept_modulations_is_the_velocity(conditioned: Path) -> None:
    actor, noise = load_actor(Pi05Network, conditioned), chunk_noise(5, 8, 14)[None, None]
    observation = make_observation(5)
    images = torch.from_numpy(np.stack([observation.frames[name] for name in CAMERAS])[None])
    network, state = actor.network, actor.info.stats.state.apply(observation.state[None])
    with torch.inference_mode():
        prefix = network.prefix(float_images(images), torch.from_numpy(PROMPT.tokens(TASK, state)))
        x = noise
        for index in range(4):
            x = x + -0.25 * network.velocity(prefix, x, torch.full((1, 1), 1.0 + index * -0.25))
        assert torch.equal(x, network.sample(prefix, noise, 4))


@pytest.mark.parametrize("beta", [0.0, 0.5, 2.0, 3.5])
def test_guided_action_is_the_formula(conditioned: Path, tmp_path: Path, beta: float) -> None:
    with_acting(conditioned, tmp_path / "guided", Acting(guidance=beta))
    actor = load_actor(Pi05Network, tmp_path / "guided")
    chunk = actor.act(make_observation(4), noise_seed=4)
    np.testing.assert_allclose(chunk, by_hand(actor, beta, 4), atol=5e-6)
    assert np.abs(chunk - load_policy(conditioned).act(make_observation(4), noise_seed=4)).max() > 1e-4


def test_guidance_shares_the_image_features(conditioned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_acting(conditioned, tmp_path / "guided", Acting(guidance=2.0))
    actor = load_actor(Pi05Network, tmp_path / "guided")
    seen: list[int] = []
    inner = actor.network.embed_images
    monkeypatch.setattr(actor.network, "embed_images", lambda images: seen.append(len(images)) or inner(images))
    observations = [make_observation(seed) for seed in range(3)]
    together = actor.act_batch(observations, noise_seeds=[0, 1, 2])
    assert seen == [3]
    for chunk, observation, seed in zip(together, observations, range(3), strict=True):
        np.testing.assert_allclose(chunk, actor.act(observation, noise_seed=seed), atol=1e-4)


def test_reguided_bundles_differ_in_that_number_alone(conditioned: Path, tmp_path: Path) -> None:
    original = read_info(Pi05Network, conditioned).policy_id
    other = with_acting(conditioned, tmp_path / "two", Acting(guidance=2.0))
    assert other != original
    assert other == load_policy(tmp_path / "two").policy_id
    assert with_acting(tmp_path / "two", tmp_path / "one", Acting(guidance=1.0)) == original
    assert with_acting(conditioned, tmp_path / "same", Acting(guidance=1.0)) == original
    assert read_info(Pi05Network, conditioned).policy_id == original
    weights = tmp_path / "two" / "model.safetensors"
    assert weights.read_bytes() == (conditioned / "model.safetensors").read_bytes()
    assert weights.samefile(conditioned / "model.safetensors")
    assert not (tmp_path / "two" / "recap.json").samefile(conditioned / "recap.json")


@pytest.mark.parametrize("field", ["guidance", "noise_scale"])
@pytest.mark.parametrize("number", [-0.5, float("nan"), float("inf")])
def test_numbers_out_of_range_are_refused(conditioned: Path, tmp_path: Path, field: str, number: float) -> None:
    with pytest.raises(ConfigError, match=f"{field} .*expected a finite number >= 0"):
        with_acting(conditioned, tmp_path / "guided", Acting(**{field: number}))
    assert not (tmp_path / "guided").exists()


def test_the_flow_starts_from_scaled_noise(conditioned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[Tensor] = []
    sample = Pi05Network.sample

    def spy(network: Pi05Network, prefix: Any, noise: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        started.append(noise)
        return sample(network, prefix, noise, *args, **kwargs)

    monkeypatch.setattr(Pi05Network, "sample", spy)
    with_acting(conditioned, tmp_path / "quiet", Acting(noise_scale=0.3))
    with_acting(conditioned, tmp_path / "still", Acting(noise_scale=0.0))
    seen = make_observation(4)
    for path in (conditioned, tmp_path / "quiet"):
        load_policy(path).act(seen, noise_seed=4)
    torch.testing.assert_close(started[1], 0.3 * started[0])
    still = load_policy(tmp_path / "still")
    np.testing.assert_array_equal(still.act(seen, noise_seed=4), still.act(seen, noise_seed=5))
    assert still.policy_id != load_policy(conditioned).policy_id


def test_guidance_of_an_unconditioned_policy_is_refused(bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="without advantage conditions"):
        with_acting(bundle, tmp_path / "guided", Acting(guidance=2.0))
    assert with_acting(bundle, tmp_path / "one", Acting(guidance=1.0)) == read_info(Pi05Network, bundle).policy_id


def test_a_bundle_that_calls_its_condition_a_tag_still_acts(conditioned: Path, tmp_path: Path) -> None:
    """Format 2, of exports made before the word changed."""
    shutil.copytree(conditioned, tmp_path / "old")
    raw = json.loads((conditioned / "recap.json").read_bytes())
    raw |= {"format": 2, "tag": raw.pop("condition")}
    (tmp_path / "old" / "recap.json").write_text(json.dumps(raw))
    assert read_info(Pi05Network, tmp_path / "old").condition == POSITIVE
    seen = make_observation(0)
    with_acting(tmp_path / "old", tmp_path / "again", Acting(noise_scale=1.0))
    chunks = [load_policy(path).act(seen, noise_seed=1) for path in (conditioned, tmp_path / "old", tmp_path / "again")]
    np.testing.assert_array_equal(chunks[0], chunks[1])
    np.testing.assert_array_equal(chunks[0], chunks[2])


def test_a_bundle_that_knows_no_noise_scale_may_be_told_other_words(conditioned: Path, tmp_path: Path) -> None:
    """Format 3."""
    shutil.copytree(conditioned, tmp_path / "old")
    for name in ("recap.json", "config.json"):
        raw = json.loads((conditioned / name).read_bytes())
        del raw["noise_scale"]
        (tmp_path / "old" / name).write_text(json.dumps(raw | ({"format": 3} if name == "recap.json" else {})))
    with_condition(tmp_path / "old", tmp_path / "told", NEGATIVE)
    found = read_info(Pi05Network, tmp_path / "told")
    assert (found.condition, found.noise_scale) == (NEGATIVE, 1.0)


def test_a_bundle_of_the_format_before_conditions_is_refused(conditioned: Path, tmp_path: Path) -> None:
    shutil.copytree(conditioned, tmp_path / "old")
    raw = json.loads((conditioned / "recap.json").read_bytes())
    old = {name: value for name, value in raw.items() if name not in ("condition", "guidance")} | {"format": 1}
    (tmp_path / "old" / "recap.json").write_text(json.dumps(old))
    with pytest.raises(ArtifactCorrupt, match=r"format 1, expected pi05 4(.|\n)*train it again"):
        load_policy(tmp_path / "old")


def test_candidates_are_whole_bundles_of_the_last_half(trained: Path) -> None:
    found = candidates(trained / "policy")
    assert [step for step, _ in found] == [3, 4]
    assert [path.name for _, path in found] == ["step-000003", "step-000004"]
    ids = {load_policy(path).policy_id for _, path in found}
    assert len(ids) == 2
    with pytest.raises(ArtifactCorrupt, match="no candidate"):
        candidates(trained)


@pytest.mark.parametrize(
    ("steps", "count", "expected"),
    [(600, 3, (400, 500, 600)), (0, 3, (0,)), (1, 3, (1,)), (4, 2, (3, 4)), (7, 1, (7,)), (10, 5, (6, 7, 8, 9, 10))],
)
def test_candidate_steps(steps: int, count: int, expected: tuple[int, ...]) -> None:
    assert candidate_steps(Pi05Config(candidates=count, fit=FitConfig(steps=steps))) == expected


def test_an_early_candidate_is_the_average_at_that_step(tmp_path: Path) -> None:
    """Cutting training off right there, at the same learning rates, gives the same weights."""
    config = tiny_config(candidates=4, fit=FitConfig(steps=4, final_share=1.0, warmup_steps=0))
    train_synthetic("pi05", config, tmp_path / "long")
    (_, early), *_ = candidates(tmp_path / "long" / "policy")
    assert early.name == "step-000003"
    shorter = replace(config, fit=replace(config.fit, steps=3))
    train_synthetic("pi05", shorter, tmp_path / "short")
    assert load_policy(early).policy_id == load_policy(last_candidate(tmp_path / "short")).policy_id


def test_zero_steps_from_a_base_are_the_base(conditioned: Path, tmp_path: Path) -> None:
    train_synthetic("pi05", tiny_config(fit=FitConfig(steps=0)), tmp_path, condition=POSITIVE, base=conditioned, seed=9)
    assert read_info(Pi05Network, last_candidate(tmp_path)).policy_id == read_info(Pi05Network, conditioned).policy_id


def test_training_from_a_base_starts_there(bundle: Path, tmp_path: Path) -> None:
    config = tiny_config(relative_actions=True, fit=FitConfig(steps=1, learning_rate=1e-5, warmup_steps=0))
    train_synthetic("pi05", config, tmp_path, condition=POSITIVE, base=bundle)
    before, _ = read_bundle(Pi05Network, bundle)
    after, info = read_bundle(Pi05Network, last_candidate(tmp_path))
    moved = [(a - b).abs().max().item() for a, b in zip(before.parameters(), after.parameters(), strict=True)]
    assert 0 < max(moved) < 1e-4
    assert info.condition == POSITIVE


def test_the_scaling_of_the_base_is_kept(conditioned: Path, tmp_path: Path) -> None:
    wider = {**synthetic_stats(8, ()), "state": {"q01": [-3.0] * 14, "q99": [3.0] * 14}}
    run(tmp_path, stats=wider, base=conditioned)
    assert read_info(Pi05Network, last_candidate(tmp_path)).stats.state.q99.tolist() == [1.0] * 14
    run(tmp_path / "fresh", stats=wider)
    assert read_info(Pi05Network, last_candidate(tmp_path / "fresh")).stats.state.q99.tolist() == [3.0] * 14


def run(folder: Path, **changes: Any) -> None:
    """One training on plain batches; `changes` replace arguments of train."""
    from policy.flow.train import train

    config = changes.pop("config", tiny_config())
    given: dict[str, Any] = {
        "prompts": (TASK,), "robot": arm_pair(), "cameras": CAMERAS, "scratch": folder / "scratch",
        "out": folder / "policy", "journal": MemoryJournal(),
    }  # fmt: skip
    batches = changes.pop("batches", SyntheticBatches(batch_size=8, chunk=config.chunk))
    stats = changes.pop("stats", synthetic_stats(config.chunk, ()))
    train(Pi05Network, config, batches, stats, **{**given, **changes})


def test_a_base_that_does_not_fit_is_refused(conditioned: Path, bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"has network .*expected"):
        run(tmp_path, config=Pi05Config(network=small(), chunk=8, execute=4), base=conditioned)
    with pytest.raises(ConfigError, match="has relative_dims"):
        run(tmp_path, base=bundle)
    with pytest.raises(ConfigError, match="has chunk 8, expected 6"):
        run(tmp_path, config=tiny_config(chunk=6), base=conditioned)
    with pytest.raises(ConfigError, match="has cameras"):
        run(tmp_path, cameras=CAMERAS[::-1], base=conditioned)
    with pytest.raises(ArtifactCorrupt, match=r"recap\.json"):
        run(tmp_path, base=tmp_path / "nowhere")
    assert not (tmp_path / "policy").exists()


def test_a_resume_from_another_base_is_refused(trained: Path, tmp_path: Path) -> None:
    (_, early), (_, late) = candidates(trained / "policy")
    run(tmp_path, base=early)
    with pytest.raises(ResumeRefused, match="another base"):
        run(tmp_path, base=late)


def test_condition_and_batches_must_agree(tmp_path: Path) -> None:
    class Conditioned(SyntheticBatches):
        def batch(self, step: int) -> Any:
            condition = np.full(self.batch_size, 2, np.int8)
            return {**SyntheticBatches.batch(self, step), "condition": condition}

    with pytest.raises(ConfigError, match='batches with "condition"'):
        run(tmp_path, condition=POSITIVE)
    with pytest.raises(ConfigError, match="act without one"):
        run(tmp_path, batches=Conditioned(batch_size=8, chunk=8))
    with pytest.raises(ConfigError, match="condition 'positive', expected one of"):
        run(tmp_path, condition="positive")
    run(tmp_path, batches=Conditioned(batch_size=8, chunk=8), condition=NEGATIVE)
    assert load_actor(Pi05Network, last_candidate(tmp_path)).info.condition == NEGATIVE


def test_several_instructions_need_to_be_told_apart(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match='several instructions need batches with the field "prompt"'):
        run(tmp_path, prompts=(TASK, "tidy up"))


def test_a_lost_candidate_is_named_before_training_goes_on(tmp_path: Path) -> None:
    run(tmp_path)
    shutil.rmtree(tmp_path / "scratch" / "candidates" / "step-000003")
    with pytest.raises(ResumeRefused, match=r"stands at step 4, but its candidate .*step-000003 is gone"):
        run(tmp_path)


def test_training_again_over_finished_scratch_writes_the_same_folder(tmp_path: Path) -> None:
    run(tmp_path)
    first = [(step, load_policy(path).policy_id) for step, path in candidates(tmp_path / "policy")]
    shutil.rmtree(tmp_path / "policy")  # as after a commit that was cut off
    run(tmp_path)
    assert [(step, load_policy(path).policy_id) for step, path in candidates(tmp_path / "policy")] == first
