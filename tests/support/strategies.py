"""Hypothesis strategies for what the engine handles: JSON values, settings."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from toy_steps import NumbersConfig, ScaleConfig

json_scalars: st.SearchStrategy[Any] = (
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
)
"""Finite JSON scalars."""

json_values: st.SearchStrategy[Any] = st.recursive(
    json_scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=12,
)
"""Any JSON value."""


@st.composite
def scale_configs(draw: st.DrawFn) -> ScaleConfig:
    """Settings with a nested group, an optional value and a field outside the key."""
    return ScaleConfig(
        factor=draw(st.floats(1e-3, 1e3)),
        clip=draw(st.none() | st.floats(-10, 10)),
        numbers=NumbersConfig(
            count=draw(st.integers(1, 1000)), seed=draw(st.integers(0, 2**31)), workers=draw(st.integers(1, 64))
        ),
    )


def shuffled(value: Any, order: Any) -> Any:
    """The same JSON value with every mapping's keys in another order; `order` is a random.Random."""
    if isinstance(value, dict):
        items = list(value.items())
        order.shuffle(items)
        return {key: shuffled(inner, order) for key, inner in items}
    if isinstance(value, list):
        return [shuffled(inner, order) for inner in value]
    return value
