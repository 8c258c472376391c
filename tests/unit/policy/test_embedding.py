"""A condition that enters through the action expert's modulation, beside or instead of the words of the prompt."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.support.policies import (
    CAMERAS,
    SYNTHETIC_ROWS,
    TASK,
    MemoryJournal,
    SyntheticBatches,
    arm_pair,
    last_candidate,
    make_observation,
    moved,
    synthetic_stats,
    train_synthetic,
)

from policy.conditioning import NEGATIVE, POSITIVE, ConditionedBatches, code_of, shares_of
from policy.flow.acting import FlowActor, chunk_noise
from policy.flow.acting import load_policy as load_actor
from policy.flow.bundle import read_bundle, read_info
from policy.flow.initialise import initialise
from policy.flow.learner import FlowLearner, float_images
from policy.flow.scaling import PolicyStats
from policy.flow.train import train
from policy.flow.vocabulary import FIRST_BIN
from policy.models import Acting, load_policy, with_acting
from policy.models.pi05.config import Pi05Config, tiny_config
from policy.models.pi05.network import Pi05Network
from policy.models.pi05.prompt import PROMPT
from policy.models.pi05.sizes import tiny
from recap.errors import ArtifactCorrupt, ConfigError
from recap.training.config import FitConfig
from recap.training.fit import step_generator


def told_by(how: str, **changes: Any) -> Pi05Config:
    """The tiny training with the condition in the prompt, the expert or both."""
    return tiny_config(network=replace(tiny(), condition=how), **changes)


@pytest.fixture(scope="module", params=["embedding", "both"])
def conditioned(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of four conditioned steps, its embeddings then moved far enough to be seen."""
    folder = tmp_path_factory.mktemp(request.param)
    train_synthetic("pi05", told_by(request.param), folder, condition=POSITIVE)
    return moved(last_candidate(folder), folder / "moved")


def network_of(how: str) -> Pi05Network:
    network = Pi05Network(replace(tiny(), condition=how, action_dim=14, cameras=3))
    initialise(network, seed=0, first_bin=FIRST_BIN)
    return network


def learner_of(network: Pi05Network) -> FlowLearner:
    stats = PolicyStats.from_json(synthetic_stats(8, ()), relative=False)
    return FlowLearner(network, prompts=(TASK,), stats=stats, draws=2, shift_pixels=0)


@pytest.mark.parametrize("codes", [[0, 0, 0, 0], [0, 1, 2, 1]])
def test_an_embedding_that_never_learned_gives_the_bits_of_no_condition(codes: list[int]) -> None:
    plain, told = learner_of(network_of("text")), learner_of(network_of("embedding"))
    batch = SyntheticBatches(batch_size=4, chunk=8).batch(0)
    expected, found = (
        one(one.prepare({**batch, **field}, step_generator(0, 0)))[0]
        for one, field in ((plain, {}), (told, {"condition": np.array(codes, np.int8)}))
    )
    assert torch.equal(expected, found)


def test_acting_by_an_embedding_that_never_learned_is_acting_without(tmp_path: Path) -> None:
    train_synthetic("pi05", tiny_config(), tmp_path)
    network, info = read_bundle(Pi05Network, last_candidate(tmp_path))
    other = network_of("embedding")
    other.load_state_dict({**other.state_dict(), **network.state_dict()})
    told = replace(info, network=other.sizes, condition=POSITIVE)
    for beta in (1.0, 2.0):
        expected = FlowActor(network, info).act(make_observation(2), noise_seed=2)
        found = FlowActor(other, replace(told, guidance=beta)).act(make_observation(2), noise_seed=2)
        np.testing.assert_allclose(found, expected, atol=0 if beta == 1 else 1e-6)


def test_no_condition_stays_where_it_is_while_the_others_learn() -> None:
    network = network_of("embedding")
    assert network.condition is not None
    network.condition.table.data.normal_()
    told = network.condition(torch.from_numpy(shares_of(np.array([0, 1, 2]))))
    assert not told[0].any()
    assert torch.equal(told[1:], network.condition.table)


def by_hand(actor: FlowActor, beta: float, seed: int) -> Any:
    """[H, A] chunk by Euler steps of v_none + beta (v_condition - v_none), each flow over its own prefix."""
    observation, network, info = make_observation(seed), actor.network, actor.info
    images = float_images(torch.from_numpy(np.stack([observation.frames[name] for name in CAMERAS])[None]))
    state = info.stats.state.apply(observation.state[None])
    assert network.condition is not None

    def flow(condition: str, x: Any, time: float) -> Any:
        words = condition if network.sizes.condition == "both" else ""
        prefix = network.prefix(images, torch.from_numpy(PROMPT.tokens(TASK, state, condition=words)))
        return network.velocity(
            prefix, x, torch.full((1, 1), time), torch.from_numpy(shares_of(np.array([code_of(condition)])))
        )

    x = chunk_noise(seed, actor.chunk, 14)[None, None]
    with torch.inference_mode():
        for index in range(info.euler_steps):
            time = 1.0 - index / info.euler_steps
            without = flow("", x, time)
            x = x - (without + beta * (flow(info.condition, x, time) - without)) / info.euler_steps
    return info.stats.action.invert(x[0, 0].numpy())


@pytest.mark.parametrize("beta", [0.0, 0.5, 1.0, 2.0])
def test_guided_action_is_the_formula(conditioned: Path, tmp_path: Path, beta: float) -> None:
    with_acting(conditioned, tmp_path / "guided", Acting(guidance=beta))
    actor = load_actor(Pi05Network, tmp_path / "guided")
    chunk = actor.act(make_observation(4), noise_seed=4)
    np.testing.assert_allclose(chunk, by_hand(actor, beta, 4), atol=2e-5)
    if beta != 1:
        assert np.abs(chunk - load_policy(conditioned).act(make_observation(4), noise_seed=4)).max() > 1e-3


@pytest.mark.parametrize("beta", [1.0, 2.0])
def test_several_observations_and_kept_modulations(conditioned: Path, beta: float) -> None:
    network, info = read_bundle(Pi05Network, conditioned)
    actor = FlowActor(network, replace(info, guidance=beta))
    observations = [make_observation(seed) for seed in range(3)]
    together = actor.act_batch(observations, noise_seeds=[0, 1, 2])
    for chunk, observation, seed in zip(together, observations, range(3), strict=True):
        np.testing.assert_allclose(chunk, actor.act(observation, noise_seed=seed), atol=1e-4)
    np.testing.assert_array_equal(together, actor.act_batch(observations, noise_seeds=[0, 1, 2]))
    negative = FlowActor(network, replace(info, guidance=beta, condition=NEGATIVE))
    assert np.abs(negative.act_batch(observations, noise_seeds=[0, 1, 2]) - together).max() > 1e-3


def test_guidance_by_an_embedding_reads_one_prompt(
    conditioned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_acting(conditioned, tmp_path / "guided", Acting(guidance=2.0))
    actor = load_actor(Pi05Network, tmp_path / "guided")
    rows: list[int] = []
    inner = actor.network.prefix_after
    monkeypatch.setattr(
        actor.network, "prefix_after", lambda *args, **rest: rows.append(len(args[1])) or inner(*args, **rest)
    )
    actor.act(make_observation(0), noise_seed=0)
    assert rows == [1 if actor.network.sizes.condition == "embedding" else 2]


def test_several_draws_of_one_observation_are_guided_each_by_itself(conditioned: Path) -> None:
    network, info = read_bundle(Pi05Network, conditioned)
    images = torch.rand(2, 3, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    twice = 1 if network.sizes.condition == "embedding" else 2
    tokens = torch.from_numpy(PROMPT.tokens(TASK, np.zeros((2, 14), np.float32))).repeat(twice, 1)
    prefix = network.prefix(images.repeat(twice, 1, 1, 1, 1), tokens)
    noise = torch.randn(2, 3, 8, 14, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        together = network.sample(prefix, noise, 3, guidance=2.0, condition=info.condition)
        for draw in range(3):
            alone = network.sample(prefix, noise[:, [draw]], 3, guidance=2.0, condition=info.condition)
            torch.testing.assert_close(together[:, [draw]], alone, rtol=1e-4, atol=1e-5)


@dataclass(frozen=True, kw_only=True, slots=True)
class TwoModes:
    """The synthetic batches with actions of +0.4 on even rows and -0.4 on odd ones, which only the label tells."""

    inner: SyntheticBatches

    def batch(self, step: int) -> Mapping[str, Any]:
        batch = self.inner.batch(step)
        sign = np.where(batch["index"] % 2 == 0, 0.4, -0.4).astype(np.float32)
        action = np.broadcast_to(sign[:, None, None], batch["action"].shape)
        return {**batch, "action": np.ascontiguousarray(action)}


def learn_two_modes(how: str, folder: Path, steps: int) -> float:
    """How far the actions of a policy that is told positive lie above those told negative, over 8 starts."""
    config = told_by(how, candidates=1, fit=FitConfig(steps=steps, learning_rate=3e-3, warmup_steps=10))
    inner = SyntheticBatches(batch_size=config.batch_size, chunk=config.chunk)
    batches = ConditionedBatches(TwoModes(inner=inner), np.arange(SYNTHETIC_ROWS) % 2 == 0, seed=0)
    train(
        Pi05Network,
        config, batches, synthetic_stats(config.chunk, ()), prompts=(TASK,), robot=arm_pair(), cameras=CAMERAS,
        scratch=folder / "scratch", out=folder / "policy", journal=MemoryJournal(), condition=POSITIVE,
    )  # fmt: skip
    network, info = read_bundle(Pi05Network, last_candidate(folder))
    seen, seeds = [make_observation(seed) for seed in range(8)], list(range(8))
    good, bad = (
        FlowActor(network, replace(info, condition=condition)).act_batch(seen, noise_seeds=seeds)
        for condition in (POSITIVE, NEGATIVE)
    )
    return float((good - bad).mean())


def test_two_modes_that_only_the_condition_tells_apart_come_apart(tmp_path: Path) -> None:
    """0.8 apart in the data; words get there as well (0.74 and 0.74 after 200 steps)."""
    assert learn_two_modes("embedding", tmp_path, steps=150) > 0.4


def test_a_prompt_without_words_is_that_of_no_condition() -> None:
    batch = {**SyntheticBatches(batch_size=3, chunk=8).batch(0), "condition": np.array([0, 1, 2], np.int8)}
    rows = learner_of(network_of("embedding")).prepare(batch, step_generator(0, 0))
    bare = learner_of(network_of("text")).prepare({**batch, "condition": np.zeros(3, np.int8)}, step_generator(0, 0))
    assert torch.equal(rows["tokens"], bare["tokens"])
    assert rows["told"].tolist() == [[0, 0], [1, 0], [0, 1]]
    assert "written" not in rows
    both = learner_of(network_of("both")).prepare(batch, step_generator(0, 0))
    words = learner_of(network_of("text")).prepare(batch, step_generator(0, 0))
    assert torch.equal(both["tokens"], words["tokens"])
    assert torch.equal(both["told"], rows["told"])


def test_a_bundle_says_where_its_condition_enters(conditioned: Path) -> None:
    info = read_info(Pi05Network, conditioned)
    network = json.loads((conditioned / "config.json").read_bytes())["network"]
    assert (
        info.network.condition
        == network["condition"]
        == read_bundle(Pi05Network, conditioned)[0].sizes.condition
        != "text"
    )
    steps = json.loads((conditioned / "policy_preprocessor.json").read_bytes())["steps"]
    words = [step["config"]["condition"] for step in steps if step["registry_name"] == "recap_pi05_tokenizer"]
    assert words == ["" if info.network.condition == "embedding" else POSITIVE]


def test_a_bundle_from_before_there_was_a_choice_is_told_in_words(tmp_path: Path) -> None:
    train_synthetic("pi05", tiny_config(), tmp_path, condition=POSITIVE)
    bundle = last_candidate(tmp_path)
    chunk = load_policy(bundle).act(make_observation(0), noise_seed=1)
    raw = json.loads((bundle / "recap.json").read_bytes())
    del raw["network"]["condition"]
    (bundle / "recap.json").write_text(json.dumps(raw))
    assert read_info(Pi05Network, bundle).network.condition == "text"
    np.testing.assert_array_equal(load_policy(bundle).act(make_observation(0), noise_seed=1), chunk)


def test_a_bundle_of_words_does_not_pass_for_one_with_embeddings(tmp_path: Path) -> None:
    train_synthetic("pi05", tiny_config(), tmp_path, condition=POSITIVE)
    bundle = last_candidate(tmp_path)
    raw = json.loads((bundle / "recap.json").read_bytes())
    raw["network"]["condition"] = "embedding"
    (bundle / "recap.json").write_text(json.dumps(raw))
    with pytest.raises(ArtifactCorrupt, match=r"condition\.table"):
        load_policy(bundle)


@pytest.mark.parametrize("base", ["text", "embedding"])
def test_a_base_without_condition_starts_an_embedding(base: str, tmp_path: Path) -> None:
    """The base is told nothing; the training that starts from it acts as the base does, until it learns."""
    train_synthetic("pi05", told_by(base), tmp_path / "base")
    start = last_candidate(tmp_path / "base")
    config = told_by("embedding", fit=FitConfig(steps=0))
    train_synthetic("pi05", config, tmp_path / "unlearned", condition=POSITIVE, base=start)
    before, after = (load_policy(path) for path in (start, last_candidate(tmp_path / "unlearned")))
    np.testing.assert_array_equal(*(one.act(make_observation(1), noise_seed=1) for one in (before, after)))
    train_synthetic("pi05", told_by("embedding"), tmp_path / "learned", condition=POSITIVE, base=start)
    network, _ = read_bundle(Pi05Network, last_candidate(tmp_path / "learned"))
    assert network.condition is not None
    assert network.condition.table.abs().amax(1).min() > 0


def test_a_base_with_embeddings_starts_no_policy_of_words(conditioned: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"has network .*expected"):
        train_synthetic("pi05", tiny_config(), tmp_path, condition=POSITIVE, base=conditioned)


def test_a_resume_ends_with_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = told_by("embedding", fit=FitConfig(steps=6, checkpoint_every=2))
    train_synthetic("pi05", config, tmp_path / "whole", condition=POSITIVE)
    monkeypatch.setattr("recap.faults._seen", {})
    monkeypatch.setenv("RECAP_FAULT", "train.step:3:raise")
    with pytest.raises(RuntimeError, match="fault injected"):
        train_synthetic("pi05", config, tmp_path / "cut", condition=POSITIVE)
    monkeypatch.delenv("RECAP_FAULT")
    train_synthetic("pi05", config, tmp_path / "cut", condition=POSITIVE)
    whole, cut = (read_info(Pi05Network, last_candidate(tmp_path / name)).policy_id for name in ("whole", "cut"))
    assert whole == cut


def test_an_unknown_way_in_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"NetworkSizes\.condition: expected one of"):
        told_by("film")
