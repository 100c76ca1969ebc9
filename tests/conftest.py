"""Flags, Hypothesis profile and fixtures that the tests share."""

import dask
import pytest
from hypothesis import HealthCheck, settings

from tests.faults import TABLE

common = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("dkmeans", max_examples=40, **common)
settings.register_profile("thorough", max_examples=1000, **common)  # --hypothesis-profile=thorough
settings.load_profile("dkmeans")


def pytest_addoption(parser):
    parser.addoption("--slow", action="store_true", help="run the tests marked slow as well")
    parser.addoption("--long", action="store_true", help="inject many more faults")


def pytest_collection_modifyitems(config, items):
    if config.getoption("--slow"):
        return
    skip = pytest.mark.skip(reason="slow; run with --slow")
    for item in items:
        if "slow" in item.keywords:
            item.add_marker(skip)


@pytest.fixture(scope="session")
def long(request):
    """Whether the long form of the fault suite was asked for."""
    return request.config.getoption("--long")


@pytest.fixture
def only_long(long):
    """Skip, unless the long form of the fault suite was asked for."""
    if not long:
        pytest.skip("of the long form; run with --long")


def pytest_sessionfinish(session):
    output = getattr(session.config, "workeroutput", None)
    if output is not None:  # of a process of pytest-xdist, whose table is added to the run's
        output["faults"] = TABLE.counts()


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node):
    for fault, outcome, times in getattr(node, "workeroutput", {}).get("faults", []):
        TABLE.add(fault, outcome, times)


def pytest_terminal_summary(terminalreporter):
    lines = TABLE.lines()
    if lines:
        terminalreporter.section("faults")
        for line in lines:
            terminalreporter.write_line(line)


class CountingScheduler:
    """Dask's threaded scheduler, counting how often anyone computes."""

    def __init__(self):
        self.computes = 0

    def __call__(self, graph, keys, **options):
        self.computes += 1
        return dask.threaded.get(graph, keys, **options)


@pytest.fixture
def computes():
    """Scheduler in force for the test; ``computes.computes`` says how often it was asked."""
    scheduler = CountingScheduler()
    with dask.config.set(scheduler=scheduler):
        yield scheduler


@pytest.fixture(scope="module")
def cluster():
    """Two worker processes of one thread each."""
    from distributed import LocalCluster

    with LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0"
    ) as made:
        yield made


@pytest.fixture
def client(cluster):
    """Client of the two workers, the current one while the test lasts."""
    from distributed import Client

    with Client(cluster) as made:
        yield made


@pytest.fixture(scope="module")
def browser():
    from pages import chromium

    path = chromium()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as tool:
        found = tool.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture
def opened(browser):
    """Open a page from disk; at the end there was no word on the console and no request."""
    contexts, noise = [], []

    def open_page(path, width=1280, scheme="light"):
        context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, reduced_motion="reduce"
        )
        contexts.append(context)
        tab = context.new_page()
        tab.on("console", lambda message: noise.append(message.text))
        tab.on("pageerror", lambda error: noise.append(str(error)))
        tab.on("request", lambda request: noise.append(request.url))
        tab.goto(path.as_uri())
        assert noise.pop(0) == path.as_uri()
        return tab

    yield open_page
    for context in contexts:
        context.close()
    assert [text for text in noise if not text.startswith("data:")] == []
