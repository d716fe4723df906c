"""No silently wrong voxels: damaged files are an ImageIntegrityError that names the file, or read as they were."""

import concurrent.futures
import gzip
import os
import shutil
import struct
import subprocess
import sys
import zlib

import nibabel
import numpy as np
import pytest

from tests.support.volumes import assert_same, ct_like, outcome, smooth
from tfmed.io import ImageIntegrityError, read_geometry, read_volume, write_volume

pytestmark = pytest.mark.current


def test_two_hundred_flipped_bits_give_no_wrong_volume(tmp_path):
    original = smooth()
    write_volume(original, tmp_path / "v.nii.gz")
    intact = (tmp_path / "v.nii.gz").read_bytes()
    rng = np.random.default_rng(1)
    positions = [*range(18), *(len(intact) - 1 - np.arange(8)), *rng.integers(18, len(intact) - 8, 174)]
    results = []
    for position in positions:
        raw = bytearray(intact)
        raw[position] ^= 1 << rng.integers(8)
        (tmp_path / "v.nii.gz").write_bytes(raw)
        results.append(outcome(tmp_path / "v.nii.gz", original))
    assert len(results) == 200 and results.count("refused") >= 185  # the rest: time and system in gzip's own header


@pytest.mark.parametrize("name", ["v.nii.gz", "v.nii"])
def test_a_hundred_truncations_give_no_wrong_volume(tmp_path, name):
    original = smooth()
    write_volume(original, tmp_path / name)
    intact = (tmp_path / name).read_bytes()
    lengths = [0, 1, 2, 10, 347, 348, 352, *range(len(intact) - 12, len(intact))]
    lengths += np.random.default_rng(2).integers(3, len(intact) - 12, 100 - len(lengths)).tolist()
    for length in lengths:
        (tmp_path / name).write_bytes(intact[:length])
        assert outcome(tmp_path / name, original) == "refused"


@pytest.mark.parametrize("extra", [b"\1", b"\0\0\0\0x", b"\x1f\x8b", gzip.compress(b"more", mtime=0)])
def test_bytes_behind_the_end_are_refused(tmp_path, volume, extra):
    for name in ("v.nii", "v.nii.gz"):
        write_volume(volume, tmp_path / name)
        with open(tmp_path / name, "ab") as file:
            file.write(extra)
        assert outcome(tmp_path / name, volume) == "refused"


def patched(tmp_path, **fields):
    """A .nii of 9 x 12 x 14 int16 whose header fields are replaced."""
    write_volume(ct_like(), tmp_path / "v.nii")
    raw = bytearray((tmp_path / "v.nii").read_bytes())
    header = nibabel.Nifti1Header(bytes(raw[:348]), check=False)
    for key, value in fields.items():
        header[key] = value
    raw[:348] = header.binaryblock
    (tmp_path / "v.nii").write_bytes(raw)
    return tmp_path / "v.nii"


@pytest.mark.parametrize(("fields", "words"), [
    ({"dim": [3, 8000, 8000, 8000, 1, 1, 1, 1]}, "header announces"),
    ({"dim": [3, 14, 12, 0, 1, 1, 1, 1]}, "an axis has length 0"),
    ({"dim": [3, 14, 12, -9, 1, 1, 1, 1]}, "an axis has length -9"),
    ({"dim": [2, 14, 108, 1, 1, 1, 1, 1]}, "2 axes"),
    ({"dim": [5, 7, 2, 2, 3, 18, 1, 1]}, "5 axes"),
    ({"dim": [8, 14, 12, 9, 1, 1, 1, 1]}, "number of axes is 8"),
    ({"dim": [0, 14, 12, 9, 1, 1, 1, 1]}, "number of axes is 0"),
    ({"datatype": 128, "bitpix": 24}, "RGB"),
    ({"datatype": 32, "bitpix": 64}, "complex"),
    ({"datatype": 77}, "datatype code 77"),
    ({"bitpix": 8}, "contradicts itself"),
    ({"vox_offset": 0}, "begin at byte 0"),
    ({"vox_offset": np.nan}, "begin at byte nan"),
    ({"vox_offset": 1e30}, "begin at byte 1e\\+30"),
    ({"vox_offset": 368}, "bytes, its header announces"),
    ({"scl_slope": np.inf}, "not finite"),
    ({"scl_slope": 2, "scl_inter": np.nan}, "not finite"),
    ({"scl_slope": 1e38}, "overflows"),
    ({"srow_x": 0}, "cannot be inverted"),
    ({"srow_y": [0.8, 0, 0, 0]}, "cannot be inverted"),
    ({"srow_z": np.nan}, "not finite"),
    ({"sform_code": 0, "quatern_b": 3}, "qform"),
    ({"sform_code": 0, "pixdim": [1, 1, -1, 1, 1, 1, 1, 1]}, "not positive"),
    ({"sform_code": 0, "pixdim": [1, 1, 0, 1, 1, 1, 1, 1]}, "not positive"),
    ({"sform_code": 0, "pixdim": [5, 1, 1, 1, 1, 1, 1, 1]}, "qform"),
    ({"sform_code": -1}, "unknown"),
    ({"xyzt_units": 3}, "millimetre"),
    ({"magic": b"ni1"}, "another file"),
    ({"magic": b"abc"}, "magic"),
])  # fmt: skip
def test_contradictions_in_a_header_are_told(tmp_path, fields, words):
    path = patched(tmp_path, **fields)
    for name in (path, path.with_suffix(".nii.gz")):
        if name != path:
            name.write_bytes(gzip.compress(path.read_bytes()))
            words = words.replace("bytes, its header announces", "before the size that the header announces")
        with pytest.raises(ImageIntegrityError, match=words) as error:
            read_volume(name)
        assert str(error.value).startswith(f"{name}: ") and "\n" not in str(error.value)


def test_a_gzip_that_grows_beyond_its_header_is_left_unread(tmp_path):
    write_volume(ct_like(), tmp_path / "v.nii")
    raw = (tmp_path / "v.nii").read_bytes()
    deflate = zlib.compressobj(9, wbits=31)
    (tmp_path / "v.nii.gz").write_bytes(deflate.compress(raw) + deflate.compress(bytes(1 << 28)) + deflate.flush())
    with pytest.raises(ImageIntegrityError, match="more data than its header announces"):
        read_volume(tmp_path / "v.nii.gz")


def test_names_that_lie(tmp_path, volume):
    write_volume(volume, tmp_path / "v.nii")
    shutil.copy(tmp_path / "v.nii", tmp_path / "w.nii.gz")
    with pytest.raises(ImageIntegrityError, match="not compressed"):
        read_volume(tmp_path / "w.nii.gz")
    write_volume(volume, tmp_path / "v.nii.gz")
    shutil.copy(tmp_path / "v.nii.gz", tmp_path / "w.nii")
    with pytest.raises(ImageIntegrityError, match=r"rename it to end in \.nii\.gz"):
        read_volume(tmp_path / "w.nii")
    for name in ("w.mha", "w.nrrd", "w.mhd"):
        shutil.copy(tmp_path / "v.nii", tmp_path / name)
        assert outcome(tmp_path / name, volume) == "refused"


@pytest.mark.parametrize(("name", "words"), [
    ("absent.nii", "no such file"), ("x.txt", "suffix"), ("x.hdr", "missing"), ("x.png", "read_stack"),
    ("x.dcm", "folder that holds the series"), ("x.nii", "empty"), ("x.mha", "empty"), ("a\nb.nii", "empty"),
])  # fmt: skip
def test_files_that_cannot_be_volumes(tmp_path, name, words):
    if not name.startswith("absent"):
        (tmp_path / name).touch()
    for read in (read_volume, read_geometry):
        with pytest.raises(ImageIntegrityError, match=words) as error:
            read(tmp_path / name)
        assert "\n" not in str(error.value)


def test_absurd_sizes_in_a_tiny_file(tmp_path):
    """352 bytes that claim 8000 x 8000 x 8000 voxels: refused before anything is allocated."""
    header = nibabel.Nifti1Header()
    header.set_data_dtype("int16")
    header.set_data_shape((8000, 8000, 8000))
    header["magic"], header["vox_offset"] = b"n+1", 352
    raw = header.binaryblock + struct.pack("<i", 0)
    (tmp_path / "v.nii").write_bytes(raw)
    (tmp_path / "v.nii.gz").write_bytes(gzip.compress(raw))
    for name in ("v.nii", "v.nii.gz"):
        with pytest.raises(ImageIntegrityError, match="announces"):
            read_volume(tmp_path / name)


def test_what_is_no_file_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.nii")
    for path in (tmp_path / "pipe.nii", "/dev/null", tmp_path / ("x" * 300 + ".nii"), "a\0b.nii"):
        with pytest.raises(ImageIntegrityError):
            read_volume(path)


def test_a_disk_that_takes_no_more_leaves_what_was_there(tmp_path):
    """A limit on file size stands for the full disk; ITK itself would not notice it."""
    program = """
import os, pathlib, resource, sys
from tests.support.volumes import ct_like
from tfmed.errors import UserError
from tfmed.io import write_volume
root = pathlib.Path(sys.argv[1])
names = ["v.nii", "v.nii.gz", "v.mha", "v.mhd", "v.nrrd"]
for name in names:
    write_volume(ct_like(), root / name)
before = {path.name: path.read_bytes() for path in root.iterdir()}
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
for name in names + ["series"]:
    try:
        write_volume(ct_like((40, 64, 64), seed=1), root / name)
    except UserError as error:
        assert "cannot be written" in str(error) and "\\n" not in str(error), error
    else:
        raise SystemExit(name + " was written")
assert before == {path.name: path.read_bytes() for path in root.iterdir()}
"""
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_many_threads_read_at_once(tmp_path, volume):
    names = ["v.nii.gz", "v.mha", "v.nrrd", "series"]
    for name in names:
        write_volume(volume, tmp_path / name)
    alone = [read_volume(tmp_path / name) for name in names]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for index, back in enumerate(pool.map(lambda index: read_volume(tmp_path / names[index % 4]), range(64))):
            assert_same(back, alone[index % 4])
