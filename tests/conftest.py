"""Set-up that all tests share: a cache of their own, two logical CPUs (for replicas), quiet TensorFlow."""

import gc
import os
import pathlib

import hypothesis
import pytest

import tfmed  # noqa: F401 - before TensorFlow, for which it chooses oneDNN
from tests.support import costs

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# Two replicas' filter gradients at once, operation by operation, end the process where oneDNN has several threads.
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
if int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", 1)) > 1:  # the workers' own threads would fight for the cores
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(name, "1")
# Graphs are many small objects that stay: looking among them for what is unused took a twentieth of the time.
gc.set_threshold(100_000, 20, 100)
# No deadlines: a busy machine is no defect. CI draws the same examples each time, people draw new ones.
hypothesis.settings.register_profile("tfmed", deadline=None, derandomize=bool(os.environ.get("CI")))
hypothesis.settings.load_profile("tfmed")
REPOSITORY = pathlib.Path(__file__).parents[1]


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory):
    """Tests neither read nor fill the cache of the person who runs them."""
    folder = tmp_path_factory.mktemp("cache")
    os.environ["TFMED_CACHE"] = str(folder)
    return folder


pytest_addoption = costs.pytest_addoption


def pytest_configure(config):
    """TensorFlow's devices are fixed at its first operation: set two CPUs up before any test runs one."""
    costs.pytest_configure(config)
    if not config.option.collectonly:
        import tensorflow as tf

        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """The notebooks first: one worker runs all of them, for minutes in which others would wait at the end."""
    items.sort(key=lambda item: item.path.name != "test_notebooks.py")


@pytest.fixture
def unfilled_weights():
    """The weights of networks that a test makes are zeros: where they are counted alone, drawing them is most of it.

    On stack `current` they are drawn nevertheless.
    """
    import tensorflow as tf

    def create(next_creator, **options):
        shape = tf.TensorShape(options.get("shape"))
        if shape.is_fully_defined() and callable(options.get("initial_value")):
            options["initial_value"] = lambda: tf.zeros(shape, options["dtype"])
        return next_creator(**options)

    with tf.variable_creator_scope(create):
        yield


@pytest.fixture(scope="session")
def real_data():
    """Folder of the small real data sets that may lie beside a checkout; tests that need it skip without it."""
    for root in (os.environ.get("TFMED_REAL_DATA"), REPOSITORY.parent / "shared" / "data"):
        if root and pathlib.Path(root).is_dir():
            return pathlib.Path(root)
    pytest.skip("the small real data sets are not beside this checkout (set TFMED_REAL_DATA to their folder)")
