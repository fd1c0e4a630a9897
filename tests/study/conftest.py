import pytest


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory):
    """The folder of artifacts of a module: what its fixtures make is stored there."""
    folder = tmp_path_factory.mktemp("artifacts")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MINT_ARTIFACTS", str(folder))
        yield folder


@pytest.fixture
def shared_artifacts(artifacts, monkeypatch):
    """Give a test the artifacts of its module instead of a folder of its own."""
    monkeypatch.setenv("MINT_ARTIFACTS", str(artifacts))
