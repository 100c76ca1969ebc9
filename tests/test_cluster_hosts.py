"""A scheduler and two workers on three hosts, and links that are cut; on loopback without root."""

from __future__ import annotations

import sys
import time

import pytest

from dkmeans import KMeans
from tests.clusters import OPTIONS, DaskCluster, N, Process, made
from tests.faults import TABLE
from tests.hosts import Hosts, can_make_hosts

pytestmark = pytest.mark.faults
NEEDS_ROOT = "network namespaces need root and iproute2"


def bits(model):
    return model.cluster_centers_.tobytes(), model.inertia_, model.n_iter_


@pytest.fixture(scope="module")
def expected():
    return bits(KMeans(6, **OPTIONS).fit(made(0, N)))


class Lan:
    """A cluster on hosts, or on loopback."""

    def __init__(self, folder, hosts):
        self.folder, self.hosts = folder, hosts
        address = "127.0.0.1" if hosts is None else hosts.address("scheduler")
        self.cluster = DaskCluster(folder, host=address, namespace=self.at("scheduler"))

    def at(self, name):
        return None if self.hosts is None else self.hosts.namespace(name)

    def fit(self, during):
        """Fit from the scheduler's host; ``during`` is called in the third pass."""
        output = self.folder / "model.npz"
        command = [sys.executable, "-m", "tests.clusters", self.cluster.address]
        log = self.folder / "client.log"
        client = Process([*command, self.folder, output], log, host=self.at("scheduler"))
        self.cluster.processes.append(client)
        client.wait_for("pass 3 begins")
        during()
        ended = client.wait_for(r"ended: (.+)")[1]
        return bits(KMeans.load(output)) if ended == "done" else ended


@pytest.fixture
def lan(tmp_path):
    if not can_make_hosts():
        with (lan := Lan(tmp_path, None)).cluster as cluster:
            for _ in range(2):
                cluster.start_worker()
            yield lan
        return
    with Hosts() as hosts, (lan := Lan(tmp_path, hosts)).cluster as cluster:
        for name in ("worker1", "worker2"):
            cluster.start_worker(f"--host={hosts.address(name)}", namespace=lan.at(name))
        yield lan


def judge(fault, found, expected):
    outcome = "clear error" if isinstance(found, str) else "lost or damaged"
    outcome = "identical" if found == expected else outcome
    TABLE.add(fault, outcome)
    return outcome


def test_three_hosts_give_the_bits_of_one(lan, expected):
    assert lan.fit(lambda: None) == expected


@pytest.mark.skipif(not can_make_hosts(), reason=NEEDS_ROOT)
def test_a_link_cut_for_a_while(lan, expected):
    def during():
        lan.hosts.cut("worker2")
        time.sleep(4)
        lan.hosts.mend("worker2")

    assert judge("link cut for a while", lan.fit(during), expected) == "identical"


@pytest.mark.skipif(not can_make_hosts(), reason=NEEDS_ROOT)
@pytest.mark.usefixtures("only_long")
def test_a_link_cut_for_good(lan, expected):
    found = lan.fit(lambda: lan.hosts.cut("worker2"))
    assert judge("link cut for good", found, expected) == "identical"


@pytest.mark.skipif(not can_make_hosts(), reason=NEEDS_ROOT)
@pytest.mark.usefixtures("only_long")
def test_all_links_cut_for_good(lan, expected):
    def during():
        lan.hosts.cut("worker1")
        lan.hosts.cut("worker2")

    found = lan.fit(during)
    assert judge("all links cut for good", found, expected) == "clear error"
    assert "has had no workers for 4" in found
