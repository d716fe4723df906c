"""Batches from a function of the sample index."""

import threading

import numpy as np
import pytest
import tensorflow as tf

from tfmed.data.pipeline import Samples

pytestmark = pytest.mark.current

SPEC = {"image": ((2, 3), "float32"), "count": ((), "int32")}


def read(index):
    return {"image": np.full((2, 3), index, "int32"), "count": 10 * index}


def samples(per_step=4, function=read):
    return Samples(function, SPEC, per_step)


def as_numpy(dataset):
    return [{name: np.asarray(value) for name, value in batch.items()} for batch in dataset]


def assert_equal(ours, theirs):
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs, strict=True):
        assert one.keys() == other.keys()
        for name in one:
            assert one[name].dtype == other[name].dtype, name
            np.testing.assert_array_equal(one[name], other[name])


def test_batches_hold_what_was_read():
    first, second = as_numpy(samples().batches(0, 2))
    np.testing.assert_array_equal(first["index"], [0, 1, 2, 3])
    np.testing.assert_array_equal(second["count"], [40, 50, 60, 70])
    assert first["image"].shape == (4, 2, 3) and first["image"].dtype == np.float32
    assert (second["image"] == second["index"][:, None, None]).all()


def test_static_shapes_are_known():
    spec = samples(3).batches().element_spec
    assert {name: (tuple(s.shape), s.dtype.name) for name, s in spec.items()} == {
        "index": ((3,), "int64"), "image": ((3, 2, 3), "float32"), "count": ((3,), "int32"),
    }  # fmt: skip


@pytest.mark.parametrize("start", [0, 1, 5, 9, 10])
def test_starting_late_equals_the_tail(start):
    everything = as_numpy(samples().batches(0, 10))
    assert_equal(as_numpy(samples().batches(start, 10)), everything[start:])


def test_starting_late_reads_nothing_before():
    seen = []

    def note(index):
        seen.append(index)
        return read(index)

    as_numpy(samples(function=note).batches(100_000, 100_002))
    assert sorted(seen) == list(range(400_000, 400_008))


def test_without_an_end_it_goes_on():
    assert len(as_numpy(samples().batches(3).take(50))) == 50


def test_the_numpy_batch_equals_the_pipeline():
    assert_equal(as_numpy(samples().batches(0, 6)), [samples().batch(step) for step in range(6)])


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_workers_share_each_step(workers):
    parts = [as_numpy(samples(8).batches(2, 5, worker=w, workers=workers)) for w in range(workers)]
    for step, whole in enumerate(as_numpy(samples(8).batches(2, 5))):
        joined = {name: np.concatenate([part[step][name] for part in parts]) for name in whole}
        assert_equal([joined], [whole])


def test_order_is_kept_when_reads_take_different_times():
    barrier = threading.Event()

    def uneven(index):
        if index % 4 == 0:
            barrier.wait(0.05)
        return read(index)

    assert_equal(as_numpy(samples(function=uneven).batches(0, 3)), as_numpy(samples().batches(0, 3)))


def test_several_samples_are_read_at_a_time_under_determinism():
    """Two reads that wait for each other only end when they run side by side."""
    meeting = threading.Barrier(2, timeout=20)

    def together(index):
        meeting.wait()
        return read(index)

    tf.config.experimental.enable_op_determinism()
    assert len(as_numpy(samples(2, together).batches(0, 2))) == 2


def test_a_failing_read_surfaces():
    def fail(index):
        if index == 5:
            raise ValueError("case 5 is damaged")
        return read(index)

    broken = samples(function=fail)
    batches = iter(broken.batches(0, 4, prefetch=0))
    next(batches)
    with pytest.raises(tf.errors.OpError, match="case 5 is damaged"):
        list(batches)
    assert isinstance(broken.failure, ValueError) and str(broken.failure) == "case 5 is damaged"


def test_a_wrong_shape_surfaces():
    wrong = samples(function=lambda index: {"image": np.zeros((3, 2)), "count": 0})
    with pytest.raises(tf.errors.OpError):
        as_numpy(wrong.batches(0, 1))
