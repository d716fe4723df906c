"""Measures of generators: tfmed.metrics against tensorflow-gan, scikit-image, scikit-learn, scipy and TensorFlow.

Run it from a checkout on stack addons: `python -m benchmarks.peers.generative [--repeats 3] [--only frechet]`. Both
sides get the same arrays, take turns in one process, and are checked to agree; where ours
computes in float64, so do the peers. The table gives medians of CPU time over all
threads (quartiles in brackets), and how many times less of it ours takes. A second table gives the peak memory of a
process of its own that reads n samples from a file: it must not grow with n.
"""

import argparse
import functools
import pathlib
import resource
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np

from tfmed.metrics import generative, manifold, neighbours
from tfmed.metrics.mahalanobis import mahalanobis
from tfmed.metrics.ms_ssim import WEIGHTS, ms_ssim
from tfmed.metrics.template_matching import template_match


def gaussian(n, d, seed=0):
    """Features with a mean and a covariance of their own, float64, in which ours computes."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) / np.sqrt(d) + rng.normal(size=d)


def images(n, size, seed=0):
    """Smooth images with noise in [0, 1], float32."""
    rng = np.random.default_rng(seed)
    small = rng.random((n, size // 8, size // 8), np.float32)
    coarse = np.kron(np.random.default_rng(99).random((n, size // 8, size // 8)), np.ones((8, 8)))
    coarse = 0.8 * coarse + 0.2 * np.kron(small, np.ones((8, 8)))  # pairs of two seeds are alike
    return np.clip(coarse + 0.1 * rng.normal(size=(n, size, size)), 0, 1).astype(np.float32)


# --- what is compared: name, ours, {peer: function}, tolerance -----------------------------------------------------


def frechet(n, d):
    """Frechet distance; scipy's `sqrtm` of a d x d product is what most packages call."""
    import scipy.linalg
    import tensorflow as tf
    from tensorflow_gan.python.eval import classifier_metrics as tfgan

    a, b = gaussian(n, d), gaussian(n, d, 1)

    def with_scipy():
        s, t = (np.cov(x, rowvar=False) for x in (a, b))
        root = scipy.linalg.sqrtm(s @ t)
        return np.sum((a.mean(0) - b.mean(0)) ** 2) + np.trace(s + t - 2 * root.real)

    def with_tfgan():
        return float(tfgan.frechet_classifier_distance_from_activations(tf.constant(a), tf.constant(b)))

    peers = {"scipy sqrtm": with_scipy, "tensorflow-gan": with_tfgan}
    return f"Frechet distance {n} x {d}", lambda: generative.frechet_distance(a, b), peers, 0.02


def kernel(n, d):
    """KID."""
    import tensorflow as tf
    from sklearn.metrics.pairwise import polynomial_kernel
    from tensorflow_gan.python.eval import classifier_metrics as tfgan

    a, b = gaussian(n, d), gaussian(n, d, 1)

    def with_tfgan():
        x, y = tf.constant(a), tf.constant(b)
        return float(tfgan.kernel_classifier_distance_from_activations(x, y, max_block_size=n))

    def with_sklearn():
        xx, yy, xy = (polynomial_kernel(p, q, degree=3, coef0=1) for p, q in ((a, a), (b, b), (a, b)))
        within = sum((k.sum() - np.trace(k)) / (n * (n - 1)) for k in (xx, yy))
        return within - 2 * xy.mean()

    peers = {"tensorflow-gan": with_tfgan, "scikit-learn": with_sklearn}
    return f"kernel distance {n} x {d}", lambda: generative.kernel_distance(a, b), peers, 0.01


def rbf(n, d):
    """Squared MMD, biased, of a given bandwidth."""
    from sklearn.metrics.pairwise import rbf_kernel

    a, b = gaussian(n, d), gaussian(n, d, 1)

    def with_sklearn():
        return sum(s * rbf_kernel(p, q, 1 / 200).mean() for s, p, q in ((1, a, a), (1, b, b), (-2, a, b)))

    return f"MMD {n} x {d}", lambda: generative.mmd(a, b, 10.0, True), {"scikit-learn": with_sklearn}, 0.01


def structural(n, size):
    """MS-SSIM of n pairs."""
    import tensorflow as tf

    from tfmed.metrics.ms_ssim import feasible_scales

    a, b = images(n, size), images(n, size, 1)
    factors = tuple(np.array(WEIGHTS[: feasible_scales((size, size))]) / sum(WEIGHTS[: feasible_scales((size, size))]))

    def with_tensorflow():
        return tf.image.ssim_multiscale(a[..., None], b[..., None], 1.0, power_factors=factors).numpy().mean()

    return f"MS-SSIM {n} pairs {size}^2", lambda: ms_ssim(a, b).mean(), {"tf.image": with_tensorflow}, 0.01


def single(n, size):
    """SSIM, the only scale that scikit-image has."""
    from skimage.metrics import structural_similarity

    a, b = images(n, size), images(n, size, 1)
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1.0}

    def with_skimage():
        return np.mean([structural_similarity(x, y, **options) for x, y in zip(a, b, strict=True)])

    return f"SSIM {n} pairs {size}^2", lambda: ms_ssim(a, b, scales=1).mean(), {"scikit-image": with_skimage}, 0.02


def all_pairs(n, size):
    """Nearest of n images among n others."""
    import tensorflow as tf

    from tfmed.metrics.ms_ssim import feasible_scales

    a, b = images(n, size), images(n, size, 1)
    factors = tuple(np.array(WEIGHTS[: feasible_scales((size, size))]) / sum(WEIGHTS[: feasible_scales((size, size))]))

    def with_tensorflow():
        y = tf.constant(b[..., None])
        return np.mean([tf.image.ssim_multiscale(tf.constant(x[None, ..., None]), y, 1.0, factors).numpy().max()
                        for x in a])  # fmt: skip

    ours = lambda: neighbours.nearest(a, b).similarity.mean()  # noqa: E731
    return f"nearest of {n} among {n}, {size}^2", ours, {"tf.image": with_tensorflow}, 0.01


def balls(n, d):
    """Precision and recall."""
    from sklearn.neighbors import NearestNeighbors

    a, b = gaussian(n, d), gaussian(n, d, 1)

    def with_sklearn():
        shares = []
        for x, y in ((a, b), (b, a)):
            radii = NearestNeighbors(n_neighbors=4, algorithm="brute").fit(y).kneighbors(y)[0][:, 3]
            from sklearn.metrics import pairwise_distances

            shares.append((pairwise_distances(x, y) <= radii).any(axis=1).mean())
        return sum(shares)

    def own():
        found = manifold.precision_recall(a, b)
        return found.precision + found.recall

    return f"precision and recall {n} x {d}", own, {"scikit-learn": with_sklearn}, 0.05


def distance(n, d):
    """Mahalanobis distance."""
    from scipy.spatial.distance import cdist

    a, b = gaussian(n, d), gaussian(n, d, 1)

    def with_scipy():
        inverse = np.linalg.inv(np.cov(b, rowvar=False))
        return cdist(a, b.mean(axis=0)[None], "mahalanobis", VI=inverse).mean()

    return f"Mahalanobis {n} x {d}", lambda: mahalanobis(a, b).mean(), {"scipy": with_scipy}, 0.01


def template(size, side):
    """Centred template matching, which is all that scikit-image has."""
    from skimage.feature import match_template

    rng = np.random.default_rng(0)
    t, canvas = rng.random((size, size)), rng.random((side, side))
    ours = lambda: template_match(t, canvas, centred=True).max()  # noqa: E731
    return f"template {size}^2 in {side}^2", ours, {"scikit-image": lambda: match_template(canvas, t).max()}, 0.01


CASES = {
    "frechet": [(frechet, 1000, 2048), (frechet, 2000, 128)],
    "kernel": [(kernel, 1000, 2048), (kernel, 4000, 128)],
    "mmd": [(rbf, 4000, 128)],
    "ssim": [(structural, 64, 80), (structural, 16, 256), (single, 64, 80)],
    "nearest": [(all_pairs, 96, 80)],
    "manifold": [(balls, 3000, 128)],
    "mahalanobis": [(distance, 4000, 128)],
    "template": [(template, 80, 800)],
}


def cpu(function):
    """(CPU seconds of all threads, result)."""
    start = time.process_time()
    result = function()
    return time.process_time() - start, result


def compare(name, ours, peers, tolerance, repeats):
    """Take turns and print a line per peer; the slow peers of one turn are marked by an empty spread."""
    sides = {"ours": ours, **peers}
    results = {side: float(cpu(function)[1]) for side, function in sides.items() if side == "ours"}
    times = {side: [] for side in sides}
    for _ in range(repeats):
        for side, function in sides.items():
            if times[side] and times[side][0] > 30:  # once is enough
                continue
            seconds, results[side] = cpu(function)
            times[side].append(seconds)
    for peer in peers:
        gap = abs(results[peer] - results["ours"]) / max(abs(results["ours"]), 1e-12)
        agree = "" if gap <= tolerance else f"  DIFFER by {gap:.1%}"
        ratio = statistics.median(times[peer]) / statistics.median(times["ours"])
        print(f"{name:34} {spread(times['ours'])}  {peer:15} {spread(times[peer])}  {ratio:8.1f} x{agree}", flush=True)


def spread(values):
    """Median and quartiles in seconds."""
    low, high = np.percentile(values, [25, 75])
    return f"{statistics.median(values):9.3f} s [{low:.3f}, {high:.3f}]"


# --- memory ---------------------------------------------------------------------------------------------------------

MEMORY = {
    "Frechet distance, d = 256": ((256,), lambda x: generative.frechet_distance(x, x[: len(x) // 2])),
    "kernel distance, d = 256": ((256,), lambda x: generative.kernel_distance(x, x[:2000])),
    "MS-SSIM pairs, 80^2": ((80, 80), lambda x: ms_ssim(x, x[::-1])),
    "nearest of 32, 80^2": ((80, 80), lambda x: neighbours.nearest(x[:32], x)),
}


def peak(name, n):
    """Peak memory in MiB, beyond what importing takes, of a process that reads n samples from a file."""
    shape = MEMORY[name][0]
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "x.npy"
        samples = np.lib.format.open_memmap(path, "w+", np.float32, (n, *shape))
        for i in range(0, n, 500):
            samples[i : i + 500] = np.random.default_rng(i).random((len(samples[i : i + 500]), *shape), np.float32)
        samples.flush()
        del samples
        found = subprocess.run(
            [sys.executable, "-m", __spec__.name, "--peak", name, str(path)], capture_output=True, text=True
        )
        return float(found.stdout.split()[-1])


def report_peak(name, path):
    """In the child: a small part first, so that libraries are loaded, then the whole; anonymous memory alone counts."""
    samples = np.load(path, mmap_mode="r")
    MEMORY[name][1](samples[:400])
    before = _anonymous()
    import threading

    highest, done = [before], threading.Event()

    def watch():
        while not done.wait(0.01):
            highest.append(_anonymous())

    watcher = threading.Thread(target=watch)
    watcher.start()
    MEMORY[name][1](samples)
    done.set()
    watcher.join()
    print((max(highest) - before) / 1024)


def _anonymous():
    """KiB that are the process's own: pages of the mapped file are the system's to drop."""
    with open("/proc/self/status", encoding="ascii") as stream:
        return next(int(line.split()[1]) for line in stream if line.startswith("RssAnon"))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", choices=[*CASES, "memory"])
    parser.add_argument("--peak", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.peak:
        report_peak(*arguments.peak)
        return
    for group, cases in CASES.items():
        for make, *sizes in cases if arguments.only in (None, group) else ():
            compare(*functools.partial(make, *sizes)(), arguments.repeats)
    if arguments.only in (None, "memory"):
        print(f"\n{'peak memory beyond the start':34} {'n = 2000':>12} {'n = 16000':>12}")
        for name in MEMORY:
            print(f"{name:34} {peak(name, 2000):8.1f} MiB {peak(name, 16000):8.1f} MiB", flush=True)
    print(f"peak of this process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")


if __name__ == "__main__":
    main()
