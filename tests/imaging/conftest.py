"""A cluster of two processes for the tests of dask images."""

from __future__ import annotations

import pytest
from distributed import Client, LocalCluster


@pytest.fixture(scope="package")
def cluster():
    with LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0"
    ) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def client(cluster):
    # The scope of a module: while a client is open, dask computes everything on its cluster.
    with Client(cluster) as client:
        yield client
