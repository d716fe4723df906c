"""Sparse annotation: slabs by brute force, lines as thick as geometry says, planes that hit."""

import numpy as np
import pytest

from tfmed.data import sparse_planes as sparse
from tfmed.data.sparse_planes import IGNORE, Plane
from tfmed.errors import DataError
from tfmed.ops import planes

pytestmark = pytest.mark.one_stack
SIZE = (14, 17, 15)


def drawn(count, sizes=(SIZE,), orientations="random"):
    return [sparse.draw_plane(np.random.default_rng(k), sizes, orientations) for k in range(count)]


def test_slabs_are_voxels_within_half_a_voxel_of_a_plane():
    chosen = drawn(3)
    found = sparse.slabs(SIZE, chosen)
    for voxel in np.ndindex(SIZE):
        near = any(abs(plane.frame[0] @ (np.array(voxel) - plane.centre)) <= 0.5 for plane in chosen)
        assert found[voxel] == near
    label = np.random.default_rng(0).integers(0, 3, SIZE).astype("uint8")
    kept = sparse.sparse_label(label, chosen)
    assert kept.dtype == np.uint8
    np.testing.assert_array_equal(kept[found], label[found])
    assert (kept[~found] == IGNORE).all()


def test_a_plane_across_an_axis_annotates_one_slice():
    found = sparse.slabs(SIZE, [Plane(0, np.eye(3), np.array([5.0, 2, 2]))])
    np.testing.assert_array_equal(np.flatnonzero(found.any((1, 2))), [5])
    assert found[5].all()


@pytest.mark.parametrize("degrees", [20, 35, 60, 90])
def test_a_line_is_as_thick_as_its_angle_says(degrees):
    """1 / sin(theta) pixels: a slab one voxel thick, cut at an angle; it is tilted, and made of whole voxels."""
    size, middle = (121, 121, 121), np.full(3, 60.0)
    normal = np.array([0.48, 0.6, 0.64])
    first = planes.frames(normal[None])[0]
    second = np.cos(np.deg2rad(degrees)) * first[0] + np.sin(np.deg2rad(degrees)) * first[1]
    label = sparse.sparse_label(np.zeros(size, "uint8"), [Plane(0, first, middle)])
    plane = Plane(0, planes.frames(second[None])[0], middle)
    shown = sparse.sampled([plane], lambda k: label[..., None], (61, 61), 0, IGNORE)[0, ..., 0] != IGNORE
    along = plane.frame[1:] @ first[0]  # the direction across the line, times sin(theta)
    length = 61 / max(np.abs(along / np.linalg.norm(along)))  # of the line within the square, as it passes its middle
    assert shown.sum() / length == pytest.approx(1 / np.sin(np.deg2rad(degrees)), rel=0.06)


def test_lines_are_a_half_pi_thick_on_average():
    """E[1 / sin(theta)] of uniform directions."""
    normals = planes.uniform_normals(200_000, np.random.default_rng(0))
    assert np.mean(1 / np.sqrt(1 - normals[:, 0] ** 2)) == pytest.approx(np.pi / 2, rel=0.02)


def test_planes_pass_through_their_volumes_and_point_everywhere():
    sizes = (SIZE, (5, 9, 7))
    found = drawn(400, sizes)
    assert 150 < sum(plane.volume for plane in found) < 250
    for plane in found:
        assert (plane.centre >= -0.5).all() and (plane.centre < np.array(sizes[plane.volume]) - 0.5).all()
        assert sparse.slabs(sizes[plane.volume], [plane]).any()
    assert np.abs(np.abs([plane.frame[0] for plane in found]).mean(0) - 0.5).max() < 0.05
    axes = drawn(60, sizes, "axes")
    assert {int(plane.frame[0].argmax()) for plane in axes} == {0, 1, 2}
    for plane in axes:
        assert (
            sorted(np.abs(plane.frame[0])) == [0, 0, 1] and plane.centre.astype(int).tolist() == plane.centre.tolist()
        )


def test_planes_that_hit_keep_their_order():
    hit = sparse.draw_that_hit(4, lambda k: k, lambda some: np.array([k % 3 == 1 for k in some]))
    assert hit == [1, 4, 7, 10]
    assert sparse.draw_that_hit(2, lambda k: k, lambda some: np.array([k % 3 == 1 for k in some])) == hit[:2]
    with pytest.raises(DataError, match="annotate more planes"):
        sparse.draw_that_hit(3, lambda k: k, lambda some: np.zeros(len(some), bool))


def test_images_and_labels_of_planes_are_those_of_their_volumes():
    volumes = [np.random.default_rng(k).normal(size=(*SIZE, 2)).astype("float32") for k in range(2)]
    chosen = drawn(9, (SIZE, SIZE))
    read = []
    found = sparse.sampled(chosen, lambda k: (read.append(k), volumes[k])[1], (6, 7), 1, 0.5)
    assert found.shape == (9, 6, 7, 2) and read == [0, 1]
    for one, plane in zip(found, chosen, strict=True):
        alone = planes.sample_planes(volumes[plane.volume], plane.frame[None], plane.centre[None], (6, 7), fill=0.5)
        np.testing.assert_allclose(one, alone[0], atol=1e-6)


def test_cubes_hold_their_voxel():
    image = np.arange(np.prod(SIZE), dtype="float32").reshape(*SIZE, 1)
    label = np.full(SIZE, IGNORE, "uint8")
    for k in range(40):
        rng = np.random.default_rng(k)
        voxel = [int(rng.integers(n)) for n in SIZE]
        label[:] = IGNORE
        label[tuple(voxel)] = 1
        found, here = sparse.cube_around(image, label, voxel, (8, 8, 20), rng, -1.0)
        assert found.shape == (8, 8, 20, 1) and here.shape == (8, 8, 20) and (here == 1).sum() == 1
        assert found[here == 1][0, 0] == image[tuple(voxel)][0]
        assert (found == -1).sum() == 8 * 8 * 5 and (here[:, :, :2] == IGNORE).all()


def test_more_planes_than_memory_holds(monkeypatch):
    monkeypatch.setattr(sparse, "machine_memory", lambda: 1 << 30)
    sparse.check_memory(100, (256, 256), 1)
    with pytest.raises(DataError, match=r"model\.training_planes: 60000 planes need"):
        sparse.check_memory(60_000, (256, 256), 1)
