"""Spheres of two clicks: closed forms, brute force over all voxels, borders, grids of any kind."""

import numpy as np
import pytest

from tfmed.data.phantoms.shapes import rotation
from tfmed.data.spheres import (
    Sphere,
    check_within,
    contains,
    draw,
    from_clicks,
    from_mask,
    from_voxel_clicks,
    read_clicks,
    to_mm,
)
from tfmed.errors import DataError

pytestmark = pytest.mark.current

TOF = np.diag([0.47, 0.47, 0.4, 1.0])  # the paper's voxels


def world(shape, affine):
    """RAS of all voxels `(z, y, x, 3)`."""
    z, y, x = np.indices(shape)
    return np.stack([x, y, z, np.ones(shape)], -1) @ affine.T[:, :3]


def oblique():
    affine = np.diag([0.7, 0.5, 1.3, 1.0])
    affine[:3, :3] = rotation([0.4, -0.7, 0.3]) @ affine[:3, :3]
    affine[:3, 3] = [-5.0, 3.0, 11.0]
    return affine


def test_two_clicks_are_a_diameter():
    one = from_clicks((1, 2, 3), (4, 2, -1))
    assert one == Sphere((2.5, 2.0, 1.0), 2.5)
    assert from_clicks((4, 2, -1), (1, 2, 3)) == one
    np.testing.assert_allclose(np.linalg.norm(np.subtract([(1, 2, 3), (4, 2, -1)], one.centre_mm), axis=1), 2.5)


def test_clicks_in_voxels_that_are_no_cubes():
    """(z, y, x) of clicks, mm of the sphere: 10 voxels along z are 4 mm, along x 4.7."""
    assert from_voxel_clicks((10, 5, 5), (20, 5, 5), TOF).radius_mm == pytest.approx(2.0)
    assert from_voxel_clicks((10, 5, 5), (10, 5, 15), TOF).radius_mm == pytest.approx(2.35)
    one = from_voxel_clicks((10, 5, 5), (12, 9, 5), oblique())
    np.testing.assert_allclose(one.centre_zyx(oblique()), [11, 7, 5])


@pytest.mark.parametrize("clicks", [((1, 2, 3), (1, 2, 3)), ((1, 2, 3), (1, 2, 3.0001))])
def test_two_clicks_at_one_point(clicks):
    with pytest.raises(DataError) as caught:
        from_clicks(*clicks, what="exam 7, aneurysm 2")
    text = str(caught.value)
    assert text.startswith("exam 7, aneurysm 2: both clicks lie at 1.0, 2.0, 3.0 mm;") and "\n" not in text


@pytest.mark.parametrize("clicks", [((1, 2), (3, 4)), ((1, 2, np.nan), (1, 2, 3)), ((np.inf, 0, 0), (0, 0, 0))])
def test_bad_clicks(clicks):
    with pytest.raises(DataError, match="lesion: a click is three numbers"):
        from_clicks(*clicks)


@pytest.mark.parametrize("affine", [np.eye(4), TOF, oblique(), np.diag([-0.5, 0.5, 2.0, 1.0])])
def test_drawn_is_brute_force(affine):
    """Inside, over each border, in corners, and all around the volume."""
    rng, shape = np.random.default_rng(0), (9, 12, 15)
    points = world(shape, affine)
    for _ in range(40):
        centre = (affine @ [*rng.uniform(-4, np.array(shape)[::-1] + 4), 1])[:3]
        sphere = Sphere(tuple(centre), rng.uniform(1.5, 6))
        inside = np.linalg.norm(points - sphere.centre_mm, axis=-1) <= sphere.radius_mm
        if inside.any():
            np.testing.assert_array_equal(draw([sphere], shape, affine) > 0, inside)
        np.testing.assert_array_equal(contains([sphere], points), inside)


def test_a_sphere_of_the_papers_mean_size():
    """Card, 2: 3.86 mm at 0.4 mm fill 470 of 48^3 voxels, 1.23 mm fill 15."""
    affine = np.diag([0.4, 0.4, 0.4, 1.0])
    for diameter, voxels in ((3.86, 470), (1.23, 15)):
        counts = []
        for offset in np.random.default_rng(1).uniform(0, 0.4, (20, 3)):
            one = Sphere(tuple(9.6 + offset), diameter / 2)
            counts.append(int(draw([one], (48, 48, 48), affine).sum()))
        assert np.mean(counts) == pytest.approx(voxels, rel=0.03)


def test_rotation_about_the_centre_keeps_the_count():
    """Card, 9.3: the exact label of a rotated patch has the same number of voxels within 3 %."""
    axis = (np.arange(48) - 23.5) * 0.4
    grid = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), -1)
    ball = [Sphere((0.0, 0.0, 0.0), 3.86 / 2)]
    count = contains(ball, grid).sum()
    for turns in np.random.default_rng(2).uniform(0, np.pi, (5, 3)):
        turned = contains(ball, grid @ rotation(turns))
        assert turned.sum() == pytest.approx(count, rel=0.03)


def test_a_surface_voxel_is_inside_whatever_the_rounding():
    """A radius of 3 voxels of 0.47 mm reaches the third voxel."""
    one = from_voxel_clicks((6, 6, 3), (6, 6, 9), TOF)
    assert np.flatnonzero(draw([one], (13, 13, 13), TOF)[6, 6]).tolist() == [3, 4, 5, 6, 7, 8, 9]


def test_small_ones_are_not_lost():
    """Between voxels' centres: the nearest voxel; outside of the volume: none."""
    affine = np.diag([3.0, 3.0, 5.0, 1.0])
    found = np.argwhere(draw([Sphere((4.0, 4.4, 7.4), 0.6)], (4, 4, 4), affine))
    assert found.tolist() == [[1, 1, 1]]
    assert not draw([Sphere((-9.0, 4.4, 7.4), 0.6)], (4, 4, 4), affine).any()


def test_each_has_its_number():
    many = [Sphere((float(3 * k), 0.0, 0.0), 1.0) for k in range(300)]
    labels = draw(many, (1, 1, 900), np.eye(4))
    assert labels.dtype == np.uint16 and labels.max() == 300 and len(np.unique(labels)) == 301
    assert draw(many[:2], (1, 1, 9), np.eye(4)).dtype == np.uint8
    assert draw([], (2, 3, 4), np.eye(4)).shape == (2, 3, 4)
    over = draw([Sphere((0.0, 0.0, 0.0), 2.0), Sphere((2.0, 0.0, 0.0), 1.0)], (1, 1, 5), np.eye(4))
    assert over[0, 0].tolist() == [1, 2, 2, 2, 0]


def test_centres_outside_are_refused():
    check_within([Sphere((0.2, 1.0, 1.0), 50.0)], (3, 3, 3), np.eye(4), "x")  # over the border
    with pytest.raises(DataError, match=r"^exam 3: a lesion lies at voxel 1\.0, 1\.0, 4\.0 \(z, y, x\), outside"):
        check_within([Sphere((4.0, 1.0, 1.0), 1.0)], (3, 3, 3), np.eye(4), "exam 3")


# --- masks and tables -------------------------------------------------------------------------------------------------


def test_a_drawn_sphere_is_found_again():
    affine = np.array([[0.0, 0.5, 0, 3.0], [-0.4, 0, 0, 7.0], [0, 0, 0.6, -5.0], [0, 0, 0, 1]])
    inside = [Sphere(tuple(to_mm((14.2, 15.7, 22.1), affine)), 3.0), Sphere(tuple(to_mm((32, 36, 30), affine)), 2.2)]
    found = from_mask(draw(inside, (44, 48, 52), affine) > 0, affine)
    for one, other in zip(found, inside, strict=True):
        np.testing.assert_allclose(one.centre_mm, other.centre_mm, atol=0.1)
        assert one.radius_mm == pytest.approx(other.radius_mm, rel=0.03)
    assert from_mask(np.zeros((3, 3, 3)), affine) == []


CLICKS = "case,neck_x,neck_y,neck_z,dome_x,dome_y,dome_z,reader\n"


def test_a_table_of_clicks(tmp_path):
    path = tmp_path / "clicks.csv"
    path.write_text(f"# in mm\n{CLICKS}a,0,0,0,0,0,4,x\nb,1,2,3,4,2,3,y\na,9,9,9,9,9.5,9,x\n", encoding="utf-8")
    found = read_clicks(path)
    assert found == {"a": [Sphere((0, 0, 2), 2.0), Sphere((9, 9.25, 9), 0.25)], "b": [Sphere((2.5, 2, 3), 1.5)]}


@pytest.mark.parametrize("text, said", [
    (f"{CLICKS}a,1,1,1,1,1,1,x\n", r"clicks.csv:2: both clicks lie at 1.0, 1.0, 1.0 mm"),
    (f"{CLICKS}a,1,1,one,1,1,1,x\n", r"clicks.csv:2: a coordinate is no number"),
    (f"{CLICKS}a,1,1\n", r"clicks.csv:2: a coordinate is no number"),
    (f"{CLICKS}a,1,1,nan,1,1,1,x\n", r"clicks.csv:2: a click is three numbers"),
    ("case,x,y,z\na,1,2,3\n", r"has no column neck_x; its first line must name case, neck_x"),
])  # fmt: skip
def test_tables_that_are_none(tmp_path, text, said):
    path = tmp_path / "clicks.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=said):
        read_clicks(path)
    with pytest.raises(DataError, match="nowhere"):
        read_clicks(tmp_path / "nowhere.csv")
