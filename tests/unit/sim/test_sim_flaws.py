import math
from collections import Counter

import pytest

from data.sim.flaws import CLEAN, MODES, FlawConfig, draw_flaws
from recap.errors import ConfigError


def test_shares_come_out_as_set() -> None:
    modes = Counter(draw_flaws(FlawConfig(), seed).mode for seed in range(2000))
    assert set(modes) == set(MODES)
    assert modes["clean"] / 2000 == pytest.approx(0.5, abs=0.04)
    assert modes["biased"] / 2000 == pytest.approx(0.4, abs=0.04)


def test_biased_demonstrators_share_their_habit_unless_its_spread_is_the_circle() -> None:
    def directions(config: FlawConfig) -> list[float]:
        drawn = (draw_flaws(config, seed) for seed in range(2000))
        return [math.degrees(math.atan2(y, x)) for x, y in (one.place_bias_m for one in drawn if one.mode == "biased")]

    found = directions(FlawConfig())
    assert (min(found), max(found)) == pytest.approx((-130, -50), abs=2)
    assert sum(found) / len(found) == pytest.approx(-90, abs=3)
    anywhere = directions(FlawConfig(bias_spread_deg=180))
    assert (min(anywhere), max(anywhere)) == pytest.approx((-180, 180), abs=3)


def test_a_task_says_how_many_are_flawed_unless_the_settings_do() -> None:
    shares = {
        (share, usual): sum(
            draw_flaws(FlawConfig(flawed_share=share), seed, usual_share=usual).flawed for seed in range(1000)
        )
        / 1000
        for share in (None, 0.0, 0.7)
        for usual in (0.25, 0.5)
    }
    assert shares[None, 0.25] == pytest.approx(0.25, abs=0.05)
    assert shares[None, 0.5] == pytest.approx(0.5, abs=0.05)
    for usual in (0.25, 0.5):
        assert shares[0.0, usual] == 0
        assert shares[0.7, usual] == pytest.approx(0.7, abs=0.05)


def test_a_draw_depends_on_the_seed_alone() -> None:
    assert draw_flaws(FlawConfig(), 7) == draw_flaws(FlawConfig(), 7)
    assert len({draw_flaws(FlawConfig(flawed_share=1.0), seed) for seed in range(50)}) > 25
    assert {draw_flaws(CLEAN, seed).mode for seed in range(50)} == {"clean"}


def test_raising_the_share_keeps_the_flawed_episodes_flawed() -> None:
    some, more = FlawConfig(flawed_share=0.3), FlawConfig(flawed_share=0.7)
    assert all(draw_flaws(some, s) == draw_flaws(more, s) for s in range(200) if draw_flaws(some, s).flawed)


@pytest.mark.parametrize(
    ("field", "value"), [("flawed_share", 1.5), ("noise_m", -0.1), ("slow_factor", 0.0), ("pause_steps", 0)]
)
def test_out_of_range_settings_are_refused(field: str, value: float) -> None:
    with pytest.raises(ConfigError, match=f"FlawConfig.{field}"):
        FlawConfig(**{field: value})


def test_no_mode_to_draw_from_is_refused() -> None:
    with pytest.raises(ConfigError, match="weight"):
        FlawConfig(biased_weight=0, skipping_weight=0, hesitant_weight=0, fumbling_weight=0)
