"""What lies in the cache is compared with its note before it is trusted; what is damaged is made again."""

import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

from tests.support.volumes import ct_like
from tfmed.data.cache import Cache
from tfmed.data.case import Case
from tfmed.data.checks import CaseSpec, check_case, fill
from tfmed.data.entries import Entries
from tfmed.data.preprocess import Window, ZScore
from tfmed.engine.terminal import set_up_logging
from tfmed.errors import DataError
from tfmed.io import Volume, write_volume

pytestmark = pytest.mark.current

SPEC = CaseSpec(("ct",), "optional", (0, 1), stack=True)


def written(folder):
    Entries(folder).write("ab", {"": np.arange(60.0).reshape(3, 4, 5), "label": np.ones((3, 4), np.uint8)}, {"x": [1]})
    return folder / "ab"


def test_gives_back_what_was_written(tmp_path):
    written(tmp_path)
    for entries in (Entries(tmp_path), Entries(tmp_path)):
        arrays, note = entries.read("ab")
        np.testing.assert_array_equal(arrays[""], np.arange(60.0).reshape(3, 4, 5))
        assert arrays["label"].dtype == np.uint8 and note == {"x": [1]} and not arrays[""].flags.writeable
    assert Entries(tmp_path).read("cd") is None and not Entries(tmp_path).has("cd")
    Entries(tmp_path).write("ef", {"": np.asfortranarray(np.eye(3)), "none": np.zeros((0, 3))}, None)
    arrays, _ = Entries(tmp_path).read("ef")
    assert (arrays[""] == np.eye(3)).all() and arrays["none"].shape == (0, 3)


def flip(path):
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)


def swap(path):
    """The array of another entry, as long as this one."""
    np.save(path, np.load(path) + 1)


def fifo(path):
    path.unlink()
    os.mkfifo(path)


def folder(path):
    path.unlink()
    path.mkdir()


DAMAGE = {
    "cut in half": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "empty": lambda path: path.write_bytes(b""),
    "longer": lambda path: path.write_bytes(path.read_bytes() + b"0"),
    "gone": lambda path: path.unlink(),
    "one bit": flip,
    "a folder": folder,
    "a FIFO": fifo,
}
NOTES = {
    "list": "[]", "number": "3", "nested": "[" * 10**5, "no files": '{"note": 1}', "not UTF-8": "\udcff",
    "list of files": '{"note": 1, "files": []}', "no sums": '{"note": 1, "files": {"": []}}',
}  # fmt: skip


@pytest.mark.parametrize("kind", DAMAGE)
@pytest.mark.parametrize("name", ["ab.npy", "ab-label.npy", "ab.json"])
def test_damage_is_noticed(tmp_path, name, kind):
    if (name, kind) == ("ab.json", "one bit"):
        kind = "empty"
    DAMAGE[kind](written(tmp_path) / name)
    assert Entries(tmp_path).read("ab") is None
    if kind != "one bit":
        assert not Entries(tmp_path).has("ab")


def test_other_voxels_of_the_same_size_are_noticed(tmp_path, capfd):
    set_up_logging()
    swap(written(tmp_path) / "ab.npy")
    assert Entries(tmp_path).read("ab") is None
    assert "ab.npy: is damaged; it is made again" in capfd.readouterr().err


@pytest.mark.parametrize("text", NOTES.values(), ids=NOTES)
def test_strange_notes(tmp_path, text):
    (written(tmp_path) / "ab.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    assert Entries(tmp_path).read("ab") is None and not Entries(tmp_path).has("ab")


@pytest.fixture
def case(tmp_path):
    image = ct_like()
    write_volume(image, tmp_path / "image.nii.gz")
    write_volume(image.replace(array=(image.array > 0).astype("u1")), tmp_path / "label.nii.gz")
    return Case("c", "c", {"ct": str(tmp_path / "image.nii.gz")}, str(tmp_path / "label.nii.gz"))


@pytest.mark.parametrize("kind", sorted(DAMAGE.keys() - {"a folder"}))
def test_the_cache_makes_it_again(case, tmp_path, kind):
    right = np.array(Cache(tmp_path / "cache", [ZScore()]).stack(case, SPEC).image)
    for path in [path for path in (tmp_path / "cache").rglob("*") if path.suffix in (".npy", ".txt")]:
        DAMAGE[kind](path)
    cache = Cache(tmp_path / "cache", [ZScore()])
    found = cache.stack(case, SPEC)
    np.testing.assert_array_equal(found.image, right)
    assert found.label.sum() == (ct_like().array > 0).sum()


def test_taken_away_while_a_process_runs(case, tmp_path):
    cache = Cache(tmp_path / "cache", [ZScore()])
    right = np.array(cache.stack(case, SPEC).image)
    shutil.rmtree(tmp_path / "cache")
    np.testing.assert_array_equal(cache.stack(case, SPEC).image, right)


def test_a_second_process_compares_and_the_first_does_not_again(tmp_path):
    """A checksum is compared once: afterwards an array is opened without being read."""
    path = written(tmp_path) / "ab.npy"
    entries = Entries(tmp_path)
    entries.read("ab")
    flip(path)
    assert entries.read("ab") is not None
    code = f"from tfmed.data.entries import Entries; print(Entries({str(tmp_path)!r}).read('ab'))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "None"


@pytest.mark.parametrize("voxels, steps, said", [
    (np.array([1e39, 1, 2]), (), "NaN or infinite after data.preprocess"),
    (np.array([30000, 40000, 65535]), (Window(window_hu=(-1000, 1000)),), "every voxel is 1 after data.preprocess"),
    (np.array([1e-44, 2e-44, 3e-44]) * 1e-9, (), "every voxel is 0 after data.preprocess"),
])  # fmt: skip
def test_what_was_prepared_is_checked(tmp_path, voxels, steps, said):
    """Values that are good in the file may be none once they are prepared."""
    array = np.resize(voxels, (4, 5, 6)).astype("f8" if voxels.dtype.kind == "f" else "u2")
    write_volume(Volume(array, np.eye(4)), tmp_path / "x.nii.gz")
    case = Case("c", "c", {"ct": str(tmp_path / "x.nii.gz")})
    for spec in (CaseSpec(), CaseSpec(stack=True)):
        assert all("beyond float32" in line for line in check_case(case, spec))  # told as early as it can be
        (line,) = fill(case, Cache(tmp_path / "cache", steps), spec)
        assert said in line and ("x.nii.gz" in line or line.startswith("c: "))
        with pytest.raises(DataError):
            Cache(tmp_path / "cache", steps).get(case.images["ct"])


def test_labels_may_be_constant(tmp_path):
    write_volume(Volume(np.zeros((4, 5, 6), "u1"), np.eye(4)), tmp_path / "x.nii.gz")
    cache = Cache(tmp_path / "cache", ())
    assert not cache.get(str(tmp_path / "x.nii.gz"), is_label=True).array.any()
