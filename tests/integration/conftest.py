"""Fixtures: processes of the build that LINNET_BIN names, with the model file that LINNET_TEST_MODEL names."""

import pytest
from cluster import BIN, CLI, MODEL_FILE, Cluster
from reflection import Api


def pytest_configure(config):
    for program in (CLI, *(BIN / f"linnet-{name}" for name in ("gateway", "registry", "worker"))):
        assert program.exists(), f"there is no {program}: set LINNET_BIN to a folder of built programs"
    assert MODEL_FILE.exists(), f"there is no {MODEL_FILE}: set LINNET_TEST_MODEL, or let tools/dev fetch it"


@pytest.fixture(scope="session")
def cluster(tmp_path_factory):
    """One that tests share and leave as they found it."""
    shared = Cluster(tmp_path_factory.mktemp("cluster"))
    try:
        yield shared.start()
    finally:
        shared.stop()


@pytest.fixture
def own_cluster(tmp_path):
    """One for a test that breaks it."""
    own = Cluster(tmp_path)
    try:
        yield own
    finally:
        own.stop()


@pytest.fixture(scope="module")
def registry_only(tmp_path_factory):
    """A registry without models, which a file's tests may change; no other process."""
    one = Cluster(tmp_path_factory.mktemp("registry"))
    one.registry.start()
    try:
        yield one
    finally:
        one.registry.stop()


@pytest.fixture(scope="session")
def api(cluster):
    with Api(cluster.gateway.address()) as gateway_api:
        yield gateway_api
