"""BrainNetGANMethod: subjects, training, pictures, the paper's two tables, sampling and export."""

import functools

import numpy as np
import tensorflow as tf

from tfmed.data import connectomes, sources, splits
from tfmed.data.connectomes import Connectomes
from tfmed.data.pipeline import Samples
from tfmed.data.sampling import shuffled
from tfmed.engine.abilities import Evaluation, Seed
from tfmed.engine.exporting import ExportModule
from tfmed.errors import DataError
from tfmed.io.connectome import write_connectome
from tfmed.methods.brainnetgan.classification import GraphClassifier, joined, oversampled
from tfmed.methods.brainnetgan.model import BrainNetGAN, Config, sampled
from tfmed.metrics.aggregate import mean_and_std
from tfmed.metrics.graph import similarity
from tfmed.pictures.connectomes import Connectivity
from tfmed.tasks.generation import GenerationMethod


class BrainNetGANMethod(GenerationMethod):
    """Class-conditional generation of connectomes."""

    Config = Config

    # --- data -----------------------------------------------------------------------------------------------------

    @functools.cached_property
    def cases(self):
        """{"train", "validation", "test"} -> list of Case; each class is split alike, and never a subject."""
        data = self.settings.data
        cases = sources.open(data.source, data.root, **data.options)
        groups = {}
        for case in cases:
            if groups.setdefault(case.group, case.meta.get("class")) != case.meta.get("class"):
                raise DataError(f"{case.id}: subject {case.group} is of two classes; set data.options.group_pattern")
        classes = {}
        for case in sorted(cases, key=lambda case: str(case.meta.get("class"))):
            classes.setdefault(f"class {case.meta.get('class')}", []).append(case)
        return splits.joined(self.split(classes))

    @property
    def image_names(self):
        return (self.config.image,)

    def problems(self, case):
        return connectomes.problems_of(case, self.config.image, self.config.regions, self.config.one_triangle)

    def prepared(self, part, progress=None):
        """The cases of a part, read and checked."""
        self.connectomes(part)
        return self.cases[part]

    @functools.cache  # noqa: B019 - a method lives as long as its run
    def connectomes(self, part):
        """The Connectomes of a part of the split, scaled."""
        c = self.config
        scale = c.scale if c.scale == "own" else self._largest
        found = connectomes.read_all(self.cases[part], c.classes, c.image, c.one_triangle, c.log_counts, scale)
        have = found.matrices.shape[-1]
        if have != c.regions:
            raise DataError(f"{found.ids[0]}: has {have} regions; set model.regions to that, not {c.regions}")
        return found

    @functools.cached_property
    def _largest(self):
        """The largest entry of the training matrices."""
        c = self.config
        plain = connectomes.read_all(self.cases["train"], c.classes, c.image, c.one_triangle, c.log_counts, 1.0)
        return float(plain.matrices.max())

    def samples(self):
        """Samples: a matrix and the number of its class."""
        found, seed = self.connectomes("train"), self.settings.seed

        def read(index):
            k = shuffled(seed, index, len(found))
            return {"matrix": found.matrices[k], "label": found.labels[k]}

        spec = {"matrix": ((self.config.regions,) * 2, "float32"), "label": ((), "int32")}
        return Samples(read, spec, self.per_step)

    # --- training -------------------------------------------------------------------------------------------------

    @property
    def per_step(self):
        return self.settings.train.batch_size * self.config.critic_steps

    def stages(self):
        yield self.stage("gan", BrainNetGAN, self.samples, self.config.learning_rate, per_step=self.per_step)

    # --- using a trained model ------------------------------------------------------------------------------------

    def generate(self, count, seed=0, labels=None):
        """Connectomes of `count` samples; labels by default in turn, so that classes are balanced."""
        labels = np.arange(count) % len(self.config.classes) if labels is None else np.asarray(labels)
        matrices = self.model.sample(labels, seed)
        return Connectomes(matrices, labels.astype(np.int32), tuple(f"generated-{i}" for i in range(count)))

    def like(self, real, seed=0):
        """As many generated connectomes of each class as a set has."""
        return self.generate(len(real), seed, real.labels)

    def sample(self, count, seed=0):
        """`count` pairs (class name, matrix `(d, d)` float32 in [0, 1]), classes in turn."""
        found = self.generate(count, seed)
        yield from zip((self.config.classes[label] for label in found.labels), found.matrices, strict=True)

    def write_sample(self, item, folder, name):
        """Write a pair that `sample` gave as `<class>/<name>.csv`; returns the path."""
        path = folder / item[0] / f"{name}.csv"
        write_connectome(item[1], path)
        return path

    def previews(self):
        """Mean real and generated matrix of each class, and one generated matrix."""
        real, shown = self.connectomes("train"), {}
        made = self.like(real, self.settings.seed)
        for number, name in enumerate(self.config.classes):
            if len(own := real.of_class(number)):
                generated = made.of_class(number)
                shown |= {f"{name}: mean real": own.mean(0), f"{name}: mean generated": generated.mean(0)}
                shown |= {f"{name}: a real one": own[0], f"{name}: a generated one": generated[0]}
        return {"connectomes": Connectivity(shown)}

    def evaluate(self, methods, seed: Seed = 0):
        """{"evaluation": how well a graph network does that was trained on real, generated or all matrices (Table 2),
        "similarity": distances of generated from real graphs (Table 1)}.

        Args:
            methods: name of the run -> its Method, this one among them; all see this one's subjects.
            seed: of the synthetic matrices and of the graph networks.
        """
        real = self.connectomes("train")
        made = {kind.upper(): oversampled(real, kind, seed) for kind in ("smote", "adasyn")}
        made |= {name: method.like(real, seed) for name, method in methods.items()}
        made = {name: found for name, found in made.items() if found is not None}
        tables = {"evaluation": self._augmentation(real, made, seed), "similarity": self._similarity(made, seed)}
        return Evaluation(tables)

    def _similarity(self, made, seed):
        """Rows per source and class; a first row for each class tells how far two halves of the real ones are apart."""
        real, rows = self.connectomes("train"), []
        for number, name in enumerate(self.config.classes):
            own = real.of_class(number)
            if len(own) < 4:
                raise DataError(f"class {name}: {len(own)} training subjects are too few to compare; add some, up to 4")
            half = np.random.default_rng(seed).permutation(len(own))
            sets = {"real (two halves)": (own[half[::2]], own[half[1::2]])}
            sets |= {source: (found.of_class(number), own) for source, found in made.items()}
            for source, (ours, theirs) in sets.items():
                if len(ours) < 2:
                    continue
                row = {"source": source, "class": name, "matrices": len(ours)}
                for measure, (kl, mmd) in similarity(ours, theirs).items():
                    row |= {f"{measure} KL": kl, f"{measure} MMD": mmd}
                rows.append(row)
        return rows

    def _augmentation(self, real, made, seed):
        """Rows per training set: mean and std of accuracy, precision and recall over restarts."""
        parts = {part: self.connectomes(part) for part in ("validation", "test")}
        network, rows = GraphClassifier(self.config), []
        sets = {"real": real} | {f"{name} only": found for name, found in made.items()}
        sets |= {f"real + {name}": joined(real, found) for name, found in made.items()}
        for name, found in sets.items():
            runs = [network.scores(found, parts["validation"], parts, seed + k) for k in range(self.config.restarts)]
            row = {"training data": name, "matrices": len(found), "restarts": len(runs)}
            for part in ("test", "validation"):
                for i, score in enumerate(("accuracy", "precision", "recall")):
                    row |= mean_and_std(f"{part} {score}", [run[part][i] for run in runs])
            rows.append(row)
        return rows

    def export_module(self):
        """Its `sample(seed, labels)` gives `matrices` `(n, d, d)` float32 in [0, 1] of the classes asked for."""
        model = self.model
        takes = [tf.TensorSpec((), tf.int64, "seed"), tf.TensorSpec((None,), tf.int32, "labels")]
        return ExportModule(
            [model], {"sample": (lambda seed, labels: {"matrices": sampled(model, labels, seed)}, takes)}
        )
