"""Numbers into latent frames and back."""

from __future__ import annotations

import pytest
import torch

from recap.errors import ConfigError
from value_model.models.viva.frames import (
    Layout,
    StateRange,
    clean_frames,
    decode_value,
    encode_value,
    gather_numbers,
    spread_numbers,
    target_frames,
)

LAYOUT = Layout(views=3, channels=4, height=2, width=3, state_dim=7, future_state=True)


def test_a_sequence_is_blank_state_views_ahead_value() -> None:
    state, ahead = torch.arange(14.0).view(2, 7), torch.arange(14.0).view(2, 7) + 100
    views = torch.randn(2, 3, 4, 2, 3)
    clean = clean_frames(state, views, LAYOUT)
    target = target_frames(ahead, torch.tensor([-1.0, -0.25]), LAYOUT)
    assert clean.shape == (2, 4, 5, 2, 3)
    assert (clean[:, :, 0] == 0).all()
    assert clean[1, :, 1].flatten()[:7].tolist() == state[1].tolist()
    assert clean[1, :, 1].flatten()[7:14].tolist() == state[1].tolist()
    torch.testing.assert_close(clean[:, :, 2:].transpose(1, 2), views)
    assert target[0, :, 0].flatten()[20].item() == 106.0  # 24 cells, 7 numbers: cell 20 is the last of copy 3
    assert target[:, :, 1].flatten(1).unique(dim=1).tolist() == [[-1.0], [0.5]]
    assert (LAYOUT.frames, LAYOUT.clean, LAYOUT.noisy) == (7, 5, 2)


def test_without_future_state_only_the_value_is_denoised() -> None:
    layout = Layout(views=1, channels=4, height=2, width=3, state_dim=7, future_state=False)
    target = target_frames(torch.zeros(2, 7), torch.tensor([-1.0, 0.0]), layout)
    assert target.shape == (2, 4, 1, 2, 3)
    assert target[:, 0, 0, 0, 0].tolist() == [-1.0, 1.0]


def test_copies_are_averaged_and_the_cut_one_left_out() -> None:
    frame = spread_numbers(torch.tensor([[1.0, 2, 3, 4, 5, 6, 7]]), LAYOUT)
    frame.view(-1)[0] += 3.0  # one of three copies of the first number
    frame.view(-1)[23] = 1e6  # number 3 of the copy that is cut off
    assert gather_numbers(frame, 7)[0].tolist() == [2.0, 2, 3, 4, 5, 6, 7]


def test_values_are_decoded_without_a_clamp() -> None:
    value = torch.tensor([-1.0, -0.5, 0.0, 0.2, -1.3])
    torch.testing.assert_close(decode_value(encode_value(value, LAYOUT)), value)


def test_states_are_mapped_to_the_training_range() -> None:
    train = torch.tensor([[0.0, 5.0], [4.0, 5.0], [1.0, 5.0]])
    scaling = StateRange.of(train)
    assert scaling.apply(torch.tensor([[0.0, 5.0], [4.0, 7.0], [6.0, 5.0]])).tolist() == [[-1, 0], [1, 2], [2, 0]]
    torch.testing.assert_close(scaling.invert(scaling.apply(train)), train)


def test_a_state_that_no_frame_can_hold_is_refused() -> None:
    with pytest.raises(ConfigError, match="24 numbers cannot hold 25 state dimensions"):
        Layout(views=3, channels=4, height=2, width=3, state_dim=25, future_state=True)
