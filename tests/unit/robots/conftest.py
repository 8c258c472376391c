import pytest


@pytest.fixture(scope="session", autouse=True)
def _plugins(tmp_path_factory):
    from bench_recording import install, register, unregister

    folder = install(tmp_path_factory.mktemp("site"))
    register(folder)
    yield
    unregister(folder)
