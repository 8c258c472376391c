import pytest


@pytest.fixture
def site(tmp_path):
    """A folder in which the plug-ins of the bench are installed."""
    from bench_recording import install

    return install(tmp_path / "site")
