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
    names(tmp_path / "x.csv", header, column, mark)
    np.testing.assert_array_equal(read_connectome(tmp_path / "x.csv"), matrix())


@pytest.mark.parametrize("text", [
    ",1,2,3\n1,0,5,6\n2,5,0,7\n3,6,7,0\n",  # numbers of regions, an empty corner
    "region,1001,1002,2001\n1001,0,5,6\n1002,5,0,7\n2001,6,7,0\n",
    "1 2 3\n1 0 5 6\n2 5 0 7\n3 6 7 0\n",  # no corner
    ",a,b,c\n0,0,5,6\n1,5,0,7\n2,6,7,0\n",  # names above, numbers beside
    "# atlas: x, y\n0,5,6\n5,0,7\n6,7,0\n",
    '"0";"5";"6"\n"5";"0";"7"\n"6";"7";"0"\n',
    "0,0;5,0;6,0\n5,0;0,0;7,0\n6,0;7,0;0,0\n",  # decimal commas
    "0,0\t5,0\t6,0\n5,0\t0,0\t7,0\n6,0\t7,0\t0,0\n",
    "0,5,6,\n5,0,7,\n6,7,0,\n",
    'roi,"a, left","b, left",c\n"a, left",0,5,6\n"b, left",5,0,7\nc,6,7,0\n',
    "0,5,6\r\n5,0,7\r\n6,7,0\r\n",
])  # fmt: skip
def test_spreadsheets(tmp_path, text):
    (tmp_path / "x.csv").write_bytes(text.encode())
    np.testing.assert_array_equal(read_connectome(tmp_path / "x.csv"), [[0, 5, 6], [5, 0, 7], [6, 7, 0]])


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
    ("x.csv", b"\xff\xfe1,2", "not UTF-8"),
    ("x.csv", b"a,b\nc,d\n", "holds no connectome"),
    ("x.npy", b"\x93NUMPY\x01\x00v\x00{", "holds no connectome"),
    ("x.mat", b"MATLAB 5.0", "holds no connectome"),
    ("x.graphml", b"<graphml><graph>", "holds no connectome"),
    ("x.csv", b",5,6\n5,0,7\n6,7,0\n", "row 1, column 1 is ''"),  # an empty cell is no name
    ("x.csv", b"0,5,6\n5,,7\n6,7,0\n", "row 2, column 2 is ''"),
    ("x.csv", b"0,,6\n,0,7\n6,7,0\n", "row 1, column 2 is ''"),
    ("x.csv", b"1,2,3\n0,5,6\n5,0,7\n6,7,0\n", "4 x 3, not square"),
    ("x.csv", b"0,1,2,3\n1,0,5,6\n2,5,0,7\n3,6,7,0\n", "look like numbers of regions"),
    ("x.csv", b'0,"5\n5,0\n', "holds no connectome"),
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
