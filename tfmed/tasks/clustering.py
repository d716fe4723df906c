"""What methods share that sort unlabelled images into clusters: views of slices, grouping, scores, names, sheets."""

import functools
import math
from typing import Literal

import keras
import numpy as np
import tensorflow as tf
from pydantic import Field, PositiveInt, field_validator

from tfmed.augment.views import centre_box, centre_views, resized_crop, resized_view
from tfmed.config import MethodConfig, Voxels
from tfmed.data import checks, pseudo_labels
from tfmed.data.checks import CaseSpec
from tfmed.data.pipeline import Samples
from tfmed.data.sampling import Stream
from tfmed.engine.abilities import CanEvaluate, CanExport, CanPredict, CanPreview, Evaluation, Split
from tfmed.engine.exporting import ExportModule
from tfmed.engine.method import Method, Rounds
from tfmed.engine.terminal import log
from tfmed.errors import DataError, RunError
from tfmed.metrics import clustering as metrics
from tfmed.pictures.clusters import ClusterSizes
from tfmed.pictures.images import ImageGrid
from tfmed.tasks.sorter import Sorter, evenly, named

_VIEWS, _PASS = Stream("clustering.views"), Stream("clustering.pass")
_KMEANS, _HEADS, _DEALT = Stream("clustering.kmeans"), Stream("clustering.heads"), Stream("clustering.dealt")
_SHEET, _NEAREST = 12, 10  # clusters of a contact sheet, and images of each
_PIXELS, _COMPONENTS = 16, 50  # side of the pictures that k-means on pixels sees; components left of them
CLUSTERS = "clusters.csv"


class ClusteringConfig(MethodConfig):
    """Which images there are, how they are seen, and how they are grouped."""

    # images
    image: str = "image"  # which image of a case
    slices: PositiveInt | None = None  # of a volume, evenly spread; null: all
    image_size: Voxels = 224  # pixels of a side, as the network sees images
    channels: Literal[1, 3] = 1  # 3: the grey values three times
    zscore: Literal["image", "global"] = "image"  # by each image's own mean and deviation, or by those of all
    # random views
    rotation: tuple[float, float] = (-15.0, 15.0)  # degrees
    area: tuple[float, float] = (0.08, 1.0)  # of a crop, by that of the image
    aspect: tuple[float, float] = (3 / 4, 4 / 3)  # of a crop, width by height
    hflip: bool = False
    # clusters
    kinds: PositiveInt = 13  # how many sorts of images are expected
    multiplier: PositiveInt = 8  # clusters for each of them
    cluster_view: Literal["augmented", "clean"] = "augmented"  # what the grouping sees
    kmeans: Literal["lloyd", "minibatch"] = "lloyd"
    kmeans_iterations: int = Field(20, ge=1, le=10_000)
    pca: PositiveInt | None = None  # components to which features are reduced, whitened, before; null: they are not
    sampler: Literal["uniform", "natural"] = "uniform"  # clusters all alike, or images
    reassign: float = Field(1.0, gt=0, le=1000)  # epochs between two groupings
    epochs: PositiveInt = 200  # at most; and no more than `train.steps`
    targets: Literal["clusters", "classes"] = "clusters"  # classes: the cases' own, as an upper bound

    @field_validator("rotation", "area", "aspect")
    @classmethod
    def _in_order(cls, value, info):
        least, most = {"rotation": (-360, 360), "area": (1e-4, 1), "aspect": (0.01, 100)}[info.field_name]
        if not least <= value[0] <= value[1] <= most:
            raise ValueError(f"{info.field_name}: give (least, most) within {least:g} .. {most:g}")
        return value

    @property
    def clusters(self):
        """k."""
        return self.kinds * self.multiplier


class ClusteringMethod(Method, CanPredict, CanPreview, CanEvaluate, CanExport):
    """Base of methods that learn from clusters of their own features; its config is a `ClusteringConfig`.

    A subclass gives `stages`, one of them by `clustering_stage`. Every slice of a case's image is an image.
    """

    Config = ClusteringConfig

    def __init__(self, settings):
        super().__init__(settings)
        self.pseudo = None  # labels that samples have, once there are samples
        self._readable = {}

    # --- images -------------------------------------------------------------------------------------------------------

    @property
    def case_spec(self):
        """One image, of one slice or more, per case."""
        return CaseSpec(images=(self.config.image,), minimum_shape=(1, 8, 8))

    def prepared(self, part, progress=None):
        """The cases of a part of the split that can be read; others are named.

        Raises:
            DataError: there is none.
        """
        if part not in self._readable:
            good, progress = [], progress or (lambda items, text: items)
            for case in progress(self.cases[part], "Preparing cases"):
                known = checks.is_phantom(case) or self.cache.has(case, self.case_spec)
                if problems := [] if known else self.problems(case):
                    log.warning("left out: %s", problems[0])
                else:
                    good.append(case)
            if not good:
                raise DataError("no image can be read; check data.root and data.options")
            self._readable[part] = good
        return self._readable[part]

    def listed(self, part):
        """[(case, slice)] of all images of a part, in the order of their numbers."""
        return [(case, int(z)) for case in self.prepared(part)
                for z in evenly(self.volume(case).shape[0], self.config.slices)]  # fmt: skip

    @functools.cached_property
    def images(self):
        """[(case, slice)] of the training images, as when the run was begun."""
        found, cases = self.training_images(), {case.id: case for case in self.prepared("train")}
        if missing := [name for name, _ in found if name not in cases]:
            raise DataError(f"{missing[0]}: was read when the run was begun, and cannot be now; put it back")
        return [(cases[name], z) for name, z in found]

    def training_images(self):
        """[[id of a case, slice]] of the training images; None of a run that was never begun."""
        return self.records.recall("images", lambda: [[case.id, z] for case, z in self.listed("train")])

    def volume(self, case):
        """A case's prepared image `(z, y, x)`, a memory map."""
        return self.cache.get(case.images[self.config.image], series_uid=case.meta.get("series_uid")).array

    def clean(self, one):
        """The clean view `(size, size, 1)` of a (case, slice): the square in its middle."""
        pixels = self.volume(one[0])[one[1]]
        return resized_view(pixels, centre_box(pixels.shape), self.config.image_size)[..., None]

    def augmented(self, one, draw):
        """A random view `(size, size, 1)` of a (case, slice): turned, cropped, resized, perhaps mirrored."""
        config, pixels = self.config, self.volume(one[0])[one[1]]
        degrees, mirrored = draw.uniform(*config.rotation), config.hflip and draw.random() < 0.5
        box = resized_crop(draw, pixels.shape, config.area, config.aspect)
        return resized_view(pixels, box, config.image_size, degrees, mirrored)[..., None]

    def intensities(self):
        """[mean, deviation] of all training images' values, for `zscore: global`; else None."""
        if self.config.zscore == "image":
            return None
        return self.records.recall("intensities", self._measured)

    def _measured(self):
        count, total, squares = 0, 0.0, 0.0
        for case, z in self.images:
            values = np.asarray(self.volume(case)[z], np.float64)
            count, total, squares = count + values.size, total + values.sum(), squares + (values**2).sum()
        return [total / count, max(float(np.sqrt(max(squares / count - (total / count) ** 2, 0))), 1e-6)]

    # --- training -----------------------------------------------------------------------------------------------------

    @property
    def round_length(self):
        """(samples chosen for a round, steps of a round)."""
        length = max(1, round(self.config.reassign * len(self.training_images())))
        return length, -(-length // self.settings.train.batch_size)

    def clustering_stage(self, name, model, rate):
        """The Stage of alternate grouping and learning, of a class of `training.clustering.GroupingModel`s made as
        `model(config, rate, count=images, intensities=...)`; None of a run that was never begun.

        Raises:
            DataError: fewer images than clusters.
        """
        found, config, train = self.training_images(), self.config, self.settings.train
        if found is None:
            return None
        if len(found) < config.clusters:
            raise DataError(f"{len(found)} images make no {config.clusters} clusters; add images, or lower model.kinds "
                            "or model.multiplier")  # fmt: skip
        if config.targets == "classes" and not self.records.frozen:
            self.class_numbers(self.images, True)
        length, steps = self.round_length

        def samples():
            shape = (config.image_size, config.image_size, 1)
            first = np.arange(len(found)) % config.clusters
            how = (self.settings.seed, length, steps * train.batch_size, config.sampler == "uniform")
            self.pseudo = pseudo_labels.PseudoLabels(first, *how)

            def read(index):
                image, label = self.pseudo.of(index)
                return {"image": self.augmented(self.images[image], _VIEWS(self.settings.seed, index)), "label": label}

            return Samples(read, {"image": (shape, "float32"), "label": ((), "int32")}, train.batch_size)

        total = min(train.steps, math.ceil(config.epochs / config.reassign) * steps)
        rounds, options = Rounds(steps, self.begin_round), {"count": len(found), "intensities": self.intensities()}
        return self.stage(name, model, samples, rate, steps=total, rounds=rounds, **options)

    def begin_round(self, model, step, last):
        """Group all training images anew, and give the head new weights; numbers that say what changed.

        Within a round that is taken up again the labels are those of the checkpoint.
        """
        steps = self.round_length[1]
        number, within = divmod(step, steps)
        if within and not last:
            self.pseudo.use(model.assignment.numpy())
            return {}
        supervised = self.config.targets == "classes"
        before = (model.groups if supervised else model.assignment).numpy()
        groups, centres, distances = self.grouping(model, number + (within > 0))
        agreement = metrics.nmi(groups, before) if step else float("nan")
        model.keep_grouping(groups, centres, distances, agreement)
        if not last:
            if supervised:
                model.learn(self.class_numbers(self.images, True)[0])
            else:
                model.learn(groups)
                model.renew_head(_HEADS(self.settings.seed, number))
            self.pseudo.use(model.assignment.numpy())
        sizes = np.bincount(groups, minlength=self.config.clusters)
        found = {"nmi_previous": agreement} if step else {}
        found |= {"clusters": float((sizes > 0).sum()), "largest_share": sizes.max() / len(groups)}
        labels = self.class_numbers(self.images)
        if labels is not None:
            found |= {"nmi_labels": metrics.nmi(groups, labels[0]), "purity": metrics.purity(groups, labels[0])}
        return found

    def grouping(self, model, number):
        """(cluster of each training image, centres, distances) by k-means number `number` on the model's features."""
        config, seed = self.config, self.settings.seed
        call = model.features if config.pca else model.embedded
        rows = self.rows(model, call, self.images, number if config.cluster_view == "augmented" else None)
        if config.pca:
            if config.pca > min(len(rows) - 1, model.width):
                raise DataError(f"model.pca: {len(rows)} images of {model.width} features have no {config.pca} "
                                "components; lower it")  # fmt: skip
            offset, projection = pseudo_labels.whitening(rows, config.pca)
            model.keep_reduction(offset, projection)
            rows = pseudo_labels.unit_rows((rows - offset) @ projection).astype(np.float32)
        how = (config.kmeans_iterations, config.kmeans == "minibatch")
        draw = int(_KMEANS(seed, number).integers(2**31))
        groups, centres = pseudo_labels.kmeans(rows, config.clusters, draw, *how)
        return groups, centres, pseudo_labels.distances_from(rows, centres, groups)

    def rows(self, model, call, images, number=None):
        """Features `(n, width)` of images, a memory map.

        Args:
            model: whose `call` gives features of a batch.
            images: list of (case, slice).
            number: of the pass over random views, one of each image; None: clean views.
        """

        def read(k):
            if number is None:
                return self.clean(images[k])
            return self.augmented(images[k], _PASS(self.settings.seed, number, k))

        size, batch = self.config.image_size, min(self.settings.train.batch_size, len(images))
        takes = [tf.TensorSpec((None, size, size, 1), tf.float32)]
        features = self.compiled(call.__name__, model.network, call, takes)
        found = pseudo_labels.feature_pass(read, len(images), (size, size, 1), features, model.width, batch)
        if not np.isfinite(found).all():
            raise RunError("the network's features are not finite; lower model.learning_rate, or look at the data with "
                           "'tfmed prepare'")  # fmt: skip
        return found

    def class_numbers(self, images, needed=False):
        """(class numbers `(n,)`, names of the classes) of images by their cases; None where a case has none.

        Raises:
            DataError: they are needed, and there are none, or more than clusters.
        """
        found = [case.meta.get("class") for case, _ in images]
        if needed and None in found:
            raise DataError("model.targets: classes needs a class of every case, such as by a class_pattern")
        if None in found:
            return None
        names, numbers = np.unique(found, return_inverse=True)
        if needed and len(names) > self.config.clusters:
            raise DataError(f"{len(names)} classes are more than {self.config.clusters} clusters; raise model.kinds")
        return np.ravel(numbers), [str(name) for name in names]

    # --- scores -------------------------------------------------------------------------------------------------------

    def grouped(self, images, part):
        """Cluster of each image: of training images that of the last grouping, of others the nearest centre's."""
        if part == "train":
            return self.model.groups.numpy()
        rows = self.rows(self.model, self.model.embedded, images)
        return pseudo_labels.nearest(rows, self.model.centres.numpy())[0]

    def evaluate(self, methods, part: Split = "train"):
        """{"evaluation": a row for each way of grouping the images, "clusters": a row for each cluster, "groups": a
        row for each image}, and contact sheets.

        Beside each run stand random clusters, k-means on small pictures, on 50 components of these, and on features of
        a network that has learnt nothing. Names in an earlier clusters.csv of the run are kept.

        Args:
            methods: name of the run -> its Method, this one among them; each is scored on its own images.
            part: of the split; all images train by default, and there are no others.

        Raises:
            RunError: there are no such cases, or clusters.csv is of another grouping.
        """
        rows = []
        for run, method in methods.items():
            if not method.cases[part]:
                raise RunError(f"{run}: no case is in the part {part!r} of the split; choose another --part")
            images = method.images if part == "train" else method.listed(part)
            labels = method.class_numbers(images)
            for name, groups in method.groupings(images, part).items():
                shared = {"run": run, "grouping": name, "part": part, "images": len(images)}
                agreement = float(method.model.agreement.numpy()) if name == "trained" and part == "train" else np.nan
                rows.append(shared | scores(groups, labels, method.config.clusters) | {"NMI previous": agreement})
        images = self.images if part == "train" else self.listed(part)
        groups = self.grouped(images, part)
        tables = {"evaluation": rows, "clusters": self.table(), "groups": self.sorted_images(images, groups)}
        return Evaluation(tables, self.previews())

    def groupings(self, images, part):
        """{way: cluster of each image}: the trained network's, and four that need none."""
        seed, count = self.settings.seed, min(self.config.clusters, len(images))
        pixels = np.stack([resized_view(self.clean(one)[..., 0], (0, 0, *[self.config.image_size] * 2), _PIXELS).ravel()
                           for one in images])  # fmt: skip
        pixels = (pixels - pixels.mean(1, keepdims=True)) / (pixels.std(1, keepdims=True) + 1e-6)
        keras.utils.set_random_seed(seed)  # the weights that training began with, whatever was drawn before
        fresh = next(iter(self.stages())).model()
        offset, matrix = pseudo_labels.whitening(pixels, min(_COMPONENTS, len(images) - 1, pixels.shape[1]))
        compressed = ((pixels - offset) @ (matrix / np.linalg.norm(matrix, axis=0))).astype(np.float32)
        random = self.rows(fresh, fresh.features, images, 0 if self.config.cluster_view == "augmented" else None)
        tables = {"k-means on pixels": pixels.astype(np.float32), "PCA and k-means on pixels": compressed,
                  "k-means on random features": pseudo_labels.unit_rows(random).astype(np.float32)}  # fmt: skip
        found = {"trained": self.grouped(images, part)}
        found |= {name: pseudo_labels.kmeans(table, count, seed)[0] for name, table in tables.items()}
        return found | {"random": _DEALT(seed, 0).integers(0, self.config.clusters, len(images))}

    def table(self):
        """Rows of clusters.csv: the clusters, with the names that a person gave them and the commonest class."""
        labels, groups, names = self.class_numbers(self.images), self.model.groups.numpy(), self.names()
        rows = []
        for cluster in range(self.config.clusters):
            own = groups == cluster
            row = {"id": cluster, "name": names[cluster], "images": int(own.sum())}
            if labels is not None:
                counts = np.bincount(labels[0][own], minlength=len(labels[1]))
                row |= {"class": labels[1][counts.argmax()] if own.any() else "",
                        "class share": counts.max() / own.sum() if own.any() else np.nan}  # fmt: skip
            rows.append(row)
        return rows

    def names(self):
        """What a person called the clusters, in clusters.csv of the run; "" where nobody did.

        Raises:
            RunError: the table is of another grouping.
        """
        folder, count = self.records.folder, self.config.clusters
        path = None if folder is None else folder.parent / CLUSTERS
        if path is None or not path.exists():
            return [""] * count
        found, sizes = named(path, count, "images")
        own = np.bincount(self.model.groups.numpy(), minlength=count)
        if any(size and size != str(number) for size, number in zip(sizes, own, strict=True)):
            raise RunError(f"{path}: is of another grouping than the model's; move it away, and evaluate the run again")
        return found

    def sorted_images(self, images, groups):
        """Rows of a table of images: case, slice, cluster and its name."""
        names = self.names()
        return [{"case": case.id, "slice": z, "cluster": int(cluster), "name": names[cluster]}
                | ({"class": case.meta["class"]} if "class" in case.meta else {})
                for (case, z), cluster in zip(images, groups, strict=True)]  # fmt: skip

    # --- pictures -----------------------------------------------------------------------------------------------------

    def previews(self):
        """The training images nearest to each cluster's centre, a dozen clusters to a sheet, and how large all are."""
        groups, away = self.model.groups.numpy(), self.model.distances.numpy()
        sizes, names = np.bincount(groups, minlength=self.config.clusters), self.names()
        rows = {}
        for cluster in np.argsort(-sizes, kind="stable"):
            own = np.flatnonzero(groups == cluster)
            chosen = own[np.argsort(away[own], kind="stable")][:_NEAREST]
            title = f"cluster {cluster}{f', {names[cluster]}' if names[cluster] else ''}: {sizes[cluster]} images"
            if len(own):
                rows[title] = [_grey(self.clean(self.images[k])[..., 0]) for k in chosen]
        sheets = {"cluster_sizes": ClusterSizes(sizes.tolist())}
        caption = (
            "Of each cluster the training images nearest to its centre, from the nearest on; large clusters first."
        )
        titles = list(rows)
        for number, first in enumerate(range(0, len(titles), _SHEET), 1):
            shown = {title: rows[title] for title in titles[first : first + _SHEET]}
            sheets[f"clusters{number:02d}"] = ImageGrid(shown, (0.0, 1.0), caption)
        return sheets

    # --- using a trained model ----------------------------------------------------------------------------------------

    def distances(self, slices):
        """Slices `(n, y, x)` float32, a tensor -> distances `(n, clusters)` from all centres, by clean views."""
        return self.model.centre_distances(centre_views(slices, self.config.image_size)[..., None])

    def sorter(self):
        """The `Sorter` of the trained model."""
        takes = [tf.TensorSpec((None, None, None), tf.float32)]
        compute = self.compiled("distances", self.model.network, self.distances, takes)
        return Sorter(self.preprocessing(), self.config.slices, self.names(), lambda slices: compute(slices).numpy())

    def predict(self, words, out, outputs=None):
        """Write `groups.csv`; see `Sorter.predict`."""
        return self.sorter().predict(words, out, outputs)

    def export_module(self):
        """Of a prepared `image` `(z, y, x)` float32 it gives each slice's `cluster` `(z,)` and `distances` `(z, k)`."""

        def call(image):
            found = self.distances(image)
            return {"cluster": tf.argmin(found, 1, tf.int32), "distances": found}

        takes = [tf.TensorSpec((None, None, None), tf.float32, "image")]
        return ExportModule([self.model], {"serving_default": (call, takes)}, self.sorter().note())


def scores(groups, labels, clusters):
    """A row of what a grouping is worth; without labels (None) the number of clusters and their sizes alone."""
    sizes = np.unique(groups, return_counts=True)[1]
    row = {"clusters": len(sizes), "largest share": sizes.max() / len(groups)}
    if labels is None:
        return row
    numbers, names = labels
    return row | {
        "classes": len(names),
        "NMI labels": metrics.nmi(groups, numbers),
        "NMI ceiling": metrics.nmi_ceiling(numbers, clusters),
        "purity": metrics.purity(groups, numbers),
        "purity floor": np.bincount(numbers).max() / len(numbers),
        "assignment accuracy": metrics.assignment_accuracy(groups, numbers),
    }


def _grey(image):
    """An image as shown: from its 0.5th to its 99.5th percentile, 0 to 1."""
    low, high = np.percentile(image, [0.5, 99.5])
    return np.clip((image - low) / max(high - low, 1e-6), 0, 1)
