"""Patches for small lesions: what the plan promises, one interpolation of the volume, labels that are computed."""

import numpy as np
import pytest
from scipy import ndimage

from tfmed.augment import lattice
from tfmed.data import lesion_patches as patches
from tfmed.data import phantoms
from tfmed.data.lesion_patches import Move
from tfmed.data.spheres import Sphere, draw
from tfmed.io.geometry import spacing_of

SHAPE = (24, 24, 24)
SPACING = (0.8, 0.8, 0.8)


@pytest.fixture(scope="module")
def scan():
    """(image float32, affine, its spheres, the same on its axes)."""
    made = phantoms.tof_mra(3, (64, 90, 90), aneurysms=(2, 2), diameter_mm=(3.0, 7.0), field_of_view_mm=72.0,
                            length_mm=51.2)  # fmt: skip
    return (made.volume.array.astype(np.float32), made.volume.affine, made.spheres,
            patches.placed(made.spheres, made.volume.affine))  # fmt: skip


def plan_of(scan, seed=0, **options):
    image, affine, _, spheres = scan
    where = {name: options.pop(name) for name in ("least_mm", "metric", "allowed") if name in options}
    room = patches.Room(image.shape, spacing_of(affine), spheres, SHAPE, **{"least_mm": 8.0} | where)
    return patches.guided(room, image, np.random.default_rng(seed), **{"vessels": 12, "others": 12} | options)


# --- the plan ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("metric", ["euclidean", "chebyshev"])
def test_a_plan_keeps_its_promises(scan, metric):
    image, affine, spheres, _ = scan
    plan = plan_of(scan, metric=metric)
    assert len(plan.vessels) == len(plan.others) == 12 and len(plan.lesions) == 2
    bright = image[tuple(plan.vessels.T)]
    assert (np.diff(bright) <= 0).all() and bright.min() > np.percentile(image, 95)
    low, high = np.percentile(image, (20, 80))
    other = image[tuple(plan.others.T)]
    assert (other >= low).all() and (other <= high).all()
    away = np.abs(plan.negatives[:, None] - np.concatenate([plan.negatives, plan.lesions])[None]) * 0.8
    away = np.sqrt((away**2).sum(-1)) if metric == "euclidean" else away.max(-1)
    np.fill_diagonal(away, np.inf)
    assert away.min() >= 8.0 - 1e-9
    label = draw(spheres, image.shape, affine)
    for centre in plan.negatives:
        _, found = patches.read_patch(image[..., None], SPACING, scan[3], centre, SHAPE)
        box = tuple(slice(max(c - 12, 0), c + 12) for c in centre)
        assert not found.any() and not label[box].any()


def test_a_plan_is_a_function_of_its_seed(scan):
    one, same, other = (plan_of(scan, seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one.negatives, same.negatives)
    np.testing.assert_array_equal(one.vessels, other.vessels)
    assert (one.others != other.others).any()


def test_where_there_is_no_room_there_are_fewer(scan):
    plan = plan_of(scan, vessels=500, others=500, least_mm=20.0)
    assert 0 < len(plan.vessels) < 500 and len(plan.others) < 500


def test_uniform_plans_do_not_look_at_the_image(scan):
    image, _, _, spheres = scan
    room = patches.Room(image.shape, SPACING, spheres, SHAPE, 8.0)
    found = patches.uniform(room, np.random.default_rng(0), 20)
    assert len(found.negatives) == 20 and len(found.vessels) == 0
    assert image[tuple(found.others.T)].max() < np.percentile(image, 99.9)


def test_regular_patches_cover_each_voxel_once():
    seen = np.zeros((50, 48, 30), int)
    for centre in patches.regular(seen.shape, SHAPE):
        z, y, x = (slice(c - 12, c + 12) for c in centre)
        seen[z, y, x] += 1
    assert (seen == 1).all()


def test_the_head_is_found():
    _, y, x = np.mgrid[:40, :60, :60]
    inside = ((y - 30) / 24) ** 2 + ((x - 30) / 20) ** 2 <= 1
    rng = np.random.default_rng(0)
    image = np.where(inside, 300 + rng.normal(0, 40, inside.shape), np.abs(rng.normal(0, 15, inside.shape)))
    image[:, 28:33, 20:40] = 1500  # vessels
    image[10:14, 20:24, 25:29] = 5  # fluid
    found = patches.head(image.astype(np.float32), (1.0, 1.0, 1.0))
    assert 2 * (found & inside).sum() / (found.sum() + inside.sum()) > 0.93


# --- one patch --------------------------------------------------------------------------------------------------------


def moves(seed, amplitude=4.0, spacing=SPACING):
    rng = np.random.default_rng(seed)
    control = lattice.draw_control(rng, amplitude) if amplitude else None
    return patches.draw_move(rng, 180.0, 10.0, control)


def by_scipy(image, spacing, centre, move, shape=SHAPE):
    """The same by map_coordinates, of places that are computed one by one."""
    at = [(np.arange(n) - (n - 1) / 2) * s for n, s in zip(shape, spacing, strict=True)]
    p = np.stack(np.meshgrid(*at, indexing="ij"), -1)
    if move.control is not None:
        p = p + lattice.displacement(move.control, shape)
    p = np.einsum("ij,zyxj->zyxi", np.eye(3) if move.turn is None else move.turn, p) + move.shift_mm
    voxels = np.moveaxis(p / spacing + centre, -1, 0)
    return ndimage.map_coordinates(image, voxels, order=1, mode="grid-constant"), voxels


@pytest.mark.parametrize("seed", [0, 1])
def test_distortion_turn_and_shift_are_one_interpolation(scan, seed):
    image = scan[0]
    spacing = (0.8, 0.5, 0.6)
    move, centre = moves(seed), (6.2, 41.7, 4.4)  # near a border: 0 comes in
    found, _ = patches.read_patch(image[..., None], spacing, (), centre, SHAPE, move)
    wanted, voxels = by_scipy(image, spacing, centre, move)
    inside = ((voxels > -1) & (voxels < np.array(image.shape).reshape(3, 1, 1, 1))).all(0)
    assert (~inside).any() and not found[~inside].any()
    np.testing.assert_allclose(found[..., 0], wanted, atol=0.02 * image.std())


def test_nothing_moved_is_a_cut(scan):
    image, _, _, spheres = scan
    still = Move(np.eye(3), (0, 0, 0), np.zeros((3, 3, 3, 3)))
    moved, label = patches.read_patch(image[..., None], SPACING, spheres, (31.5, 40.5, 44.5), SHAPE, still)
    cut, same = patches.read_patch(image[..., None], SPACING, spheres, (32, 41, 45), SHAPE)
    np.testing.assert_array_equal(cut[..., 0], image[20:44, 29:53, 33:57])
    np.testing.assert_allclose(moved, cut, atol=1e-5 * image.max())
    np.testing.assert_array_equal(label, same)


def test_outside_of_the_volume_there_is_0(scan):
    image, _, _, _ = scan
    found, _ = patches.read_patch(image[..., None], SPACING, (), (0, 0, 89), SHAPE)
    assert not found[:12].any() and not found[:, :12].any() and not found[:, :, 13:].any()
    np.testing.assert_array_equal(found[12:, 12:, :13, 0], image[:12, :12, 77:])


def test_a_label_is_where_the_places_lie_in_a_sphere(scan):
    image, _, _, spheres = scan
    centre = np.array(spheres[0].centre_mm) / 0.8
    for seed in range(4):
        move = moves(seed)
        _, label = patches.read_patch(image[..., None], SPACING, spheres, centre, SHAPE, move)
        _, voxels = by_scipy(image, SPACING, centre, move)
        away = [np.linalg.norm(np.moveaxis(voxels, 0, -1) * 0.8 - one.centre_mm, axis=-1) <= one.radius_mm
                for one in spheres]  # fmt: skip
        np.testing.assert_array_equal(label, np.any(away, 0))


def test_a_turn_about_the_centre_keeps_the_count_of_voxels():
    image = np.zeros((60, 60, 60, 1), np.float32)
    sphere = Sphere((12.0, 12.0, 12.0), 3.0)  # mm, of voxels of 0.4 mm
    rng = np.random.default_rng(0)
    wanted = 4 / 3 * np.pi * 3.0**3 / 0.4**3
    for _ in range(6):
        move = Move(lattice.draw_turn(rng, 180.0))
        _, label = patches.read_patch(image, (0.4,) * 3, (sphere,), (30, 30, 30), (48, 48, 48), move)
        assert label.sum() == pytest.approx(wanted, rel=0.03)


def test_a_fixed_middle_keeps_a_small_sphere_in_the_middle():
    image, sphere = np.zeros((40, 40, 40, 1), np.float32), Sphere((16.0, 16.0, 16.0), 0.5)
    for seed in range(4):
        control = lattice.draw_control(np.random.default_rng(seed), 4.0)
        _, label = patches.read_patch(image, SPACING, (sphere,), (20, 20, 20), (25, 25, 25), Move(control=control))
        assert label[12, 12, 12]


@pytest.mark.parametrize("radius", [1.0, 3.0, 12.0])
def test_kept_inside_is_inside(radius):
    """The sphere touches no side of the patch; without it, some do."""
    image, sphere = np.zeros((40, 40, 40, 1), np.float32), Sphere((16.0, 16.0, 16.0), radius)
    left = 0
    for seed in range(12):
        move = moves(seed)
        kept = patches.kept_inside(move, radius, SHAPE, SPACING)
        np.testing.assert_array_equal(kept.turn, move.turn)
        for one in (move, kept):
            _, label = patches.read_patch(image, SPACING, (sphere,), (20, 20, 20), SHAPE, one)
            if one is move:
                left += not label.any()
        if radius < 6:
            faces = [label[[0, -1]], label[:, [0, -1]], label[:, :, [0, -1]]]
            assert label.any() and not any(face.any() for face in faces)
        else:
            np.testing.assert_allclose(kept.shift_mm, 0, atol=1e-9)
    assert left > 0 if radius == 1.0 else True
