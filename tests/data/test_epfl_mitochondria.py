"""The layout of the EPFL mitochondria: TIFF of many pages, cut into blocks; and the phantom that stands for them."""

import numpy as np
import pytest
from PIL import Image

from tests.support import hostile
from tfmed.data import phantoms, sources
from tfmed.data.phantoms.mitochondria import mitochondria
from tfmed.data.readers import read_address, read_label
from tfmed.data.sources.epfl_mitochondria import _boxes
from tfmed.errors import DataError, UserError
from tfmed.io.errors import ImageIntegrityError

pytestmark = pytest.mark.one_stack
SHAPE = (5, 12, 16)


def write(path, array):
    first, *others = [Image.fromarray(page) for page in array]
    first.save(path, save_all=True, append_images=others)


@pytest.fixture
def root(tmp_path):
    for k, name in enumerate(("training", "testing")):
        image = np.random.default_rng(k).integers(0, 256, SHAPE).astype("uint8")
        write(tmp_path / f"{name}.tif", image)
        write(tmp_path / f"{name}_groundtruth.tif", np.where(image > 128, 255, 0).astype("uint8"))
    (tmp_path / "volumedata.tif").write_bytes(b"not looked at")
    return tmp_path


def test_blocks_of_the_study():
    assert _boxes((165, 768, 1024), "train") == [(0, y, x, 165, 448, 448) for y in (0, 320) for x in (0, 448)]
    cubes = _boxes((165, 768, 1024), "test")
    assert len(cubes) == 4 and all(cube[3:] == (165, 165, 165) for cube in cubes)
    assert all(y + 165 <= 768 and x + 165 <= 1024 and min(y, x) >= 0 for _, y, x, *_ in cubes)
    assert len({(y, x) for _, y, x, *_ in cubes}) == 4 and abs(cubes[0][1] - cubes[2][1]) > 165


def test_whole_volumes_and_cubes_are_what_lies_in_the_files(root):
    whole = sources.open("epfl_mitochondria", root, blocks=False)
    assert [case.id for case in whole] == ["testing", "training"]
    volumes = {case.id: read_address(case.images["em"]).array for case in whole}
    assert volumes["training"].shape == SHAPE and volumes["training"].dtype == np.uint8
    assert set(np.unique(read_label(whole[0]).array)) == {0, 1}
    cases = sources.open("epfl_mitochondria", root)
    assert [case.meta["part"] for case in cases] == ["test"] * 4 + ["train"]  # all of so small a volume is one block
    for case in cases:
        image, label = read_address(case.images["em"]), read_label(case)
        np.testing.assert_array_equal(label.array, image.array > 128)
        box = list(map(int, case.images["em"].split("@")[1].split(",")))
        cut = volumes[case.id.split("-")[0]][tuple(slice(b, b + n) for b, n in zip(box[:3], box[3:], strict=True))]
        np.testing.assert_array_equal(image.array, cut)


def test_what_is_wrong_is_named(root):
    (root / "testing.tif").unlink()
    with pytest.raises(DataError, match=r"testing_groundtruth.tif: is a mask without testing.tif"):
        sources.open("epfl_mitochondria", root)
    (root / "testing_groundtruth.tif").unlink()
    assert {case.meta["part"] for case in sources.open("epfl_mitochondria", root)} == {"train"}
    with pytest.raises(ImageIntegrityError, match="do not hold the box"):
        read_address(f"{root / 'training.tif'}::pages@0,0,0,5,13,16")
    (root / "training.tif").write_bytes((root / "training.tif").read_bytes()[:700])
    with pytest.raises(ImageIntegrityError, match=r"training\.tif"):
        sources.open("epfl_mitochondria", root)
    (root / "training.tif").unlink()
    with pytest.raises(DataError, match="holds no case"):
        sources.open("epfl_mitochondria", root)


def test_the_phantom():
    one, again, other = (mitochondria(seed, (48, 48, 48)) for seed in (3, 3, 4))
    np.testing.assert_array_equal(one.volume.array, again.volume.array)
    assert not np.array_equal(one.labels.array, other.labels.array)
    assert one.volume.array.dtype == np.int16 and one.labels.array.dtype == np.uint8
    assert one.volume.array.min() >= 0 and one.volume.array.max() <= 255
    shares = [mitochondria(seed, (48, 48, 48)).labels.array.mean() for seed in range(4)]
    assert 0.02 < np.mean(shares) < 0.25
    inside, outside = (one.volume.array[one.labels.array == k] for k in (1, 0))
    assert inside.mean() < outside.mean() - 15 and np.percentile(outside, 3) < inside.mean()  # not told by grey alone
    cases = sources.open("phantom_mitochondria", cases=3, shape=[16, 16, 16], unlabelled=1)
    assert [case.label is None for case in cases] == [False, False, True]
    assert phantoms.read(cases[0].images["em"]).shape == (16, 16, 16)


@pytest.mark.parametrize("options, said", [({"shape": (4, 8, 8)}, "shape is"), ({"noise": -1}, "noise must"),
                                           ({"seed": -1}, "seed must")])  # fmt: skip
def test_bad_arguments_of_the_phantom(options, said):
    with pytest.raises(UserError, match=said):
        mitochondria(**{"seed": 0, **options})


@pytest.mark.parametrize(
    "name, make", list(hostile.special((".tif",))), ids=lambda one: one if isinstance(one, str) else ""
)
def test_hostile_files_are_refused_in_one_line(name, make, tmp_path):
    make(tmp_path / name)
    with pytest.raises(ImageIntegrityError) as caught:
        read_address(f"{tmp_path / name}::pages")
    assert "\n" not in str(caught.value) and name in str(caught.value)
