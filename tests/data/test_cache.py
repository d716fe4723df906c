"""The preprocessing cache: never stale, never half, shared by processes."""

import json
import os
import pathlib
import subprocess
import sys
import time

import numpy as np
import pytest
import SimpleITK as sitk

from tfmed.data import phantoms, preprocess
from tfmed.data.cache import Cache
from tfmed.data.case import Case
from tfmed.data.checks import CaseSpec
from tfmed.data.preprocess import Orient, Resample, Window
from tfmed.data.readers import read_address
from tfmed.io import ImageIntegrityError, Volume, write_volume

pytestmark = pytest.mark.current

AFFINE = np.array([[-0.8, 0, 0, 91.5], [0, 0.7, 0, -120.25], [0, 0, 2.5, -310.0], [0, 0, 0, 1]])
STEPS = (Orient(), Window(window_hu=(-1000, 1000)))


def ct(seed=0, shape=(9, 12, 14)):
    return Volume(np.random.default_rng(seed).integers(-900, 900, shape).astype("int16"), AFFINE)


@pytest.fixture
def source(tmp_path):
    write_volume(ct(), tmp_path / "scan.nii")
    return str(tmp_path / "scan.nii")


def entries(folder):
    return sorted(path for path in pathlib.Path(folder).rglob("*") if path.suffix in (".npy", ".json"))


def assert_fresh(cache, address, **kind):
    """What the cache gives equals what preprocessing gives now."""
    found = cache.get(address, **kind)
    wanted = preprocess.run(cache.steps, read_address(address), kind.get("is_label", False))
    np.testing.assert_array_equal(found.array, wanted.array)
    np.testing.assert_array_equal(found.affine, wanted.affine)
    return found


def test_gives_what_preprocessing_gives(source, tmp_path):
    for _ in range(2):
        found = assert_fresh(Cache(tmp_path / "cache", STEPS), source)
    assert found.array.dtype == np.float32 and found.affine.dtype == np.float64
    assert len(entries(tmp_path / "cache")) == 2


def test_arrays_are_read_only_memory_maps(source, tmp_path):
    array = Cache(tmp_path / "cache", STEPS).get(source).array
    assert isinstance(array, np.memmap) and not array.flags.writeable
    with pytest.raises(ValueError, match="read-only"):
        array[0, 0, 0] = 1


def test_a_second_look_reads_no_source(source, tmp_path):
    cache = Cache(tmp_path / "cache", STEPS)
    first = np.array(cache.get(source).array)
    os.remove(source)
    np.testing.assert_array_equal(cache.get(source).array, first)


def test_float16_halves_images_and_leaves_labels(source, tmp_path):
    image, exact = (Cache(tmp_path / "cache", STEPS, dtype).get(source).array for dtype in ("float16", "float32"))
    assert image.dtype == np.float16 and exact.dtype == np.float32
    assert np.abs(image.astype(float) - exact).max() <= 2**-12 + 1e-7
    assert Cache(tmp_path / "cache", STEPS, "float16").get(source, is_label=True).array.dtype == np.int16


@pytest.mark.parametrize("change", [
    (Orient(), Window(window_hu=(-1000, 1001))), (Window(window_hu=(-1000, 1000)), Orient()), (Orient(),), (),
    (Orient(to="LPS"), STEPS[1]), (*STEPS, Resample(shape=(4, 5, 6))), (*STEPS, Resample(spacing_mm=(4, 5, 6))),
], ids=lambda steps: "+".join(step.step for step in steps) or "none")  # fmt: skip
def test_a_changed_setting_is_never_stale(source, tmp_path, change):
    assert_fresh(Cache(tmp_path / "cache", STEPS), source)
    found = assert_fresh(Cache(tmp_path / "cache", change), source)
    assert found.array.dtype == np.float32
    assert len(entries(tmp_path / "cache")) == 4


def test_image_and_label_are_kept_apart(source, tmp_path):
    cache = Cache(tmp_path / "cache", STEPS)
    assert_fresh(cache, source)
    assert assert_fresh(cache, source, is_label=True).array.dtype == np.int16


def test_a_changed_byte_is_noticed_although_size_and_time_are_the_same(source, tmp_path):
    assert_fresh(Cache(tmp_path / "cache", STEPS), source)
    before = os.stat(source)
    time.sleep(0.05)  # longer than the file system's clock ticks
    data = bytearray(pathlib.Path(source).read_bytes())
    data[-3] ^= 1
    pathlib.Path(source).write_bytes(data)
    os.utime(source, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (os.stat(source).st_size, os.stat(source).st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    assert_fresh(Cache(tmp_path / "cache", STEPS), source)


def test_the_same_content_elsewhere_is_recognised_by_its_content(source, tmp_path):
    moved = tmp_path / "elsewhere" / "scan.nii"
    moved.parent.mkdir()
    assert_fresh(Cache(tmp_path / "cache", STEPS), source)
    os.rename(source, moved)
    assert_fresh(Cache(tmp_path / "cache", STEPS), str(moved))
    assert len(entries(tmp_path / "cache")) == 2


def test_a_raised_version_makes_everything_anew(source, tmp_path, monkeypatch):
    Cache(tmp_path / "cache", STEPS).get(source)
    monkeypatch.setattr(preprocess, "VERSION", preprocess.VERSION + 1)
    assert_fresh(Cache(tmp_path / "cache", STEPS), source)
    assert len(entries(tmp_path / "cache")) == 4


def test_a_raised_phantom_version_makes_phantoms_anew(tmp_path, monkeypatch):
    address = phantoms.address("chest_ct", seed=1, shape=(16, 16, 16))
    assert_fresh(Cache(tmp_path / "cache", STEPS), address)
    monkeypatch.setattr(phantoms, "VERSION", phantoms.VERSION + 1)
    assert_fresh(Cache(tmp_path / "cache", STEPS), address)
    assert len(entries(tmp_path / "cache")) == 4


@pytest.mark.parametrize("lost", [".json", ".npy"])
def test_half_an_entry_is_made_again(source, tmp_path, lost):
    Cache(tmp_path / "cache", STEPS).get(source)
    left, gone = sorted(entries(tmp_path / "cache"), key=lambda path: path.suffix == lost)
    gone.unlink()
    left.write_bytes(left.read_bytes()[: left.stat().st_size // 2])
    assert_fresh(Cache(tmp_path / "cache", STEPS), source)


def test_a_damaged_source_leaves_nothing_behind(tmp_path):
    write_volume(ct(), tmp_path / "scan.nii.gz")
    data = (tmp_path / "scan.nii.gz").read_bytes()
    (tmp_path / "scan.nii.gz").write_bytes(data[: len(data) // 2])
    with pytest.raises(ImageIntegrityError, match=r"scan\.nii\.gz"):
        Cache(tmp_path / "cache", STEPS).get(str(tmp_path / "scan.nii.gz"))
    assert entries(tmp_path / "cache") == [] and not list((tmp_path / "cache").rglob(".tmp-*"))


@pytest.mark.parametrize("name", ["scan.raw", "other.raw", "voxels.bin"])
def test_the_voxel_file_of_a_header_counts(tmp_path, name):
    image = sitk.GetImageFromArray(ct().array)
    sitk.WriteImage(image, str(tmp_path / "scan.mhd"))
    header = tmp_path / "scan.mhd"
    header.write_text(header.read_text(encoding="utf-8").replace("scan.raw", name), encoding="utf-8")
    os.rename(tmp_path / "scan.raw", tmp_path / name)
    assert_fresh(Cache(tmp_path / "cache", STEPS), str(header))
    data = bytearray((tmp_path / name).read_bytes())
    data[100] ^= 1
    (tmp_path / name).write_bytes(data)
    assert_fresh(Cache(tmp_path / "cache", STEPS), str(header))
    assert len(entries(tmp_path / "cache")) == 4


def test_a_dicom_folder(tmp_path):
    write_volume(ct(), tmp_path / "series")
    folder = str(tmp_path / "series")
    assert_fresh(Cache(tmp_path / "cache", STEPS), folder)
    write_volume(ct(1), tmp_path / "other")
    for old, new in zip(sorted((tmp_path / "series").iterdir()), sorted((tmp_path / "other").iterdir()), strict=True):
        old.write_bytes(new.read_bytes())
    assert_fresh(Cache(tmp_path / "cache", STEPS), folder)
    assert len(entries(tmp_path / "cache")) == 4


def test_has_tells_what_is_prepared(source, tmp_path):
    case, case_spec = Case("a", "a", {"ct": source}, label=source), CaseSpec(label="required")
    cache = Cache(tmp_path / "cache", STEPS)
    assert not cache.has(case, case_spec)
    cache.get(source)
    assert not cache.has(case, case_spec) and cache.has(case, CaseSpec())
    cache.get(source, is_label=True)
    assert cache.has(case, case_spec)
    assert not cache.has(case, CaseSpec(images=("mr",)))
    assert not Cache(tmp_path / "cache", STEPS[:1]).has(case, case_spec)
    os.remove(source)
    assert not cache.has(case, case_spec)


WRITER = """
import pathlib, sys, time
from tfmed.data.cache import Cache
from tfmed.data.preprocess import Orient, Window
source, folder, me = sys.argv[1:]
cache = Cache(folder, (Orient(), Window(window_hu=(-1000, 1000))))
pathlib.Path(folder, "ready-" + me).touch()
while len(list(pathlib.Path(folder).glob("ready-*"))) < 4:
    time.sleep(0.001)
print(float(cache.get(source).array.sum(dtype="float64")))
"""


def test_four_processes_make_one_good_entry(tmp_path):
    write_volume(ct(shape=(64, 96, 96)), tmp_path / "scan.nii")
    (tmp_path / "cache").mkdir()
    arguments = [sys.executable, "-c", WRITER, str(tmp_path / "scan.nii"), str(tmp_path / "cache")]
    writers = [subprocess.Popen([*arguments, str(i)], stdout=subprocess.PIPE, encoding="utf-8") for i in range(4)]
    sums = {writer.communicate(timeout=120)[0] for writer in writers}
    assert [writer.returncode for writer in writers] == [0] * 4 and len(sums) == 1
    array, about = sorted(entries(tmp_path / "cache"), key=lambda path: path.suffix == ".json")
    assert array.suffix == ".npy" and json.loads(about.read_text(encoding="utf-8"))["note"]["affine"]
    assert_fresh(Cache(tmp_path / "cache", STEPS), str(tmp_path / "scan.nii"))
    assert not list((tmp_path / "cache").rglob(".tmp-*"))
