"""Fixtures of the report's tests: made-up runs, as functions that take changes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from made_up_run import complete_run, partial_run

from pipelines.report.model import ReportData


@pytest.fixture
def make_run() -> Callable[..., ReportData]:
    return complete_run


@pytest.fixture
def make_partial_run() -> Callable[..., ReportData]:
    return partial_run
