"""Spacing in the headers of NRRD and MetaImage: in millimetres, turned into them, or refused."""

import numpy as np
import pytest

from tfmed.io import ImageIntegrityError, read_geometry, read_volume

pytestmark = pytest.mark.current
VOXELS = np.arange(24, dtype="<i2").reshape(2, 3, 4)
DIRECTIONS = "space: right-anterior-superior\nspace directions: (0.5,0,0) (0,0.6,0) (0,0,2)\nspace origin: (10,20,30)"


def nrrd(path, fields):
    lines = ["NRRD0005", "type: short", "dimension: 3", "sizes: 4 3 2", "encoding: raw", "endian: little", fields]
    path.write_bytes("\n".join(filter(None, lines)).encode() + b"\n\n" + VOXELS.tobytes())
    return path


def metaimage(path, fields):
    header = f"ObjectType = Image\nNDims = 3\nDimSize = 4 3 2\n{fields}ElementType = MET_SHORT\n"
    path.write_bytes(header.encode() + b"ElementDataFile = LOCAL\n" + VOXELS.tobytes())
    return path


def both(path):
    """The Volume, whose geometry must be that of its header."""
    volume = read_volume(path)
    np.testing.assert_array_equal(volume.array, VOXELS)
    np.testing.assert_allclose(read_geometry(path).affine, volume.affine)
    return volume


def refusal(path, words):
    for read in (read_volume, read_geometry):
        with pytest.raises(ImageIntegrityError, match=words) as error:
            read(path)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(("unit", "factor"), [("mm", 1), ("cm", 10), ("um", 1e-3), ("µm", 1e-3), ("microns", 1e-3),
                                              ("m", 1e3), ("", 1)])  # fmt: skip
def test_space_units_become_millimetres(tmp_path, unit, factor):
    units = "\nspace units: " + " ".join([f'"{unit}"'] * 3)
    volume = both(nrrd(tmp_path / "v.nrrd", DIRECTIONS + units))
    assert volume.spacing == pytest.approx((2 * factor, 0.6 * factor, 0.5 * factor))
    np.testing.assert_allclose(volume.affine[:3, 3], np.array([10, 20, 30]) * factor)


def test_each_axis_has_its_unit(tmp_path):
    volume = both(nrrd(tmp_path / "v.nrrd", 'spacings: 0.5 60 2\nunits: "mm" "um" "mm"'))
    assert volume.spacing == pytest.approx((2, 0.06, 0.5))
    volume = both(nrrd(tmp_path / "w.nrrd", DIRECTIONS + '\nspace units: "mm" "mm" "cm"'))
    assert volume.spacing == pytest.approx((20, 0.6, 0.5))


@pytest.mark.parametrize(("fields", "words"), [
    ("", "tells no spacing"),
    ("space: right-anterior-superior", "tells no spacing"),
    ("spacings: nan nan 2", "tells no spacing"),
    (DIRECTIONS + '\nspace units: "inch" "inch" "inch"', "lengths are in 'inch'"),
    ('spacings: 1 1 2\nunits: "mm" "mm" "s"', "lengths are in 's'"),
])  # fmt: skip
def test_nrrd_without_a_spacing_in_millimetres_is_refused(tmp_path, fields, words):
    refusal(nrrd(tmp_path / "v.nrrd", fields), words)


def test_metaimage(tmp_path):
    assert both(metaimage(tmp_path / "v.mha", "ElementSpacing = 0.5 0.6 2\n")).spacing == pytest.approx((2, 0.6, 0.5))
    volume = both(metaimage(tmp_path / "v.mha", "DistanceUnits = cm\nElementSpacing = 0.5 0.6 2\n"))
    assert volume.spacing == pytest.approx((20, 6, 5))
    refusal(metaimage(tmp_path / "v.mha", "DistanceUnits = inch\nElementSpacing = 1 1 2\n"), "lengths are in 'inch'")
    refusal(metaimage(tmp_path / "v.mha", ""), "no ElementSpacing")


@pytest.mark.parametrize("change", [-2, 2])
def test_voxels_of_another_length_are_refused(tmp_path, change):
    for path in (nrrd(tmp_path / "v.nrrd", DIRECTIONS), metaimage(tmp_path / "v.mha", "ElementSpacing = 1 1 1\n")):
        raw = path.read_bytes()
        path.write_bytes(raw[:change] if change < 0 else raw + bytes(change))
        refusal_of_voxels = f"has {48 + change} bytes of voxels"
        with pytest.raises(ImageIntegrityError, match=refusal_of_voxels):
            read_volume(path)
