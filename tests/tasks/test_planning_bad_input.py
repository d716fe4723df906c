"""Folders that are not what a plan hopes for: refused in one line, or planned with a word about what was done."""

import numpy as np
import PIL.Image
import pytest
import scipy
import yaml

import tfmed
from tfmed import cli, fit, plan
from tfmed.io import Volume, write_volume

pytestmark = pytest.mark.current

AFFINE = np.diag([1.0, 1.0, 2.0, 1.0])
TINY = ("train.steps=1", "train.batch_size=2", "train.tensorboard=false", "train.validate_every=1",
        "model.network={name: unet, widths: [4, 8]}")  # fmt: skip
OTHER = np.diag([10.0, 10.0, 20.0, 1.0])  # voxels ten times as long


def scans(label=lambda number, mask: mask, affine=lambda number: AFFINE, shape=(12, 24, 24), count=6):
    """Makes volumes with masks of a box; what stands for `label` may change a mask, or give None for none."""

    def make(root):
        for number in range(count):
            mask = np.zeros(shape, "u1")
            mask[shape[0] // 4 : max(1, 3 * shape[0] // 4), 6:16, 5:15] = 1
            image = np.random.default_rng(number).normal(0, 20, shape) + 100 * mask
            write_volume(Volume(image.astype("i2"), affine(number)), root / "images" / f"p{number}.nii.gz")
            found = label(number, mask)
            if found is not None:
                found = found if isinstance(found, Volume) else Volume(found, affine(number))
                write_volume(found, root / "labels" / f"p{number}.nii.gz")

    return make


def pictures(label=lambda mask: mask, image=lambda picture: picture, suffix="png", save=None):
    """Makes grey pictures with masks of 0 and 255."""

    def make(root):
        for folder in ("images", "masks"):
            (root / folder).mkdir(parents=True)
        for number in range(6):
            mask = np.zeros((48, 64), "u1")
            mask[10:30, 10 + number : 40] = 255
            grey = (np.random.default_rng(number).normal(60, 10, mask.shape) + 100 * (mask > 0)).clip(0, 255)
            PIL.Image.fromarray(image(grey.astype("u1"))).save(root / "images" / f"a{number}.png")
            (save or (lambda one: PIL.Image.fromarray(label(one))))(mask).save(root / "masks" / f"a{number}.{suffix}")

    return make


def also(make, change):
    def both(root):
        make(root)
        change(root)

    return both


def only(number, change):
    return lambda k, mask: change(mask) if k == number else mask


def red(mask):
    return np.stack([mask, mask // 8, mask // 8], -1)


def palette(mask):
    found = PIL.Image.fromarray(mask // 255, "P")
    found.putpalette([0, 0, 0, 128, 0, 0] + [0] * 762)
    return found


def smooth(mask):
    return scipy.ndimage.gaussian_filter(mask.astype(float), 1).round().astype("u1")


def one_slice(root):
    for folder, dtype in (("images", "i2"), ("labels", "u1")):
        array = np.arange(24 * 24).reshape(1, 24, 24) % (900 if folder == "images" else 2)
        write_volume(Volume(array.astype(dtype), AFFINE), root / folder / "q.nii.gz")


def copied(source, target):
    return lambda root: (root / target).write_bytes((root / source).read_bytes())


def lone_voxel(mask):
    mask[5, 20, 20] = 2
    return mask


def stripes(number, mask):
    return (np.arange(mask.size) // 140).reshape(mask.shape).astype("u2")


REFUSED = {  # what is made, words of the line
    "no folder of masks": (scans(lambda number, mask: None), "no label maps", "masks/"),
    "empty folder of masks": (also(scans(lambda number, mask: None), lambda root: (root / "labels").mkdir()),
                              "no case has a label map", "p0.nii.gz"),
    "all masks empty": (scans(lambda number, mask: mask * 0), "the label maps are empty"),
    "mask of another shape": (scans(only(2, lambda mask: mask[:-1])), "labels/p2", "shape (11, 24, 24)", "resample it"),
    "mask in another place": (scans(only(2, lambda mask: Volume(mask, OTHER))), "labels/p2", "corners lie", "resample"),
    "mask with channels": (scans(only(2, lambda mask: np.stack([mask] * 3, -1))), "labels/p2", "3 channels", "one map"),
    "image with channels": (also(scans(), lambda root: write_volume(
        Volume(np.zeros((12, 24, 24, 3), "u1"), AFFINE), root / "images" / "p2.nii.gz")), "images/p2", "3 channels",
        "split it"),
    "numbers below 0": (scans(lambda number, mask: -mask.astype("i2")), "labels/p0", "-1", "above 0"),
    "parts of a number": (scans(only(2, lambda mask: mask * np.float32(0.5))), "labels/p2", "not whole numbers"),
    "NaN in an image": (also(scans(), lambda root: write_volume(
        Volume(np.full((12, 24, 24), np.nan, "f4"), AFFINE), root / "images" / "p2.nii.gz")), "images/p2", "NaN"),
    "colour masks": (pictures(red), "masks/a0.png", "colours such as (255, 31, 31)", "save a grey picture"),
    "masks with a palette": (pictures(save=palette), "masks/a0.png", "(128, 0, 0)", "save a grey picture"),
    "anti-aliased masks": (pictures(smooth), "masks/a0.png", "borders of areas alone", "save it again"),
    "masks as JPEG": (pictures(suffix="jpg"), "masks/a0.jpg", "compressed with loss", "PNG"),
    "two formats of an image": (also(pictures(), copied("images/a0.png", "images/a0.jpg")), "a0.png", "remove one"),
    "two images for a mask": (also(pictures(), lambda root: [copied("images/a0.png", f"images/a0_{end}.png")(root)
                                                             for end in ("image", "img")]
                                   and (root / "images" / "a0.png").unlink()),
                              "masks/a0.png", "2 images fit it, a0_image and a0_img"),
    "two masks for an image": (also(pictures(), lambda root: [copied("masks/a0.png", f"masks/a0_{end}.png")(root)
                                                              for end in ("mask", "seg")]
                                    and (root / "masks" / "a0.png").unlink()), "masks/a0_", "two labels fit a0"),
    "one slice among volumes": (also(scans(), one_slice), "q: ", "1 x 24 x 24 voxels", "half of the patch"),
    "one scan in other units": (scans(affine=lambda number: OTHER if number == 2 else AFFINE), "p2: ",
                                "20 x 10 x 10 mm", "1000 times as many", "are they in mm?"),
    "half of the scans in other units": (scans(affine=lambda number: OTHER if number % 2 else AFFINE), "p0: ",
                                         "12 x 24 x 24 voxels of 2 x 1 x 1 mm", "half of the patch"),
}  # fmt: skip


@pytest.mark.one_stack
@pytest.mark.parametrize("name", REFUSED)
def test_refused_in_one_line(name, tmp_path, capsys):
    make, *words = REFUSED[name]
    make(tmp_path / "data")
    for main, argv in ((plan.main, [str(tmp_path / "data")]),
                       (fit.main, ["segmentation", f"data.root={tmp_path / 'data'}",
                                   "--run-dir", str(tmp_path / "run")])):  # fmt: skip
        assert cli.run(main, [*argv, *TINY, f"data.cache_dir={tmp_path / 'cache'}"]) == 2
        error = capsys.readouterr().err
        (line,) = (line for line in error.splitlines() if line.startswith("tfmed: "))
        assert "Traceback" not in error and all(word in line for word in words), line
    assert not (tmp_path / "run").exists()


PLANNED = {  # what is made, {setting: value}, words of a reason
    "one case": (scans(count=1), {"data.split": {"validation": 0, "test": 0}}, "nothing is left to score it on"),
    "two cases": (scans(count=2), {"data.split": {"validation": 0.5, "test": 0}}, "one trains and one validates"),
    "masks of 16 bits": (pictures(lambda mask: (mask > 0).astype("u2") * np.uint16(40000)),
                         {"model.labels": {"label 40000": 40000}}, "the numbers in the label maps"),
    "images of 16 bits": (pictures(image=lambda picture: picture.astype("u2") * np.uint16(200)),
                          {"model.labels": {"label 255": 255}}, "2-D, for there are 1 slices"),
    "grey masks saved as RGB": (pictures(lambda mask: np.stack([mask] * 3, -1)),
                                {"model.labels": {"label 255": 255}}, "the numbers in the label maps"),
    "a class of one voxel": (scans(only(2, lone_voxel)), {"model.labels": {"label 1": 1}},
                             "left out, for want of voxels to learn from: 2 (1 in all)"),
    "volumes of one slice": (scans(shape=(1, 48, 48)), {"model.patch": [48, 48]}, "2-D, for there are 1 slices"),
    "200 labels": (scans(stripes, shape=(12, 48, 48)), {"model.labels": {"foreground": "any"}},
                   "197 numbers, more than the 64 that are told apart"),
}  # fmt: skip


@pytest.mark.parametrize("name", PLANNED)
def test_planned_with_a_word_about_it(name, tmp_path, capsys):
    make, values, words = PLANNED[name]
    make(tmp_path / "data")
    assert cli.run(plan.main, [str(tmp_path / "data"), *TINY, "--out", str(tmp_path / "plan.yaml")]) == 0
    assert words in capsys.readouterr().out
    settings = yaml.safe_load((tmp_path / "plan.yaml").read_text(encoding="utf-8"))
    for key, value in values.items():
        section, setting = key.split(".")
        assert settings[section][setting] == value
    tfmed.load_config(tmp_path / "plan.yaml")


@pytest.mark.one_stack
@pytest.mark.parametrize("name", ["one case", "masks of 16 bits", "volumes of one slice"])
def test_what_was_planned_trains(name, tmp_path):
    PLANNED[name][0](tmp_path / "data")
    words = ["segmentation", f"data.root={tmp_path / 'data'}", f"data.cache_dir={tmp_path / 'cache'}", *TINY]
    assert cli.run(fit.main, [*words, "--run-dir", str(tmp_path / "run")]) == 0
    assert len(list((tmp_path / "run" / "previews").glob("*.png"))) > 0
