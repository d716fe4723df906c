"""Several generators judged on one set of real images, as Tronchin et al. (DGM4MICCAI 2021) do, with null references.

A generator is any function `sample(n, label, seed)` that gives images `(n, H, W)` in [0, 1].
"""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from tfmed.metrics import neighbours
from tfmed.metrics.aggregate import mean_and_std
from tfmed.metrics.feature_plane import Ellipse, centre_distance, overlap, pca_ellipses
from tfmed.metrics.generative import frechet_distance, frechet_distances_at, kernel_distance, sliced_wasserstein
from tfmed.metrics.mahalanobis import dimensions, mahalanobis, null_mahalanobis
from tfmed.metrics.manifold import density_coverage, precision_recall
from tfmed.metrics.template_matching import nearest_templates
from tfmed.metrics.two_sample import TwoSample, auxiliary_classifiers, check_disjoint, two_sample_test
from tfmed.training.image_discriminator import Discriminator, train_discriminator

TEMPLATES = 100  # images of a set that are matched as templates
FEWEST = 8  # images of a class in a part of the real data


@dataclasses.dataclass(frozen=True)
class Real:
    """Real images of one class.

    Args:
        train, test: `(n, H, W)` and `(m, H, W)` in [0, 1]; generators saw `train` only.
        train_groups, test_groups: the patient of each, or nothing where they are not known.

    Raises:
        ValueError: a patient in both parts, or too few images.
    """

    train: np.ndarray
    test: np.ndarray
    train_groups: Sequence[str] = ()
    test_groups: Sequence[str] = ()

    def __post_init__(self) -> None:
        check_disjoint(self.train_groups, self.test_groups)
        for name in ("train", "test"):
            if len(getattr(self, name)) < FEWEST:
                count = len(getattr(self, name))
                raise ValueError(f"{count} real {name} images are too few to judge by; at least {FEWEST} are needed")


@dataclasses.dataclass
class Judgement:
    """What was found.

    Args:
        rows: of every run: scores with the seed that they were made with.
        auxiliary: of every run and plain classifier.
        structure: of every model and class: medians of nearest similarities, flags, mean MS-SSIM, template matches.
        plane: of every model and class: how its ellipse lies to that of the real images.
        ellipses: class -> {model or "reference": Ellipse}.
        nearest: (model, class) -> (synthetic images, the training image nearest to each, Similarities).
    """

    rows: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    auxiliary: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    structure: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    plane: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    ellipses: dict[str, dict[str, Ellipse]] = dataclasses.field(default_factory=dict)
    nearest: dict[tuple[str, str], tuple[np.ndarray, np.ndarray, neighbours.Similarities]] = dataclasses.field(
        default_factory=dict
    )

    def table(
        self, rows: list[dict[str, Any]] | None = None, keys: Sequence[str] = ("model", "class")
    ) -> list[dict[str, Any]]:
        """One row per model and class: "<score> mean" and "<score> std" over the runs."""
        found: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
        for row in self.rows if rows is None else rows:
            found.setdefault(tuple(row[key] for key in keys), []).append(row)
        return [dict(zip(keys, key, strict=True)) | {"runs": len(group)} | _mean_and_std(group, keys)
                for key, group in found.items()]  # fmt: skip


def _mean_and_std(rows: list[dict[str, Any]], keys: Sequence[str]) -> dict[str, float]:
    table: dict[str, float] = {}
    for name in rows[0]:
        if name not in (*keys, "run", "seed"):
            values = [row[name] for row in rows]
            table |= mean_and_std(name, values)
    return table


def judge(
    models: Mapping[str, Callable[[int, Any, int], np.ndarray]],
    real: Mapping[Any, Real],
    runs: int = 50,
    seed: int = 0,
    feature_net: str = "own",
    auxiliary: bool = True,
    most: int | None = None,
    flag_level: float = 0.01,
    progress: Callable[[list[tuple[Any, int]]], Iterable[tuple[Any, int]]] = list,
    draw: Callable[[int], np.random.Generator] = np.random.default_rng,
    **training: Any,
) -> Judgement:
    """Judge generators; the Judgement holds every score of every run, with what a perfect generator would score.

    In each run new synthetic images are drawn, and a network is trained to tell synthetic from real training images; on
    the test images it gives the two-sample test, and its features the distances.

    Args:
        models: name -> `sample(n, label, seed)`.
        real: label -> Real.
        runs: trainings per model and class.
        seed: everything is derived from it.
        feature_net: whose features distances are measured in. "own": of each model's own network, as published; two
            models' distances are then on two scales. "shared": of one network per class, trained on real images against
            an equal number of synthetic ones, of all models alike.
        auxiliary: also train plain classifiers on the features.
        most: images per set whose nearest ones are looked for, a random choice; None: all. Copies are always looked
            for among all training images, so that none is missed.
        flag_level: see `neighbours.flags`.
        progress: wraps the list of (class, run) that is worked through.
        draw: seed -> numpy Generator, which chooses images for nearest ones and templates.
        training: of `train_discriminator` and its network.
    """
    if feature_net not in ("own", "shared"):
        raise ValueError(f"feature_net: {feature_net!r} is none of own, shared")
    found = Judgement()
    for label, run in progress([(label, run) for label in real for run in range(runs)]):
        run_seed = seed + 1000 * run
        samples = {name: _draw(sample, real[label], label, run_seed) for name, sample in models.items()}
        networks = {name: train_discriminator(real[label].train, made[0], run_seed, **training)
                    for name, made in samples.items()}  # fmt: skip
        judges = _feature_networks(networks, samples, real[label], feature_net, run_seed, training)
        described = {name: _features(network, real[label], samples[name]) for name, network in judges.items()}
        for name, network in networks.items():
            row = {"model": name, "class": str(label), "run": run, "seed": run_seed}
            found.rows.append(row | _scores(network, real[label], samples[name], described[name], run_seed))
            if auxiliary:
                real_train, made_train, real_test, made_test = described[name]
                plain = auxiliary_classifiers(real_train, made_train, real_test, made_test, run_seed)
                found.auxiliary += [row | {"classifier": kind} | _shares(test) for kind, test in plain.items()]
        if run == 0:
            _look(found, label, described)
            _structure(found, label, real[label], samples, draw(seed), seed, most, flag_level)
    return found


def _draw(sample: Callable[[int, Any, int], np.ndarray], real: Real, label: Any, seed: int) -> list[np.ndarray]:
    """(synthetic training images, synthetic test images), as many as there are real ones."""
    drawn = []
    for number, count in enumerate((len(real.train), len(real.test))):
        images = np.asarray(sample(count, label, seed + number))
        if images.shape != (count, *np.shape(real.train)[1:]):
            wanted = (count, *np.shape(real.train)[1:])
            raise ValueError(f"the generator gave images of shape {images.shape} where {wanted} are wanted")
        drawn.append(images)
    return drawn


def _feature_networks(
    networks: dict[str, Discriminator],
    samples: Mapping[str, Sequence[np.ndarray]],
    real: Real,
    feature_net: str,
    seed: int,
    training: dict[str, Any],
) -> dict[str, Discriminator]:
    if feature_net == "own":
        return networks
    rng, share = np.random.default_rng(seed), -(-len(real.train) // len(samples))
    union = np.concatenate([made[0][rng.permutation(len(made[0]))[:share]] for made in samples.values()])
    return dict.fromkeys(samples, train_discriminator(real.train, union, seed, **training))


def _features(network: Discriminator, real: Real, made: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Features of (real training, synthetic training, real test, synthetic test) images."""
    return [network.features(images) for images in (real.train, made[0], real.test, made[1])]


def _scores(
    network: Discriminator, real: Real, made: Sequence[np.ndarray], described: Sequence[np.ndarray], seed: int
) -> dict[str, float]:
    _, _, reference, features = described
    n, d = reference.shape
    half = n // 2
    test = two_sample_test(network.probability(made[1]), network.probability(real.test))
    order = np.random.default_rng(seed).permutation(n)
    row = dataclasses.asdict(test)
    row["Mahalanobis"] = float(mahalanobis(features, reference).mean())
    if n >= d + 2:  # units that never fire leave fewer dimensions, of one network more than of another
        row["Mahalanobis null"] = null_mahalanobis(n, dimensions(reference))
    row |= {
        "Mahalanobis half": float(mahalanobis(features, reference[order[:half]]).mean()),
        "Mahalanobis real halves": float(mahalanobis(reference[order[half:]], reference[order[:half]]).mean()),
        "Frechet": frechet_distance(features, reference),
        "Frechet half": float(frechet_distances_at(half, reference, features, 5, seed).mean()),
        "Frechet real halves": float(frechet_distances_at(half, reference, None, 5, seed).mean()),
        "kernel distance": kernel_distance(features, reference),
        "sliced Wasserstein": sliced_wasserstein(features, reference, 128, seed=seed),
    }
    manifold, more = precision_recall(features, reference), density_coverage(features, reference)
    return row | {"manifold precision": manifold.precision, "manifold recall": manifold.recall,
                  "density": more.density, "coverage": more.coverage}  # fmt: skip


def _shares(test: TwoSample) -> dict[str, float]:
    return {"recall": test.recall, "specificity": test.specificity}


def _look(found: Judgement, label: Any, described: Mapping[str, Sequence[np.ndarray]]) -> None:
    """Each model's ellipse in the plane of the real test images, whose features are averaged over the networks."""
    reference = np.mean([features[2] for features in described.values()], axis=0)
    ellipses = pca_ellipses(reference, {name: features[3] for name, features in described.items()})
    found.ellipses[str(label)] = ellipses
    for name in described:
        pair = ellipses["reference"], ellipses[name]
        numbers = {"centre distance": centre_distance(*pair), "overlap": overlap(*pair)}
        found.plane.append({"model": name, "class": str(label)} | numbers)


def _structure(
    found: Judgement,
    label: Any,
    real: Real,
    samples: Mapping[str, Sequence[np.ndarray]],
    rng: np.random.Generator,
    seed: int,
    most: int | None,
    flag_level: float,
) -> None:
    """Nearest similarities of the first run's images; those among real images are looked for once per class.

    Templates are 100 random images of a set, matched with 100 random ones.
    """
    train, control = (np.asarray(images, np.float32) for images in (real.train, real.test))
    made = {name: np.asarray(np.clip(images, 0, 1), np.float32) for name, (images, _) in samples.items()}
    some, control = _chosen(train, most, rng), control[_chosen(control, most, rng)]
    few = {name: images[_chosen(images, most, rng)] for name, images in made.items()}
    templates = _some(train, rng)
    among_real, real_templates = neighbours.nearest(train[some]), nearest_templates(templates)
    among_all = neighbours.nearest(train, chosen=some) if len(some) < len(train) else None
    for name, synthetic in few.items():
        copies = neighbours.nearest(synthetic, train)
        similar = neighbours.Similarities(neighbours.nearest(synthetic), copies, among_real, among_all)
        found.nearest[name, str(label)] = (synthetic, train[copies.index], similar)
        own_templates = _some(made[name], rng)
        matches = nearest_templates(own_templates), nearest_templates(own_templates, templates), real_templates
        found.structure.append(
            {"model": name, "class": str(label)}
            | similar.medians()
            | {"S_test": float(np.median(neighbours.nearest(synthetic, control).similarity))}
            | neighbours.flags(similar, level=flag_level)
            | {"mean MS-SSIM": neighbours.mean_similarity(made[name], 500, seed)}
            | {f"template {kind}": float(np.median(found.similarity))
               for kind, found in zip(("S_S", "S_R", "R_R"), matches, strict=True)}
        )  # fmt: skip


def _chosen(images: np.ndarray, most: int | None, rng: np.random.Generator) -> np.ndarray:
    """Numbers of `most` images, drawn at random, or of all."""
    return np.sort(rng.permutation(len(images))[:most])


def _some(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """`TEMPLATES` images drawn at random, or all: the first ones may be those of few patients."""
    return images[_chosen(images, TEMPLATES, rng)]
