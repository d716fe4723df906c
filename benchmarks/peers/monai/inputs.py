"""What both sides of a task get: arrays made once, by the process that compares (it needs tfmed)."""

import numpy as np

from tfmed.augment.paired import Policy, VolumePolicy, sample_grid

TURN, SCALE = 20.0, 0.1  # degrees, and share: rotations and magnifications lie within +- these
IMAGE = Policy(flip=None, shift=None, rotate=(-TURN, TURN), scale=(1 - SCALE, 1 + SCALE), alpha=720.0, sigma=24.0)
AFFINE = VolumePolicy(flip=None, shift=None, rotate=(-TURN, TURN), scale=(1 - SCALE, 1 + SCALE))
ELASTIC = VolumePolicy(flip=None, shift=None, rotate=(-TURN, TURN), scale=(1 - SCALE, 1 + SCALE), elastic=6.0)
POLICIES = {"elastic2d": IMAGE, "elastic3d": ELASTIC, "affine3d": AFFINE}
SPACING, NEW_SPACING = (3.0, 0.8, 0.8), (1.5, 1.5, 1.5)
WINDOW, OVERLAP = 64, 0.25
MASK_SPACING = (0.625, 0.625, 0.625)


def augmentation(task, options):
    """Image and label, channels last, and one grid for the comparison of the warps alone."""
    shape = (224, 224, 4) if task == "elastic2d" else (96, 96, 96, 1)
    generator = np.random.default_rng(0)
    image = generator.random(shape, np.float32)
    label = generator.integers(0, 4, (*shape[:-1], 1), np.uint8)
    return {"image": image, "label": label, "grid": sample_grid(1, shape[:-1], POLICIES[task])}


def resample(task, options):
    """A volume linear in world coordinates, which stays so wherever it is read."""
    z, y, x = np.meshgrid(*(np.arange(n) * s for n, s in zip((64, 192, 192), SPACING, strict=True)), indexing="ij")
    return {"volume": (0.5 * z + 0.25 * y - 0.125 * x).astype(np.float32)}


def patch(task, options):
    """One patch with a label that depends on it."""
    image = np.random.default_rng(0).normal(size=(1, 64, 64, 64, 1)).astype(np.float32)
    return {"image": image, "label": (image[..., 0] > 0.5).astype(np.int64)}


def volume(task, options):
    """A volume for windows."""
    return {"volume": np.random.default_rng(0).normal(size=(192, 192, 96)).astype(np.float32)}


def pair(task, options):
    """A smooth slice of 256 x 256 and what it should become, in [-1, 1]."""
    y, x = np.mgrid[:256, :256].astype(np.float32) / 40
    image = np.sin(x) * np.cos(y)
    return {"mr": image[None, ..., None], "mrcat": np.tanh(3 * image)[None, ..., None]}


def slices(task, options):
    """A volume of 32 slices."""
    return {"volume": np.tanh(np.random.default_rng(0).normal(size=(32, 256, 256)).astype(np.float32))}


def masks(task, options):
    """A left atrium and a deformed copy: a real one where the data are at hand, otherwise two ellipsoids."""
    shape = (88, 144, 180)
    files = sorted(options.data.glob("la2018/test/*_label.nii.gz")) if options.data else []
    if not files:
        grid = np.ogrid[tuple(slice(0, n) for n in shape)]
        pair = [sum(((g - c) / r) ** 2 for g, c, r in zip(grid, centre, radii, strict=True)) <= 1
                for centre, radii in (((44, 70, 90), (25, 35, 45)), ((46, 73, 87), (23, 37, 44)))]  # fmt: skip
        return {"prediction": pair[0], "reference": pair[1], "real": np.array(False)}
    from scipy.ndimage import binary_erosion, map_coordinates

    from tfmed.io import read_volume

    reference = np.asarray(read_volume(files[0]).array) > 0
    policy = VolumePolicy(flip=None, shift=(-0.02, 0.02), elastic=5.0)
    grid = np.moveaxis(sample_grid(3, reference.shape, policy), -1, 0)
    moved = map_coordinates(reference.astype(np.uint8), grid, order=0)
    return {"prediction": binary_erosion(moved), "reference": reference, "real": np.array(True)}


def features(task, options):
    """Fewer samples than features, twice."""
    generator = np.random.default_rng(0)
    mixing = generator.normal(size=(2048, 2048)) / 45
    return {name: generator.normal(size=(1000, 2048)) @ mixing for name in ("features", "reference")}


def alike(task, options):
    """Two smooth volumes and noisy copies, in [0, 1]."""
    z, y, x = np.mgrid[:80, :96, :112] / 9
    clean = np.stack([0.5 + 0.3 * np.sin(x + phase) * np.cos(y) * np.cos(z) for phase in (0, 1)])
    noisy = clean + np.random.default_rng(0).normal(0, 0.1, clean.shape)
    return {"image": clean.astype(np.float32), "noisy": np.clip(noisy, 0, 1).astype(np.float32)}


def epoch(task, options):
    """Twenty volumes with labels; the sides read them from files and prepare their caches."""
    generator = np.random.default_rng(0)
    images = generator.normal(size=(20, 96, 128, 128)).astype(np.float32)
    for number, image in enumerate(images):
        np.save(options.folder / f"image-{number:02d}.npy", image)
    return {"count": np.array(len(images))}


MAKERS = {"elastic2d": augmentation, "elastic3d": augmentation, "affine3d": augmentation, "resample": resample,
          "train_step": patch, "pix2pix_step": pair, "pix2pix_volume": slices,
          "windows": volume, "surface": masks, "epoch": epoch, "frechet": features, "ms_ssim": alike}  # fmt: skip
