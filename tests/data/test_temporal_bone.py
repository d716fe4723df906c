"""The phantom of a temporal bone and its source, and tables of volumes with files of landmarks."""

import numpy as np
import pytest
from scipy import ndimage

from tfmed.data import phantoms, sources
from tfmed.data.phantoms.temporal_bone import placed_landmarks
from tfmed.errors import DataError, UserError
from tfmed.io import Volume, write_volume
from tfmed.io.points import write_markups
from tfmed.ops.moments import angle_of, by_skewness, euler, moments

pytestmark = pytest.mark.one_stack

SMALL = {"shape": (32, 32, 32), "spacing_mm": 1.0, "shift_mm": 2.0}


def test_repeats_and_differs():
    one, again, other = (phantoms.temporal_bone(seed, **SMALL) for seed in (3, 3, 4))
    np.testing.assert_array_equal(one.volume.array, again.volume.array)
    np.testing.assert_array_equal(one.labels.array, again.labels.array)
    assert one.landmarks == again.landmarks == placed_landmarks(3, **SMALL) != other.landmarks
    assert (one.volume.array != other.volume.array).any()
    assert one.volume.array.dtype == np.int16 and one.labels.array.dtype == np.uint8


def test_landmarks_lie_in_the_cochlea():
    """Apex and window in its mask, the centre within 2 mm of the mask's middle; the fluid is dark in dense bone."""
    for seed in range(4):
        ear = phantoms.temporal_bone(seed, (64, 64, 64), 0.5, noise=0.0)
        mask = ear.labels.array > 0
        voxels = {name: (np.linalg.inv(ear.labels.affine) @ [*place, 1])[2::-1] for name, place in
                  ear.landmarks.items()}  # fmt: skip
        for name in ("top", "window"):
            assert mask[tuple(np.rint(voxels[name]).astype(int))], name
            assert ear.volume.array[tuple(np.rint(voxels[name]).astype(int))] < 1200
        found = moments(mask, ear.labels.spacing)
        assert np.linalg.norm(found.centre - voxels["centre"]) * 0.5 < 2
        assert not found.ambiguous and (np.abs(found.skewness[[0, 2]]) > 0.15).all()  # a rotation can be told


@pytest.mark.parametrize("degrees", [(15, 0, 0), (0, 15, 0), (-8, 9, 8), (0, 0, 150)])
def test_a_turned_cochlea_tells_its_rotation(degrees):
    """Its mask, resampled after a known turn, gives that turn within a degree by the signs of its third moments."""
    mask = phantoms.temporal_bone(5, (48, 48, 48), 0.5, shift_mm=0.0, noise=0.0).labels.array.astype(float)
    turn, middle = euler(degrees), np.full(3, 23.5)
    turned = ndimage.affine_transform(mask, turn.T, middle - turn.T @ middle, order=1)  # turned(turn x) = mask(x)
    assert angle_of(by_skewness(moments(mask), moments(turned)) @ turn.T) < 1


def test_surroundings_that_move_by_themselves():
    """The cochlea lies where it lay, in its fluid; what is around lies elsewhere, and no drop is in it."""
    options = {"shape": (64, 64, 64), "distractors": 60, "noise": 0.0}
    shares = (0.0, 0.05, 0.3, 1.0)
    with_it, little, more, apart = (phantoms.temporal_bone(2, apart=share, **options) for share in shares)
    np.testing.assert_array_equal(with_it.labels.array, apart.labels.array)
    assert with_it.landmarks == apart.landmarks == placed_landmarks(2, apart=1, **options)
    inside = with_it.labels.array > 0
    ears = [ear.volume.array.astype(float) for ear in (with_it, little, more, apart)]
    within = [np.corrcoef(ears[0][inside], other[inside])[0, 1] for other in ears[1:]]
    around = [np.corrcoef(ears[0][~inside], other[~inside])[0, 1] for other in ears[1:]]
    assert min(within) > 0.99
    assert 0.98 > around[0] > 0.8 > around[1] > around[2] + 0.1  # the further of its way, the less alike


def test_what_it_shows_does_not_depend_on_the_shape():
    small, large = phantoms.temporal_bone(1, (24, 24, 24)), phantoms.temporal_bone(1, (40, 48, 32))
    assert small.landmarks == large.landmarks
    np.testing.assert_array_equal(small.labels.array, large.labels.array[8:32, 12:36, 4:28])


def test_an_ear_without_a_cochlea():
    ear = phantoms.temporal_bone(0, **SMALL, cochlea=0)
    assert not ear.labels.array.any()
    with pytest.raises(UserError, match="cochlea must be"):
        phantoms.temporal_bone(0, **SMALL, cochlea=2)
    with pytest.raises(UserError, match="apart must be"):
        phantoms.temporal_bone(0, **SMALL, apart=2)
    with pytest.raises(UserError, match="turn_degrees must be"):
        phantoms.temporal_bone(0, turn_degrees=200.0)


def test_the_source_tells_parts_and_landmarks():
    cases = sources.open("phantom_temporal_bone", cases=5, seed=2, shape=[24, 24, 24], without=1, again_mm=0.5)
    assert [case.meta["part"] for case in cases] == ["train", "validation", "test", "test", "test"]
    assert all("landmarks" in case.meta for case in cases[:4]) and "landmarks" not in cases[4].meta
    assert not phantoms.read(cases[4].label).array.any()
    for case in cases[:4]:
        name, chosen = phantoms.parse(case.images["ct"])
        made = phantoms.temporal_bone(**{key: value for key, value in chosen.items() if key != "part"})
        assert name == "temporal_bone" and {k: tuple(v) for k, v in case.meta["landmarks"].items()} == made.landmarks
    many = [case.meta for case in sources.open("phantom_temporal_bone", cases=60, again_mm=0.5)]
    away = [np.subtract(meta["landmarks"][k], meta["landmarks_again"][k]) for meta in many for k in made.landmarks]
    assert np.std(away) == pytest.approx(0.5, rel=0.1)
    defaults = phantoms.parse(sources.open("phantom_temporal_bone", cases=3)[0].images["ct"])[1]
    assert {**defaults, "seed": 0} == phantoms.options("temporal_bone")
    for options, said in (({"cases": 2}, "cases must be"), ({"without": 21}, "without must be"),
                          ({"again_mm": -1}, "again_mm must be"), ({"withot": 1}, "did you mean")):  # fmt: skip
        with pytest.raises(DataError, match=said):
            sources.open("phantom_temporal_bone", **options)


@pytest.fixture
def table(tmp_path):
    """A table as people write one: a reference, a case with a mask, and one with landmarks set twice."""
    for name in "abc":
        write_volume(Volume(np.zeros((4, 4, 4), "int16"), np.eye(4)), tmp_path / f"{name}.nii.gz")
    write_volume(Volume(np.ones((4, 4, 4), "uint8"), np.eye(4)), tmp_path / "mask.nii.gz")
    points = np.array([[1.0, 2, 3], [np.nan] * 3, [4, 5, 6.5]])
    write_markups(tmp_path / "first.mrk.json", ("centre", "top", "window"), points)
    write_markups(tmp_path / "second.mrk.json", ("window", "centre"), points[[2, 0]] + 1, "RAS")
    lines = ["id,part,ct,label,landmarks,landmarks_again", "a,train,a.nii.gz,mask.nii.gz,first.mrk.json,",
             "b,validation,b.nii.gz,mask.nii.gz,,", "c,test,c.nii.gz,,first.mrk.json,second.mrk.json"]  # fmt: skip
    (tmp_path / "cases.csv").write_text("\n".join(lines), encoding="utf-8")
    return tmp_path / "cases.csv"


def test_tables_with_landmarks(table):
    a, b, c = sources.open("landmark_list", table)
    assert a.meta == {"part": "train", "landmarks": {"centre": [1.0, 2.0, 3.0], "window": [4.0, 5.0, 6.5]}}
    assert b.meta == {"part": "validation"} and list(b.images) == list(c.images) == ["ct"]
    assert c.meta["landmarks_again"] == {"window": [5.0, 6.0, 7.5], "centre": [2.0, 3.0, 4.0]}
    assert a.label.endswith("mask.nii.gz") and c.label is None


@pytest.mark.parametrize(
    "change, said",
    [
        (("first.mrk.json,\n", "missing.mrk.json,\n"), "missing.mrk.json' does not exist"),
        (("a.nii.gz,mask", ",mask"), "has no image"),
        (("id,part", "name,part"), "has no column id"),
    ],
)
def test_tables_that_are_wrong_get_one_line(table, change, said):
    table.write_text(table.read_text(encoding="utf-8").replace(*change), encoding="utf-8")
    with pytest.raises(DataError, match=said):
        sources.open("landmark_list", table)


def test_points_without_names_of_their_own_are_refused(table):
    write_markups(table.parent / "first.mrk.json", ("P", "P"), np.eye(3)[:2])
    with pytest.raises(DataError, match=r"first\.mrk\.json: a point has no label, or another's"):
        sources.open("landmark_list", table)
    (table.parent / "first.mrk.json").write_text("{", encoding="utf-8")
    with pytest.raises(DataError, match=r"first\.mrk\.json"):
        sources.open("landmark_list", table)
