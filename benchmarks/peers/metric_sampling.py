"""1,000 samples of RHVAE's latent metric by Hamiltonian Monte Carlo, beside pythae's RHVAESampler on PyTorch.

Run: python -m benchmarks.peers.metric_sampling --peer PYTHON [--rounds 5] [--only "d = 2, 20 proposals"]

PYTHON has torch and pythae. Both sides have the same 100 centroids and matrices, 15 leapfrog steps of 0.05 per
proposal, and start chains at centroids; each draws its own noise. Time goes with the number of proposals, of which
pythae needs so long that two cases make few; the third is for the comparison of what is sampled. Compared are
log sqrt(det G^-1) at given points, and, of long chains, what the samples look like: the density where they lie, and
their distance from the nearest centroid.
"""

import numpy as np

from benchmarks.support.pairs import main, near

CENTROIDS, SAMPLES = 100, 1000
LEAPFROGS, LENGTH = 15, 0.05
TEMPERATURE, REGULARISATION = {2: 0.8, 10: 1.5}, 1e-3
CHOICES = {"d = 2, 20 proposals": (2, 20), "d = 10, 5 proposals": (10, 5), "d = 2, 100 proposals": (2, 100)}


def inputs(d, proposals):
    """Centroids about a half ring (in more dimensions with little beside it), and matrices about the identity."""
    draw = np.random.default_rng(0)
    angles = draw.uniform(0, np.pi, CENTROIDS)
    centroids = 0.1 * draw.normal(size=(CENTROIDS, d))
    centroids[:, :2] += 2 * np.stack([np.cos(angles), np.sin(angles)], 1)
    lower = np.tril(0.3 * draw.normal(size=(CENTROIDS, d, d)), -1) + np.eye(d)
    return {"centroids": centroids.astype(np.float32), "matrices": (lower @ lower.swapaxes(1, 2)).astype(np.float32),
            "points": draw.normal(size=(SAMPLES, d)).astype(np.float32), "proposals": proposals}  # fmt: skip


def ours(given, folder):
    """A graph as a trained model samples by; the noise of every sample is drawn in it."""
    import tfmed  # isort: skip # noqa: F401 - before TensorFlow, for which it chooses oneDNN
    import tensorflow as tf

    from tfmed.methods.rhvae import RHVAE, Config

    d = given["centroids"].shape[1]
    config = Config(size=(28, 28), latent_size=d, temperature=TEMPERATURE[d], regularisation=REGULARISATION,
                    hmc_steps=int(given["proposals"]), hmc_leapfrog_steps=LEAPFROGS, hmc_size=LENGTH)  # fmt: skip
    model = RHVAE(config, count=CENTROIDS)
    model.centroids.assign(given["centroids"])
    model.matrices.assign(given["matrices"])
    takes = [tf.TensorSpec((), tf.int32), tf.TensorSpec((), tf.int64)]
    sample = tf.function(lambda count, seed: model.latents(count, seed), takes, autograph=False)
    count = tf.constant(SAMPLES)

    def run(number):
        return sample(count, tf.constant(number, tf.int64)).numpy()

    def results():
        return {"density": model.metric.log_volume(tf.constant(given["points"])), "samples": run(10**6)}

    return run, results, 1


def theirs(given, folder):
    """The sampler's chains, without decoding."""
    import torch
    from pythae.models import RHVAE, RHVAEConfig
    from pythae.samplers import RHVAESampler, RHVAESamplerConfig

    torch.manual_seed(0)
    d = given["centroids"].shape[1]
    model = RHVAE(RHVAEConfig(input_dim=(1, 28, 28), latent_dim=d, temperature=TEMPERATURE[d],
                              regularization=REGULARISATION))  # fmt: skip
    model.M.append(torch.from_numpy(given["matrices"]))
    model.centroids.append(torch.from_numpy(given["centroids"]))
    model.update()
    sampler = RHVAESampler(model, RHVAESamplerConfig(mcmc_steps_nbr=int(given["proposals"]), n_lf=LEAPFROGS,
                                                     eps_lf=LENGTH, beta_zero=1.0))  # fmt: skip

    def run(number):
        return sampler.hmc_sampling(SAMPLES).numpy()

    def results():
        with torch.no_grad():
            inverse = model.G_inv(torch.from_numpy(given["points"]))
        return {"density": 0.5 * torch.logdet(inverse).numpy(), "samples": run(0)}

    return run, results, 1


def looks(given, samples):
    """(mean log density, mean distance from the nearest centroid) of samples, in float64."""
    d = samples.shape[1]
    away = np.linalg.norm(samples[:, None].astype(np.float64) - given["centroids"], axis=-1)
    weights = np.exp(-((away / TEMPERATURE[d]) ** 2))
    inverse = np.einsum("ni,ijk->njk", weights, given["matrices"]) + REGULARISATION * np.eye(d)
    return np.array([0.5 * np.linalg.slogdet(inverse)[1].mean(), away.min(1).mean()])


def check(given, found):
    """Densities are the same; samples are alike where chains are long enough to forget their start."""
    ours, theirs = found["tfmed"], found["pythae"]
    lines = [near("log densities", ours["density"], theirs["density"], 1e-3)]
    pair = [looks(given, side["samples"]) for side in (ours, theirs)]
    if given["proposals"] >= 100:
        lines.append(near("mean log density and distance of samples", *pair, 0.1))
    shown = [f"{one[0]:.3f}, {one[1]:.3f}" for one in pair]
    return [*lines, f"mean log density, distance from the nearest centroid: tfmed {shown[0]}, pythae {shown[1]}"]


CASES = {title: (lambda numbers=numbers: inputs(*numbers)) for title, numbers in CHOICES.items()}
SIDES = {"tfmed": ours, "pythae": theirs}

if __name__ == "__main__":
    main(__doc__, CASES, SIDES, check, "pythae")
