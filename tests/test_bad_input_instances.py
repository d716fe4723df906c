"""Mistaken input of methods that find cells: exit status 2, one line with the place and the fix, nothing lost."""

import pathlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import tfmed
from tests.methods.test_label_transfer import TINY
from tests.test_bad_input import check
from tfmed.data.phantoms import cell_pairs
from tfmed.io import Volume, write_volume

pytestmark = pytest.mark.current

CONFIG = str(pathlib.Path(__file__).parents[1] / "configs" / "label_transfer.yaml")
QUICK = (*TINY[2:], "data.source=image_visits", "data.options={}", "data.split={given: false, validation: 0, test: 0}",
         "train.steps=1", "train.early_stopping=null", "train.tensorboard=false")  # fmt: skip


def picture(path, array):
    path.parent.mkdir(exist_ok=True, parents=True)
    Image.fromarray(array).save(path)


@pytest.fixture
def place(tmp_path):
    """CELLS with two labelled images, and a pair without labels."""
    root = tmp_path / "cells"
    for seed, name, visit in ((0, "a", 1), (1, "b", 1), (2, "p_visit1", 1), (2, "p_visit2", 2)):
        made = cell_pairs(seed, (64, 64), visit, spacing=16.0, noisy=0.2)
        picture(root / "images" / f"{name}.png", made.volume.array[0].astype("uint8"))
        if name in "ab":
            picture(root / "labels" / f"{name}.png", made.labels.array[0].astype("uint16"))
    return tmp_path


def arguments(place, *overrides):
    return ["fit", CONFIG, *QUICK, f"data.root={place / 'cells'}", *overrides, "--run-dir", place / "new"]


def noise(place):
    array = np.random.default_rng(0).integers(0, 255, (64, 64)).astype("uint8")
    picture(place / "cells/images/p_visit2.png", array)


def other_size(place):
    picture(place / "cells/images/p_visit2.png", np.arange(48 * 64, dtype="uint16").reshape(48, 64).astype("uint8"))


def several_slices(place):
    (place / "cells/images/a.png").unlink()
    array = np.random.default_rng(0).integers(0, 255, (3, 64, 64)).astype("uint8")
    write_volume(Volume(array, np.eye(4)), place / "cells/images/a.nii.gz")
    (place / "cells/labels/a.png").unlink()
    write_volume(Volume(np.ones((3, 64, 64), "uint8"), np.eye(4)), place / "cells/labels/a.nii.gz")


def unlabelled(place):
    for name in "ab":
        (place / "cells/labels" / f"{name}.png").unlink()
        (place / "cells/images" / f"{name}.png").unlink()


def negative(place):
    (place / "cells/images/a.png").unlink()
    (place / "cells/labels/a.png").unlink()
    array = np.random.default_rng(0).integers(0, 255, (1, 64, 64))
    write_volume(Volume(array.astype("int16"), np.eye(4)), place / "cells/images/a.nii.gz")
    write_volume(Volume((array > 99).astype("int16") - 2, np.eye(4)), place / "cells/labels/a.nii.gz")


DATA = {
    "a pair of two sizes": (other_size, (), "p_visit2", "48 x 64 pixels", "p_visit1 has 64 x 64", "one size"),
    "a pair of two places": (noise, (), "p:", "do not fit together", "model.least_correlation"),
    "a missing visit": (
        lambda place: (place / "cells/images/p_visit1.png").unlink(), (), "p_visit2.png", "visit 1 of p is missing",
    ),
    "no labelled image": (unlabelled, (), "no patient has a label map", "data.root"),
    "no pair": (
        lambda place: [path.unlink() for path in (place / "cells/images").glob("p_*")], (), "no pair of unlabelled",
        "model.iterations",
    ),
    "empty labels": (
        lambda place: [picture(p, np.zeros((64, 64), "uint16")) for p in (place / "cells/labels").glob("*.png")], (),
        "label maps of all training cases are empty",
    ),
    "a label of another size": (
        lambda place: picture(place / "cells/labels/a.png", np.ones((60, 64), "uint16")), (), "labels/a.png", "shape",
    ),
    "several slices": (several_slices, (), "a.nii.gz", "3 slices", "single images"),
    "negative numbers": (negative, (), "labels/a.nii.gz", "from -2 to -1", "from 1 on"),
    "an image too small": (
        lambda place: [picture(place / "cells" / f / "a.png", np.arange(35, dtype=k).reshape(5, 7)) for f, k in
                       (("images", "uint8"), ("labels", "uint16"))], (), "images/a.png", "smaller than",
    ),
    "a step that moves pixels": (
        lambda place: None, ("data.preprocess=[{step: orient}]",), "data.preprocess", "orient is not for instances",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", DATA)
def test_data(name, place, capsys):
    """Noticed before a run directory is made, so that the same command may be given again."""
    damage, overrides, *words = DATA[name]
    damage(place)
    check(place, capsys, arguments(place, *overrides), *words)
    assert not (place / "new").exists()


def test_images_of_one_cell_are_no_mistake(place):
    """They are learnt, and matched."""
    y, x = np.indices((64, 64))
    cell = np.hypot(y - 30, x - 33) < 9
    for name in "ab":
        picture(place / f"cells/labels/{name}.png", cell.astype("uint16"))
    settings = tfmed.load_config(CONFIG, [*QUICK, f"data.root={place / 'cells'}"])
    method = tfmed.registry.method_class(settings.method)(settings)
    image, maps, weight = method.labelled_items()[0]()
    assert maps[..., 1].sum() == cell.sum() and weight.all() and image.shape == (64, 64)
    method.looking = lambda network: lambda images: (tf.constant(maps[None], tf.float32), images)
    (name,) = method.pairs
    _, made, match = method.exchange_of(name, None)
    assert len(match.pairs) == 1 and all(one.counts()["kept"] == 1 for one in made)
