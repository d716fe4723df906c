"""Names and colours of label maps: what other programs would read from the files."""

import re

import pytest

from tfmed.io.label_tables import distinct_colours, write_itksnap_labels, write_slicer_table

NAMES = {1: "left atrium", 4: 'the "scar"', 300: "pulmonary\tveins", 12: "größer"}


def test_a_colour_table_of_slicer(tmp_path):
    """Lines of index, name without spaces, red, green, blue, opacity; the first comment tells the format."""
    write_slicer_table(NAMES, tmp_path / "a.ctbl")
    first, second, *lines = (tmp_path / "a.ctbl").read_text(encoding="utf-8").splitlines()
    assert first.startswith("# Color table file") and second == "# 5 values"
    rows = [line.split(" ") for line in lines]
    assert all(len(row) == 6 for row in rows) and rows[0] == ["0", "Background", "0", "0", "0", "0"]
    assert {int(row[0]): row[1] for row in rows[1:]} == {
        1: "left_atrium", 4: 'the_"scar"', 12: "größer", 300: "pulmonary_veins"}  # fmt: skip
    assert all(0 <= int(value) <= 255 for row in rows for value in row[2:]) and {row[5] for row in rows[1:]} == {"255"}


def test_a_label_description_file_of_itksnap(tmp_path):
    """The columns that ITK-SNAP's readers look for: seven numbers and a name in quotes."""
    write_itksnap_labels(NAMES, tmp_path / "a.txt")
    line = re.compile(r'\s*(\d+)\s+(\d+)\s+(\d+)\s+(\d+)\s+([0-9.]+)\s+([01])\s+([01])\s+"([^"]*)"')
    text = (tmp_path / "a.txt").read_text(encoding="utf-8")
    assert text.startswith("# ITK-SnAP Label Description File\n")
    rows = [line.fullmatch(one).groups() for one in text.splitlines() if not one.startswith("#")]
    assert rows[0] == ("0", "0", "0", "0", "0", "0", "0", "Clear Label")
    found = {int(row[0]): row[7] for row in rows[1:]}
    assert found == {1: "left atrium", 4: "the 'scar'", 12: "größer", 300: "pulmonary veins"}


def test_both_files_have_the_same_colours(tmp_path):
    write_slicer_table(NAMES, tmp_path / "a.ctbl")
    write_itksnap_labels(NAMES, tmp_path / "a.txt")
    tables = [[line.split() for line in (tmp_path / name).read_text(encoding="utf-8").splitlines()
               if not line.startswith("#")][1:] for name in ("a.ctbl", "a.txt")]  # fmt: skip
    assert [row[2:5] for row in tables[0]] == [row[1:4] for row in tables[1]]


@pytest.mark.parametrize("count", [1, 8, 40, 255])
def test_colours_differ(count):
    colours = distinct_colours(count)
    assert len(set(colours)) == count and all(max(colour) > 100 for colour in colours)
    assert colours == distinct_colours(300)[:count]
    near = min((sum((a - b) ** 2 for a, b in zip(one, other, strict=True)) ** 0.5
                for index, one in enumerate(colours) for other in colours[:index]), default=999)  # fmt: skip
    assert near >= (60 if count <= 8 else 15 if count <= 40 else 1)
