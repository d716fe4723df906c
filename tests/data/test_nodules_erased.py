"""Nodules taken out of scans: nothing else changes, what comes in is lung of the same scan, and it can be repeated."""

import os

import numpy as np
import pytest
import SimpleITK as sitk

from tfmed.data import phantoms, sources
from tfmed.data.nodule_erasing import reach_mm, without_nodules
from tfmed.data.nodules import Nodule, nodules_of
from tfmed.data.phantoms.chest_ct import LABELS
from tfmed.errors import DataError
from tfmed.io import read_volume
from tfmed.io.volume import Volume

pytestmark = pytest.mark.current

CHEST = dict(cases=2, shape=[48, 56, 56], nodules=3, nodule_radius_mm=[7.0, 11.0])


def opened(folder, source="phantom_chest_ct", root=None, seed=0, **options):
    return sources.open("nodules_erased", root, source=source, options=options, seed=seed, folder=str(folder))


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    """[(Case of the scan, Case without nodules)]"""
    folder = tmp_path_factory.mktemp("erased")
    return list(zip(sources.open("phantom_chest_ct", **CHEST), opened(folder, **CHEST), strict=True))


def distances_mm(volume, nodule):
    """Of every voxel's centre from a nodule's, by the affine."""
    z, y, x = np.indices(volume.shape)
    world = np.stack([x, y, z, np.ones_like(x)], -1) @ volume.affine.T
    return np.linalg.norm(world[..., :3] - nodule.centre_mm, axis=-1)


def test_nodules_are_gone_and_nothing_else_is_changed(scans):
    for case, freed in scans:
        scan, made = phantoms.read(case.images["ct"]), read_volume(freed.images["ct"])
        nodule = phantoms.read(case.label).array == LABELS["nodule"]
        balls = np.any([distances_mm(scan, one) < reach_mm(one) for one in nodules_of(case)], axis=0)
        assert nodule.sum() > 5 and (nodule <= balls).all()
        assert made.array.dtype == scan.array.dtype
        np.testing.assert_allclose(made.affine, scan.affine, rtol=1e-6)  # NIfTI has them in float32
        np.testing.assert_array_equal(made.array[~balls], scan.array[~balls])
        assert scan.array[nodule].mean() > -450 and made.array[nodule].mean() < -700  # HU; measured -780 and -730
        assert made.array[nodule].max() < -350


def test_what_comes_in_is_a_piece_of_the_same_lungs(scans):
    """The inside of each ball, brute force: equal to the same voxels around some other place, all at once."""
    case, freed = scans[0]
    scan, made = phantoms.read(case.images["ct"]), read_volume(freed.images["ct"])
    labels = phantoms.read(case.label).array
    for nodule in nodules_of(case):
        inside = np.argwhere(distances_mm(scan, nodule) < reach_mm(nodule) - 2.0)
        values = made.array[tuple(inside.T)]
        places = np.argwhere(scan.array == values[0])
        around = places[:, None] + (inside - inside[0])[None]
        fits = ((around >= 0) & (around < scan.shape)).all((1, 2))
        same = [piece for piece in around[fits] if (scan.array[tuple(piece.T)] == values).all()]
        assert len(inside) > 3 and len(same) == 1
        assert not (labels[tuple(same[0].T)] == LABELS["nodule"]).any()


def test_the_seed_decides(scans, tmp_path):
    case = scans[0][0]
    scan, nodules = phantoms.read(case.images["ct"]), nodules_of(case)
    again, other = (without_nodules(scan, nodules, seed).array for seed in (0, 1))
    np.testing.assert_array_equal(again, read_volume(scans[0][1].images["ct"]).array)
    assert (again != other).any()


def plain_chest(nodules, painted_mm, right=-800):
    """2 mm voxels: lungs of -800 HU, the right half of a density of its own, in a body; nodules of 60 HU in them."""
    volume = Volume(np.full((40, 40, 40), 40, np.int16), np.diag([2.0, 2.0, 2.0, 1.0]))
    volume.array[4:36, 4:36, 4:36] = -800
    volume.array[4:36, 4:36, 20:36] = right
    for nodule in nodules:
        volume.array[distances_mm(volume, nodule) < painted_mm] = 60
    return volume


def test_no_nodule_stands_in_for_another():
    """Everywhere near nodules are others, and only where there are none is the lung of another density."""
    grid = (16.0, 28.0, 40.0, 52.0, 64.0)
    nodules = [Nodule((x, y, z), 3.0) for x in (16.0, 28.0) for y in grid for z in grid]
    made = without_nodules(plain_chest(nodules, 3.5, -700), nodules, 0)
    assert made.array[4:36, 4:36, 4:36].max() == -700


def test_new_tissue_fades_in_over_the_rim_of_a_ball():
    nodule = Nodule((28.0, 40.0, 40.0), 5.0)  # reaches 8.25 mm, fades over 2
    scan = plain_chest([nodule], 9.0)
    made, away = without_nodules(scan, [nodule], 0).array, distances_mm(scan, nodule)
    weight = np.cos(np.clip((away - 6.25) / 2.0, 0.0, 1.0) * np.pi) / 2 + 0.5
    np.testing.assert_allclose(made, scan.array * (1 - weight) + np.where(weight > 0, -800, 0) * weight, atol=0.501)
    assert ((weight > 0.01) & (weight < 0.99)).sum() > 20


def test_bits_of_wider_types_are_kept(scans):
    """Weighing is done in float32, which has fewer digits than a float64 scan."""
    case = scans[0][0]
    scan = phantoms.read(case.images["ct"])
    fine = scan.replace(array=scan.array + 1e-9)
    made = without_nodules(fine, nodules_of(case)[:1], 0).array
    far = distances_mm(scan, nodules_of(case)[0]) >= reach_mm(nodules_of(case)[0])
    np.testing.assert_array_equal(made[far], fine.array[far])
    assert made.dtype == np.float64 and (made != fine.array).any()


def test_copies_are_made_once_and_take_the_place_of_scans(scans):
    (case, freed), (_, second) = scans
    assert (freed.id, freed.group, freed.label) == (case.id, case.group, None)
    assert nodules_of(freed) == [] and freed.meta["made_from"] == [case.images["ct"]]
    file = freed.images["ct"]
    folder = os.path.dirname(file)
    stamps = [os.stat(one.images["ct"]).st_mtime_ns for one in (freed, second)]
    assert [one.images["ct"] for one in opened(folder, **CHEST)] == [file, second.images["ct"]]
    assert [os.stat(one.images["ct"]).st_mtime_ns for one in (freed, second)] == stamps
    assert opened(folder, **CHEST | {"cases": 1}, seed=1)[0].images["ct"] != file
    with open(file, "rb") as stream:
        content = stream.read()
    os.remove(file)  # a cleaned cache: a run compares digests of its cases, so that the copy must be the same again
    assert [one.images["ct"] for one in opened(folder, **CHEST)] == [file, second.images["ct"]]
    with open(file, "rb") as stream:
        assert stream.read() == content


def test_luna16_in_its_own_coordinates(tmp_path):
    """LPS tables, thick slices, an origin, and a scan without nodules, which stays the file that it is."""
    address = phantoms.address("chest_ct", seed=5, shape=[40, 72, 72], nodules=2, nodule_radius_mm=[6.0, 9.0])
    scan = phantoms.read(address)
    nodules = phantoms.chest_ct(5, (40, 72, 72), nodules=2, nodule_radius_mm=(6.0, 9.0)).nodules
    lps = np.diag([-1, -1, 1, 1]) @ scan.affine
    image = sitk.GetImageFromArray(scan.array)
    image.SetSpacing(scan.spacing[::-1])
    image.SetDirection((lps[:3, :3] / scan.spacing[::-1]).ravel().tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    (tmp_path / "luna" / "subset0").mkdir(parents=True)
    for name in ("1.2", "1.3"):
        sitk.WriteImage(image, str(tmp_path / "luna" / "subset0" / f"{name}.mhd"))
    rows = [f"1.2,{-x},{-y},{z},{2 * one['radius_mm']}" for one in nodules for x, y, z in [one["centre_mm"]]]
    text = "\n".join(["seriesuid,coordX,coordY,coordZ,diameter_mm", *rows])
    (tmp_path / "luna" / "annotations.csv").write_text(text, encoding="utf-8")
    freed, healthy = opened(tmp_path / "copies", "luna16", tmp_path / "luna")
    assert healthy.images["ct"].endswith("1.3.mhd") and "made_from" not in healthy.meta
    made, before = read_volume(freed.images["ct"]), read_volume(healthy.images["ct"])
    for one in nodules_of(sources.open("luna16", tmp_path / "luna")[0]):
        core = distances_mm(before, one) < one.radius_mm - 2
        assert core.any() and before.array[core].mean() > made.array[core].mean() + 300
    assert sources.unused(tmp_path / "luna", [freed, healthy]) == []


def test_bad_input_is_named(tmp_path):
    with pytest.raises(DataError, match=r"liver-.*: its source tells no nodules; use lidc_idri"):
        opened(tmp_path, "phantom_liver_ct", cases=1)
    with pytest.raises(DataError, match=r"^source nodules_erased: no scan of phantom_chest_ct has a nodule; use data"):
        opened(tmp_path, cases=2, shape=[24, 24, 24])
    with pytest.raises(DataError, match="seed must be 0 or more; got -1"):
        opened(tmp_path, seed=-1)
    with pytest.raises(DataError, match=r"^source luna16 needs data\.root"):
        opened(tmp_path, "luna16")
    with pytest.raises(DataError, match=r"no option 'case'; did you mean 'cases'"):
        opened(tmp_path, case=1)
    thin = dict(cases=1, shape=[8, 24, 24], nodules=1, nodule_radius_mm=[10.0, 12.0], length_mm=24.0)
    with pytest.raises(
        DataError, match=r"^chest-0000000: the lungs have no .* mm without a nodule .*; remove the case"
    ):
        opened(tmp_path, **thin)
    assert list(tmp_path.rglob("*.nii.gz")) == []
    water = Volume(np.zeros((16, 16, 16), np.int16), np.diag([5.0, 5.0, 5.0, 1.0]))
    with pytest.raises(DataError, match=r"^no lungs are found in it"):
        without_nodules(water, [Nodule((40.0, 40.0, 40.0), 5.0)], 0)
