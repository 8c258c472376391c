"""policy.conditioning: what each way hands to training, which steps of a run it changes, and what it refuses."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.support.fakes import MemoryJournal
from tests.support.synthetic import synthetic_draft, synthetic_truth

import policy.models
from data.episode_set import EpisodeSet
from data.episodes import EpisodeStore
from data.frame_table import FrameTable
from pipelines.config import PRESETS, Models, RunConfig
from pipelines.graph import build_graph
from pipelines.preflight.ahead import check_settings
from pipelines.settings import set_all
from pipelines.steps.policy.step import PolicyConfig, PolicyFacts
from pipelines.steps.policy.worker import train_policy
from policy.conditioning import POSITIVE, Condition
from policy.models.pi05.config import tiny_config
from policy.teaching import MEMBERS
from recap.config import rules_of
from recap.errors import ConfigError
from recap.step import key_facts, key_of
from recap.training.runtime import CPU
from recap.types import Outcome

LENGTH, EPISODES = 12, 3
EMBEDDING = "policy.model.network.condition=embedding"
WAYS = ("hard", "continuous", "weighted", "filtered")


def run_of(*settings: str, **models: str) -> RunConfig:
    return set_all(PRESETS.get("micro")(("shirt_folding",), Models(**models)), settings)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> EpisodeStore:
    made = EpisodeStore(tmp_path_factory.mktemp("episodes"))
    for seed in range(EPISODES):
        draft = synthetic_draft(seed, length=LENGTH, height=64, width=64)
        made.commit(draft, synthetic_truth(draft, Outcome.SUCCESS))
    return made


class Caught(BaseException):
    """Ends a training where it would begin."""


def handed(store: EpisodeStore, way: str, folder: Path, monkeypatch: pytest.MonkeyPatch, *, labelled: bool) -> Any:
    """(batches, further arguments) that the family's training is called with, and the labels."""
    config = tiny_config(batch_size=5)
    if way == "continuous":
        config = replace(config, network=replace(config.network, condition="embedding"))
    rng = np.random.default_rng(0)
    ids = tuple(sorted(row.id for row in store.rows()))
    table = FrameTable(
        ids=ids,
        offsets=np.arange(EPISODES + 1) * LENGTH,
        arrays={
            "advantage": rng.normal(size=EPISODES * LENGTH).astype(np.float32),
            "positive": rng.random(EPISODES * LENGTH) < 0.3,
            "forced": np.zeros(EPISODES * LENGTH, np.bool_),
            "value": rng.random(EPISODES * LENGTH).astype(np.float32),
        },
    )
    table.write(folder / "labels")
    caught: dict[str, Any] = {}

    def catch(model: Any, batches: Any, stats: Any, **given: Any) -> Any:
        caught.update(given, batches=batches)
        raise Caught

    family = replace(policy.models.family_of(config), train=catch)
    monkeypatch.setattr(policy.models, "family_of", lambda model: family)
    with pytest.raises(Caught):
        train_policy(
            PolicyConfig(model=config, conditioning=way),
            PolicyFacts(tasks=("shirt_folding",), condition="labels" if labelled else "positive"),
            EpisodeSet.of(ids).to_json(), folder / "labels" if labelled else None, None, store.root,
            folder / "cache", folder / "scratch", folder / "out", MemoryJournal(), CPU,
        )  # fmt: skip
    return caught, table.arrays


def test_the_choices_are_the_ways_there_are() -> None:
    (field,) = (one for one in PolicyConfig.__dataclass_fields__.values() if one.name == "conditioning")
    rules = rules_of(field)
    assert rules is not None
    assert rules.choices == tuple(MEMBERS) == WAYS


@pytest.mark.parametrize("way", WAYS)
def test_what_a_training_on_labels_is_handed(
    store: EpisodeStore, way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given, labels = handed(store, way, tmp_path, monkeypatch, labelled=True)
    batches = [given["batches"].batch(step) for step in range(40)]
    index, condition = (np.concatenate([batch[name] for batch in batches]) for name in ("index", "condition"))
    positive = labels["positive"][index]
    assert given["condition"] == (POSITIVE if way in ("hard", "continuous") else "")
    if way == "hard":
        assert set(condition[positive]) == {Condition.NONE, Condition.POSITIVE}
        assert set(condition[~positive]) == {Condition.NONE, Condition.NEGATIVE}
    elif way == "continuous":
        assert set(condition) == {Condition.NONE, Condition.POSITIVE}
        assert abs((condition == Condition.NONE).mean() - 0.3) < 0.15
        level = np.concatenate([batch["level"] for batch in batches])
        order = np.argsort(labels["advantage"][index])
        assert np.all(np.diff(level[order]) >= 0)
    else:
        assert not condition.any()
    if way == "weighted":
        weight = np.concatenate([batch["weight"] for batch in batches])
        order = np.argsort(labels["advantage"][index])
        assert np.all(np.diff(weight[order]) >= 0)
        assert weight.max() / weight.min() > 10
    if way == "filtered":
        assert positive.all()
        assert set(index) == set(np.flatnonzero(labels["positive"]))
    else:
        assert len(set(index)) == EPISODES * LENGTH
    assert ("level" in batches[0], "weight" in batches[0]) == (way == "continuous", way == "weighted")


@pytest.mark.parametrize("way", WAYS)
def test_without_labels_all_frames_are_as_good(
    store: EpisodeStore, way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given, _ = handed(store, way, tmp_path, monkeypatch, labelled=False)
    batches = [given["batches"].batch(step) for step in range(20)]
    heard = {int(code) for batch in batches for code in batch["condition"]}
    told = way in ("hard", "continuous")
    assert heard == ({Condition.NONE, Condition.POSITIVE} if told else {Condition.NONE})
    assert given["condition"] == (POSITIVE if told else "")
    assert not {"level", "weight"} & set(batches[0])


def test_the_identity_of_the_data_knows_the_way(
    store: EpisodeStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = set()
    for way in WAYS:
        with monkeypatch.context() as patch:
            found.add(handed(store, way, tmp_path / way, patch, labelled=True)[0]["data_identity"])
    assert len(found) == 4


def keys(config: RunConfig) -> dict[str, str]:
    """{node: its key}, with inputs named by where they come from."""
    return {
        str(node.name): key_of(
            key_facts(node.spec, node.config, {name: str(ref) for name, ref in node.inputs.items()}, facts=node.facts)
        )
        for node in build_graph(config).order()
        if not node.is_constant
    }


def changed(one: RunConfig, other: RunConfig) -> set[str]:
    before, after = keys(one), keys(other)
    assert set(before) == set(after)
    return {name.replace("/shirt_folding", "") for name in before if before[name] != after[name]}


def test_ways_share_the_base_and_what_comes_before_labels() -> None:
    hard, continuous = run_of(EMBEDDING), run_of(EMBEDDING, "policy.conditioning=continuous")
    assert changed(hard, continuous) == {"1/policy"}
    weighted = run_of("policy.conditioning=weighted")
    assert changed(weighted, run_of("policy.conditioning=filtered")) == {"1/policy"}
    assert changed(weighted, run_of("policy.conditioning=weighted", "policy.temperature=2")) == {"1/policy"}
    assert changed(continuous, run_of(EMBEDDING, "policy.conditioning=continuous", "policy.value_bins=4")) == {
        "1/policy"
    }
    assert "0/pretrain" not in changed(hard, weighted)
    assert "0/policy" in changed(hard, weighted)


def test_every_way_in_starts_from_one_base() -> None:
    assert changed(run_of(), run_of(EMBEDDING)) == {"0/policy", "1/policy"}


def test_a_policy_that_is_told_nothing_is_not_guided() -> None:
    for way, guides in (("hard", True), ("weighted", False), ("filtered", False)):
        made = PRESETS.get("micro")(("shirt_folding",), Models())
        made = replace(
            made,
            policy=replace(made.policy, conditioning=way),
            checkpoint_selection=replace(made.checkpoint_selection, attempts=2, guidance=(1.0, 2.0)),
        )
        check_settings(made)
        (node,) = (node for node in build_graph(made).order() if str(node.name).startswith("1/") and
                   str(node.name).endswith("checkpoint_selection"))  # fmt: skip
        assert node.config is not None
        assert (node.facts.guide, node.config.guidance) == (guides, (1.0, 2.0) if guides else (1.0,))
        if not guides:
            with pytest.raises(ConfigError, match="no effect in this run"):
                set_all(made, ["checkpoint_selection.guidance=1,3"])


REFUSED = [
    ({"conditioning": "filtered", "dropout": 0.1}, r"dropout: .*'filtered' hears no condition"),
    ({"conditioning": "weighted", "dropout": 0.0}, r"dropout: .*'weighted' hears no condition"),
    ({"temperature": 1.0}, r"temperature: .*'hard' has no weights"),
    ({"conditioning": "continuous", "temperature": 1.0}, r"temperature: .*'continuous' has no weights"),
    ({"value_bins": 2}, r"value_bins: .*'hard' ranks no advantages"),
    ({"conditioning": "filtered", "value_bins": 2}, r"value_bins: .*'filtered' ranks no advantages"),
    ({"conditioning": "awr"}, r"conditioning: expected one of"),
    ({"conditioning": "weighted", "temperature": 0.0}, r"temperature: expected"),
]


@pytest.mark.parametrize(("settings", "message"), REFUSED)
def test_a_setting_that_would_do_nothing_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        PolicyConfig(model=tiny_config(), **settings)


@pytest.mark.parametrize("how", ["text", "both"])
def test_graded_words_are_refused_before_the_run(how: str) -> None:
    settings = ["policy.conditioning=continuous"]
    if how != "text":
        settings.append(f"policy.model.network.condition={how}")
    with pytest.raises(ConfigError, match=r"'continuous': graded conditions have no words") as refused:
        run_of(*settings)
    run_of(settings[0], refused.value.hint.removeprefix("--set "))


def test_arms_without_advantages_cannot_be_graded() -> None:
    for asked in ({"labels": "outcome"}, {"arms": ("random",)}):
        made = replace(run_of("policy.conditioning=weighted"), **asked)
        with pytest.raises(ConfigError, match=r"'weighted' reads advantages, and arm (outcome|random) has none"):
            build_graph(made)
        build_graph(replace(made, policy=replace(made.policy, conditioning="filtered", temperature=0.5)))


def test_the_conditions_of_a_policy_that_hears_none_are_not_probed() -> None:
    run_of("condition_probe.attempts=2")
    with pytest.raises(ConfigError, match=r"'filtered': the policy hears no condition, and condition_probe"):
        run_of("policy.conditioning=filtered", "condition_probe.attempts=2")
