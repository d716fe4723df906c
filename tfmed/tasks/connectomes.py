"""What methods share whose cases are connectomes of several classes: reading, samples, tables of similarity."""

import functools

import numpy as np

from tfmed.data import connectomes
from tfmed.data.connectomes import Connectomes
from tfmed.data.pipeline import Samples
from tfmed.data.sampling import shuffled
from tfmed.engine.terminal import log
from tfmed.errors import DataError
from tfmed.metrics.graph import similarity
from tfmed.ops.triangle import to_matrix, to_vector
from tfmed.tasks.classification import ClassifiedCases


class ConnectomeCases(ClassifiedCases):
    """Base of methods that learn from connectomes; the config says how matrices are read (see `data.connectomes`)."""

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

    def similarity_rows(self, made, seed):
        """Rows per source and class; a first row for each class tells how far two halves of the real ones are apart.

        "KL" and "MMD" are of values pooled over regions and graphs, as in the paper's table; "MMD of graphs" takes each
        graph as a sample.
        """
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
                for measure, apart in similarity(ours, theirs).items():
                    row |= {f"{measure} KL": apart.kl, f"{measure} MMD": apart.mmd}
                    row |= {f"{measure} MMD of graphs": apart.graph_mmd}
                rows.append(row)
        return rows


def oversampled(real, kind, seed=0):
    """As many matrices of each class as there are real ones, made by "smote" or "adasyn"; None where it makes none.

    Chawla et al., JAIR 2002; He et al., IJCNN 2008; both from imbalanced-learn, on the vectors of free entries. As
    classes may be balanced, each is asked to be doubled, and only what is new is kept.
    """
    from imblearn.over_sampling import ADASYN, SMOTE

    counts = np.bincount(real.labels)
    wanted = {label: 2 * int(count) for label, count in enumerate(counts) if count}
    neighbours = int(min(5, counts[counts > 0].min() - 1))
    if neighbours < 1:
        log.warning("%s: needs two subjects of each class; left out", kind)
        return None
    maker, option = {"smote": (SMOTE, "k_neighbors"), "adasyn": (ADASYN, "n_neighbors")}[kind]
    maker = maker(sampling_strategy=wanted, random_state=seed, **{option: neighbours})
    try:
        vectors, labels = maker.fit_resample(to_vector(real.matrices), real.labels)
    except (ValueError, RuntimeError) as error:  # ADASYN, where no neighbour is of another class
        log.warning("%s: makes nothing here (%s); left out", kind, str(error).splitlines()[0][:80])
        return None
    new = slice(len(real), None)
    matrices = to_matrix(vectors[new].astype(np.float32), real.matrices.shape[-1]).numpy()
    return Connectomes(matrices, labels[new].astype(np.int32), tuple(f"{kind}-{i}" for i in range(len(matrices))))
