"""Connectome files: every format gives the matrix back, and what is no matrix is refused in one line."""

import networkx
import numpy as np
import pytest
from scipy.io import savemat

from tfmed.io.connectome import read_connectome, write_connectome
from tfmed.io.errors import ImageIntegrityError

pytestmark = pytest.mark.current


def matrix(regions=5):
    found = np.random.default_rng(0).integers(0, 50, (regions, regions))
    return np.triu(found, 1) + np.triu(found, 1).T


def names(path, header, column, mark):
    rows = [[f"r{i}", *map(str, row)] if column else list(map(str, row)) for i, row in enumerate(matrix())]
    first = [[*([""] if column else []), *(f"r{i}" for i in range(5))]] if header else []
    path.write_text("\n".join(mark.join(row) for row in first + rows) + "\n", encoding="utf-8")


@pytest.mark.parametrize("mark", [",", ";", "\t", " "])
@pytest.mark.parametrize("header, column", [(False, False), (True, False), (True, True), (False, True)])
def test_text_with_and_without_names(tmp_path, header, column, mark):
    if mark == " " and header and column:
        pytest.skip("an empty first cell cannot be told from a blank")
    names(tmp_path / "x.csv", header, column, mark)
    np.testing.assert_array_equal(read_connectome(tmp_path / "x.csv"), matrix())


def test_arrays_matlab_and_graphs(tmp_path):
    np.save(tmp_path / "x.npy", matrix().astype(np.int32))
    savemat(tmp_path / "x.mat", {"sc": matrix(), "length": matrix() + 1.0, "subject": "s1"})
    savemat(tmp_path / "one.mat", {"sc": matrix(), "age": 71})
    networkx.write_graphml(networkx.from_numpy_array(matrix()), tmp_path / "x.graphml")
    for name in ("x.npy", "x.mat::sc", "one.mat", "x.graphml"):
        np.testing.assert_array_equal(read_connectome(tmp_path / name), matrix())


@pytest.mark.parametrize("suffix", ["csv", "npy"])
def test_what_is_written_is_read_again(tmp_path, suffix):
    values = np.random.default_rng(1).random((7, 7)).astype(np.float32)
    write_connectome(values, tmp_path / f"x.{suffix}")
    np.testing.assert_allclose(read_connectome(tmp_path / f"x.{suffix}"), values, rtol=1e-7)


@pytest.mark.parametrize("name, content, message", [
    ("x.csv", b"1,2\n3,4\n5,6\n", "3 x 2, not square"),
    ("x.csv", b"1,2\n3\n", "from 1 to 2 numbers"),
    ("x.csv", b"", "it is empty"),
    ("x.csv", b"0,1\nnan,0\n", "1 entries are NaN"),
    ("x.csv", b"\xff\xfe1,2", "holds no connectome"),
    ("x.csv", b"a,b\nc,d\n", "holds no connectome"),
    ("x.npy", b"\x93NUMPY\x01\x00v\x00{", "holds no connectome"),
    ("x.mat", b"MATLAB 5.0", "holds no connectome"),
    ("x.graphml", b"<graphml><graph>", "holds no connectome"),
    ("x.png", b"", "is no connectome file"),
])  # fmt: skip
def test_what_is_no_connectome_is_one_line(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ImageIntegrityError, match=message) as caught:
        read_connectome(tmp_path / name)
    assert "\n" not in str(caught.value) and name in str(caught.value)


def test_missing_files_ambiguous_ones_and_pickles(tmp_path):
    with pytest.raises(ImageIntegrityError, match="cannot be read"):
        read_connectome(tmp_path / "x.npy")
    savemat(tmp_path / "x.mat", {"sc": matrix(), "fc": matrix()})
    with pytest.raises(ImageIntegrityError, match="has 2 square matrices; name one"):
        read_connectome(tmp_path / "x.mat")
    with pytest.raises(ImageIntegrityError, match="has no 'x'; it has sc, fc"):
        read_connectome(f"{tmp_path / 'x.mat'}::x")
    np.save(tmp_path / "x.npy", np.array([[print]]), allow_pickle=True)
    with pytest.raises(ImageIntegrityError, match="holds no connectome"):
        read_connectome(tmp_path / "x.npy")
