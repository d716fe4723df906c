"""Analyze pairs, against nibabel; and everything that makes one unreadable."""

import nibabel
import numpy as np
import pytest

from tfmed.data.cache import Cache
from tfmed.io import read_geometry, read_volume
from tfmed.io.errors import ImageIntegrityError

pytestmark = pytest.mark.one_stack


def put(path, dtype="i2", order="<", shape=(5, 4, 3, 1)):
    """A pair written by nibabel; its array `(x, y, z[, 1])`."""
    array = np.random.default_rng(0).integers(0, 99, shape).astype(order + dtype)
    header = nibabel.AnalyzeHeader(endianness=order)
    header.set_data_dtype(dtype)
    image = nibabel.AnalyzeImage(array, np.diag([-1, 1.25, 2, 1]), header)
    image.to_filename(path)
    return array


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("dtype", ["u1", "i2", "i4", "f4", "f8"])
def test_voxels_and_affine_are_those_of_nibabel(tmp_path, dtype, order):
    array = put(tmp_path / "a.hdr", dtype, order)
    found = read_volume(tmp_path / "a.hdr")
    np.testing.assert_array_equal(found.array, array[..., 0].T)
    assert found.array.dtype == np.dtype(dtype)
    np.testing.assert_allclose(found.affine, nibabel.load(tmp_path / "a.hdr").affine)
    geometry = read_geometry(tmp_path / "a.hdr")
    assert (geometry.shape, geometry.dtype) == (found.array.shape, found.array.dtype)
    np.testing.assert_array_equal(geometry.affine, found.affine)


def flip(path, at, value):
    data = bytearray(path.read_bytes())
    data[at : at + len(value)] = value
    path.write_bytes(data)


@pytest.mark.parametrize("change, said", [
    (lambda h, i: i.unlink(), "it is missing; an image of this kind is a .hdr and a .img"),
    (lambda h, i: h.unlink(), "no such file"),
    (lambda h, i: i.write_bytes(i.read_bytes()[:-1]), "it has 119 bytes where its header announces 120"),
    (lambda h, i: i.write_bytes(i.read_bytes() + b"1"), "it has 121 bytes where its header announces 120"),
    (lambda h, i: h.write_bytes(h.read_bytes()[:300]), "it is no Analyze header of 348 bytes"),
    (lambda h, i: h.write_bytes(b""), "it is no Analyze header of 348 bytes"),
    (lambda h, i: flip(h, 344, b"ni1"), "convert it to one .nii"),
    (lambda h, i: flip(h, 42, (0).to_bytes(2, "little")), "its axes are (0, 4, 3)"),
    (lambda h, i: flip(h, 70, (128).to_bytes(2, "little")), "no type of real numbers"),
    (lambda h, i: flip(h, 72, (8).to_bytes(2, "little")), "no type of real numbers"),
    (lambda h, i: flip(h, 80, np.float32(np.nan).tobytes()), "not finite"),
    (lambda h, i: flip(h, 80, np.float32(0).tobytes()), "geometry"),
    (lambda h, i: flip(h, 108, np.float32(np.inf).tobytes()), "from byte inf"),
])  # fmt: skip
def test_what_does_not_fit_is_told_in_one_line(tmp_path, change, said):
    put(tmp_path / "a.hdr")
    change(tmp_path / "a.hdr", tmp_path / "a.img")
    for read in (read_volume, read_geometry):
        with pytest.raises(ImageIntegrityError, match=r"a\.(hdr|img)") as caught:
            read(tmp_path / "a.hdr")
        assert said in str(caught.value).replace("there is no such file or folder", "no such file")
        assert "\n" not in str(caught.value)


def test_other_voxels_are_another_content(tmp_path):
    put(tmp_path / "a.hdr")
    before = Cache(tmp_path / "cache", ()).content(str(tmp_path / "a.hdr"))
    flip(tmp_path / "a.img", 7, b"\x77")
    assert Cache(tmp_path / "cache", ()).content(str(tmp_path / "a.hdr")) != before
