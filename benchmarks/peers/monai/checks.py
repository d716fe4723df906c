"""What must agree before a time means anything: a check returns lines that say how well, or raises AssertionError."""

import numpy as np
from scipy.ndimage import map_coordinates


def near(name, ours, theirs, tolerance):
    """A line with the largest difference, which must not exceed the tolerance."""
    difference = float(np.abs(np.asarray(ours, np.float64) - np.asarray(theirs, np.float64)).max())
    assert difference <= tolerance, f"{name}: differs by {difference:.2e}, allowed {tolerance:.0e}"
    return f"{name}: largest difference {difference:.1e} (allowed {tolerance:.0e})"


def augmentation(inputs, found):
    """The same dense field through scipy, tfmed and MONAI's resampler."""
    ours, theirs = found["tfmed"], found["MONAI"]
    grid = np.moveaxis(inputs["grid"], -1, 0)
    image = np.stack([map_coordinates(inputs["image"][..., c], grid, order=1, mode="grid-constant")
                      for c in range(inputs["image"].shape[-1])], axis=-1)  # fmt: skip
    label = map_coordinates(inputs["label"][..., 0], grid, order=0, mode="grid-constant")
    other = np.mean(theirs["label"][..., 0] != label)
    assert other < 1e-3, f"MONAI's label differs at {other:.2%} of the voxels"
    return [near("image, tfmed and scipy at one grid", ours["image"], image, 1e-4),
            near("label, tfmed and scipy at one grid", ours["label"][..., 0], label, 0),
            near("image, tfmed and MONAI's Resample at one grid", ours["image"], theirs["image"], 1e-3),
            f"label, MONAI's Resample at one grid: other at {other:.4%} of the voxels (halves)"]  # fmt: skip


def resample(inputs, found):
    """What is linear in the world stays so: each side at the places that its own affine names, within the old grid."""
    lines = []
    for name, side in found.items():
        size = side["volume"].shape
        z, y, x = np.meshgrid(*(np.arange(n) for n in size), indexing="ij")
        world = np.einsum("ij,j...->i...", side["affine"][:3], np.stack([x, y, z, np.ones_like(x)]))  # x, y, z in mm
        last = (np.array([191, 191, 63]) * [0.8, 0.8, 3.0])[:, None, None, None]
        inside = np.all((world >= 0) & (world <= last), axis=0)
        expected = 0.5 * world[2] + 0.25 * world[1] - 0.125 * world[0]
        lines.append(near(f"{name}, {size}, a linear volume", side["volume"][inside], expected[inside], 1e-3))
    ours, theirs = found["tfmed"], found["SimpleITK"]
    return [*lines, near("tfmed and SimpleITK on one grid", ours["volume"], theirs["volume"], 1e-4)]


def same_training(ours, theirs, names, most):
    """Lines for networks that were given the same weights: parameters, answers, and the losses of four steps."""
    assert ours["parameters"] == theirs["parameters"]
    shares = np.abs(ours["losses"] / theirs["losses"] - 1).max()
    assert shares < most, f"losses {ours['losses']} and {theirs['losses']}"
    return [f"parameters: {int(ours['parameters']):,} on both sides",
            *(near(f"{name} of the same weights", ours[name], theirs[name], 1e-3) for name in names),
            f"losses of four steps: within {shares:.1e} of each other"]  # fmt: skip


def train_step(inputs, found):
    """The U-Net's logits."""
    return same_training(found["tfmed"], found["MONAI"], ["logits"], 0.01)


def pix2pix_step(inputs, found):
    """The translation, and the critic's logits of the true pair."""
    return same_training(found["tfmed"], found["PyTorch"], ["image", "logits"], 0.02)


def pix2pix_volume(inputs, found):
    """Translated slices."""
    return [near("slices", found["tfmed"]["volume"], found["PyTorch"]["volume"], 1e-3)]


def windows(inputs, found):
    """The blend, and what MONAI's clamp of small weights changes."""
    ours, theirs = found["tfmed"]["blend"], found["MONAI"]
    clamped = np.abs(theirs["clamped"] - theirs["blend"]).max()
    return [near("blend, MONAI with the gaussian as its weights", ours, theirs["blend"], 1e-4),
            f"MONAI's own gaussian map clamps weights below 0.001: it moves its answer by up to {clamped:.1e} "
            f"(logits of {np.abs(ours).max():.1f} at the most)"]  # fmt: skip


def surface(inputs, found):
    """Measures of one definition: HD, the larger directed 95th percentile, the mean of all distances, one-sided ASD."""
    ours, theirs = found["tfmed"], found["MONAI"]
    lines = [near(name, ours[name], theirs[name], 1e-5 * max(1, float(ours[name]))) for name in theirs]
    return [f"masks: {'left atrium' if inputs['real'] else 'ellipsoids'}, {inputs['reference'].shape}", *lines,
            f"tfmed's HD95 {float(ours['hd95']):.3f} and ASSD {float(ours['assd']):.3f} mm; "
            f"MONAI's {float(theirs['hd95_max']):.3f} and {float(theirs['msd']):.3f} (other definitions)"]  # fmt: skip


def epoch(inputs, found):
    """Patches are random; they have one size, and the spread of normal numbers with noise of 0.1."""
    lines = []
    for name, side in found.items():
        patch = side["patch"]
        assert sorted(patch.shape) == [1, 2, 64, 64, 64] and 0.98 < patch.std() < 1.03, (name, patch.shape)
        lines.append(f"{name}: patches {patch.shape}, {patch.dtype}")
    return lines


def frechet(inputs, found):
    """The distance itself; MONAI's matrix root of a singular product is less exact."""
    ours, theirs = (float(found[name]["distance"]) for name in ("tfmed", "MONAI"))
    return [near(f"Frechet distance, tfmed {ours:.4f}, MONAI {theirs:.4f}", ours, theirs, 1e-3 * ours)]


def ms_ssim(inputs, found):
    """Each pair's similarity."""
    return [near("MS-SSIM", found["tfmed"]["similarity"], found["MONAI"]["similarity"], 1e-4)]


CHECKS = {"elastic2d": augmentation, "elastic3d": augmentation, "affine3d": augmentation, "resample": resample,
          "train_step": train_step, "pix2pix_step": pix2pix_step, "pix2pix_volume": pix2pix_volume,
          "windows": windows, "surface": surface, "epoch": epoch, "frechet": frechet, "ms_ssim": ms_ssim}  # fmt: skip
