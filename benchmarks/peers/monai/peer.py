"""MONAI's sides, in an environment of their own: torch, MONAI and numpy, without tfmed."""

import os
import platform

import monai
import numpy as np
import scipy
import torch
from monai import transforms as mt
from monai.data import CacheDataset, MetaTensor, ThreadDataLoader
from monai.inferers import sliding_window_inference
from monai.metrics import (
    FIDMetric,
    MultiScaleSSIMMetric,
    compute_average_surface_distance,
    compute_hausdorff_distance,
)
from monai.networks.nets import BasicUNet

from benchmarks.peers.monai.pix2pix import PatchGAN, UNet
from benchmarks.support.processes import serve
from benchmarks.support.weights import written

TURN, SCALE = np.deg2rad(20.0), 0.1
SPACING, NEW_SPACING = (3.0, 0.8, 0.8), (1.5, 1.5, 1.5)
MASK_SPACING = (0.625, 0.625, 0.625)
WINDOW, OVERLAP = 64, 0.25
SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001)
FEATURES = (16, 16, 32, 64, 128, 16)


def first(array):
    """Channels first, as MONAI has them."""
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(array, -1, 0)))


# --- augmentation -----------------------------------------------------------------------------------------------------

HOW = dict(keys=("image", "label"), prob=1.0, mode=("bilinear", "nearest"), padding_mode="zeros")
TURNS = dict(scale_range=SCALE)


def augmentation(transform, samples):
    """A random transform of a dictionary; for the comparison its resampler alone, at tfmed's grid."""

    def setup(inputs, folder):
        transform.set_random_state(0)
        data = {"image": first(inputs["image"]), "label": first(inputs["label"])}

        def run(number):
            for _ in range(samples):
                transform(data)

        def results():
            size = np.array(inputs["grid"].shape[:-1])
            places = inputs["grid"] - (size - 1) / 2  # MONAI counts from the centre
            grid = torch.from_numpy(np.moveaxis(places, -1, 0).astype(np.float32))
            grid = torch.cat([grid, torch.ones_like(grid[:1])])
            found = {name: mt.Resample(mode=mode, padding_mode="zeros")(data[name], grid=grid)
                     for name, mode in (("image", "bilinear"), ("label", "nearest"))}  # fmt: skip
            return {name: np.moveaxis(np.asarray(array), 0, -1) for name, array in found.items()}

        return run, results, samples

    return setup


# --- resampling -------------------------------------------------------------------------------------------------------


def resample(inputs, folder):
    """Spacing, from a tensor with its affine to the same."""
    array = torch.from_numpy(inputs["volume"])[None]
    volume = MetaTensor(array, affine=torch.diag(torch.tensor([*SPACING, 1.0], dtype=torch.float64)))
    transform = mt.Spacing(NEW_SPACING, mode="bilinear")

    def results():
        found = transform(volume)
        affine = np.asarray(found.affine)[[2, 1, 0, 3]][:, [2, 1, 0, 3]]  # tfmed's affines take (x, y, z)
        return {"volume": np.asarray(found)[0], "affine": affine}

    return lambda number: [transform(volume) for _ in range(5)], results, 5


# --- networks ---------------------------------------------------------------------------------------------------------


def network(folder):
    """The network, and its initial weights in a file for the other side."""
    torch.manual_seed(0)
    return written(BasicUNet(spatial_dims=3, in_channels=1, out_channels=2, features=FEATURES), folder / "weights.npz")


def train_step(inputs, folder):
    """Cross-entropy, gradients, Adam, on one patch."""
    unet = network(folder)
    image = torch.from_numpy(np.moveaxis(inputs["image"], -1, 1).copy())
    label = torch.from_numpy(inputs["label"])
    loss = torch.nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(unet.parameters(), 1e-3, eps=1e-8)

    def step():
        optimizer.zero_grad(set_to_none=True)
        value = loss(unet(image), label)
        value.backward()
        optimizer.step()
        return float(value)

    def results():
        with torch.no_grad():
            logits = np.moveaxis(unet(image).numpy(), 1, -1)
        losses = [step() for _ in range(4)]
        return {"logits": logits, "losses": np.array(losses),
                "parameters": np.array(sum(w.numel() for w in unet.parameters()))}  # fmt: skip

    return lambda number: step(), results, 1


def windows(inputs, folder):
    """Windows over a volume, one at a time."""
    unet = network(folder).eval()
    volume = torch.from_numpy(inputs["volume"])[None, None]
    axis = torch.exp(-0.5 * ((torch.arange(WINDOW) - (WINDOW - 1) / 2) / (0.125 * WINDOW)) ** 2)
    product = axis[:, None, None] * axis[:, None] * axis

    def blend(weights=None):
        with torch.inference_mode():
            return sliding_window_inference(volume, (WINDOW,) * 3, 1, unet, OVERLAP, mode="gaussian",
                                            roi_weight_map=weights)  # fmt: skip

    def results():
        both = {"blend": blend(product), "clamped": blend()}
        return {name: np.moveaxis(found[0].numpy(), 0, -1) for name, found in both.items()}

    return lambda number: blend(), results, 1


def translator(folder):
    """Generator and critic, and their initial weights in files for the other side."""
    torch.manual_seed(0)
    return written(UNet(8), folder / "generator.npz"), written(PatchGAN(), folder / "critic.npz")


def pix2pix_step(inputs, folder):
    """A critic's and a generator's update on one pair, the generator run forward once, as in the public code."""
    generator, critic = translator(folder)
    source, target = (torch.from_numpy(np.moveaxis(inputs[name], -1, 1).copy()) for name in ("mr", "mrcat"))
    of_critic, of_generator = (torch.optim.Adam(net.parameters(), 2e-4, (0.5, 0.999)) for net in (critic, generator))
    softplus = torch.nn.functional.softplus

    def judged(image):
        return critic(torch.cat([source, image], 1))

    def step():
        fake = generator(source)
        critic.requires_grad_(True)
        of_critic.zero_grad(set_to_none=True)
        critic_loss = 0.5 * (softplus(-judged(target)).mean() + softplus(judged(fake.detach())).mean())
        critic_loss.backward()
        of_critic.step()
        critic.requires_grad_(False)
        of_generator.zero_grad(set_to_none=True)
        fooled, l1 = softplus(-judged(fake)).mean(), (fake - target).abs().mean()
        (fooled + 100 * l1).backward()
        of_generator.step()
        return float(critic_loss) + float(fooled) + float(l1)

    def results():
        with torch.no_grad():
            image, logits = generator(source), judged(target)
        parameters = sum(w.numel() for net in (generator, critic) for w in net.parameters())
        return {"image": np.moveaxis(image.numpy(), 1, -1), "logits": np.moveaxis(logits.numpy(), 1, -1),
                "losses": np.array([step() for _ in range(4)]), "parameters": np.array(parameters)}  # fmt: skip

    return lambda number: step(), results, 1


def pix2pix_volume(inputs, folder):
    """All slices of a volume, one at a time."""
    generator, _ = translator(folder)
    volume = torch.from_numpy(inputs["volume"])

    def run(number=0):
        with torch.inference_mode():
            return torch.cat([generator(image[None, None]) for image in volume])[:, 0].numpy()

    return run, lambda: {"volume": run()}, len(volume)


# --- metrics and data -------------------------------------------------------------------------------------------------


def surface(inputs, folder):
    """HD95 and symmetric surface distance, each by its function."""
    masks = [torch.from_numpy(inputs[name])[None, None] for name in ("prediction", "reference")]
    how = dict(include_background=True, spacing=MASK_SPACING)

    def run(number):
        compute_hausdorff_distance(*masks, percentile=95, **how)
        compute_average_surface_distance(*masks, symmetric=True, **how)

    def results():
        return {"hd95_max": float(compute_hausdorff_distance(*masks, percentile=95, **how)),
                "hd": float(compute_hausdorff_distance(*masks, **how)),
                "msd": float(compute_average_surface_distance(*masks, symmetric=True, **how)),
                "asd": float(compute_average_surface_distance(*masks, **how))}  # fmt: skip

    return run, results, 1


def frechet(inputs, folder):
    """FIDMetric."""
    both, metric = [torch.from_numpy(inputs[name]) for name in ("features", "reference")], FIDMetric()
    return lambda number: float(metric(*both)), lambda: {"distance": np.array(float(metric(*both)))}, 1


def structural(inputs, folder):
    """MultiScaleSSIMMetric with the published weights of three scales, made to sum to 1."""
    both = [torch.from_numpy(inputs[name])[:, None] for name in ("image", "noisy")]
    weights = np.array(SCALE_WEIGHTS) / sum(SCALE_WEIGHTS)
    metric = MultiScaleSSIMMetric(3, weights=weights.tolist(), reduction="none")

    def run(number=0):
        with torch.inference_mode():
            return metric(*both).numpy()[:, 0]

    return run, lambda: {"similarity": run()}, len(both[0])


def epoch(inputs, folder):
    """Five epochs of crops, flipped and with noise, from CacheDataset through ThreadDataLoader."""
    steps = [
        mt.LoadImaged("image"),
        mt.EnsureChannelFirstd("image", channel_dim="no_channel"),
        mt.RandSpatialCropd("image", (64, 64, 64), random_size=False),
        *[mt.RandFlipd("image", 0.5, axis) for axis in range(3)],
        mt.RandGaussianNoised("image", 1.0, std=0.1, sample_std=False),
    ]
    items = [{"image": str(folder / f"image-{number:02d}.npy")} for number in range(int(inputs["count"]))]
    dataset = CacheDataset(items, mt.Compose(steps), cache_rate=1.0, num_workers=1, progress=False)
    loader = ThreadDataLoader(dataset, batch_size=2, shuffle=True, num_workers=0)

    def run(number):
        for _ in range(5):
            for batch in loader:
                batch["image"].shape  # noqa: B018

    return run, lambda: {"patch": np.asarray(next(iter(loader))["image"])}, 5


SIDES = {
    "elastic2d": augmentation(
        mt.Rand2DElasticd(spacing=(32, 32), magnitude_range=(4, 6), rotate_range=TURN, **TURNS, **HOW), 10),
    "elastic3d": augmentation(
        mt.Rand3DElasticd(sigma_range=(8, 9), magnitude_range=(100, 200), rotate_range=(TURN,) * 3, **TURNS, **HOW), 1),
    "affine3d": augmentation(mt.RandAffined(rotate_range=(TURN,) * 3, **TURNS, **HOW), 3),
    "resample": resample,
    "train_step": train_step,
    "windows": windows,
    "pix2pix_step": pix2pix_step,
    "pix2pix_volume": pix2pix_volume,
    "surface": surface,
    "epoch": epoch,
    "frechet": frechet,
    "ms_ssim": structural,
}  # fmt: skip

if __name__ == "__main__":
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "2")))
    serve(SIDES, {"Python": platform.python_version(), "monai": monai.__version__, "torch": torch.__version__,
                  "numpy": np.__version__, "scipy": scipy.__version__})  # fmt: skip
