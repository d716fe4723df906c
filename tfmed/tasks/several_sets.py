"""Labelled data sets beside that of the `data` section: settings, and what trains of them."""

import contextlib
import functools
from typing import Any

import numpy as np
from pydantic import Field

from tfmed.config import PathText
from tfmed.data import sources, splits
from tfmed.data.cache import Cache
from tfmed.data.checks import CaseSpec, check_case, fill, prepare_cases
from tfmed.data.patches import check_sizes
from tfmed.data.preprocess import Step
from tfmed.data.several_sets import same_scans
from tfmed.errors import DataError
from tfmed.tasks.segmentation_settings import Classes


class AuxiliarySet(Classes):
    """A further data set, all of whose labelled cases train."""

    source: str  # a name of tfmed.data.sources
    root: PathText | None = None  # the data set's folder; built-in phantoms need none
    options: dict[str, Any] = Field(default_factory=dict)  # the source's own options
    preprocess: tuple[Step, ...] = ()


class OpenSet:
    """An auxiliary set that a method of segmentation learns from; cases are looked at when they are first asked for.

    Args:
        name: in the settings.
        config: its `AuxiliarySet`.
        method: the SegmentationMethod, whose run keeps which cases trained.
        section: the part of the model section that such sets stand in.
    """

    def __init__(self, name, config, method, section="auxiliary"):
        self.name, self.config, self.method, self.section = name, config, method, section
        data = method.settings.data
        self.cache = Cache(data.cache_folder(), config.preprocess, data.cache_dtype)
        self.spec = CaseSpec(config.modalities, "optional", config.label_values, minimum_shape=(1, 1, 1), stack=True)

    @functools.cached_property
    def cases(self):
        """The Cases with labels, all of which train.

        Raises:
            DataError: as the source; there is none with a label; a file is one of the target's too.
        """
        config, method = self.config, self.method
        with self._named():
            found = sources.open(config.source, config.root, **config.options)
            if not any(case.label is not None for case in found):
                raise DataError(
                    "no case has a label map, by which a set teaches; check root and options, or leave it out"
                )
            labelled = splits.few_labels(found, 1.0, 0)
            target = [case for part in splits.PARTS for case in method.cases[part]]
            if twice := same_scans(target, labelled, self.cache.content):
                raise DataError(f"{twice[0]} is a scan of the data section too; give other cases")
            parts = method.all_train(f"{self.section} {self.name}", labelled, config.root)
            return [config.as_used(case) for case in parts["train"]]

    def open(self, case):
        """The Prepared case."""
        return self.cache.stack(case, self.spec)

    def prepared(self, progress=None):
        """The cases, checked, in the cache.

        Raises:
            DataError: a case cannot be used, is smaller than half of a patch, or a class stands in none of them.
        """
        with self._named():
            prepare_cases(self.cases, self.cache, self.spec, **({} if progress is None else {"progress": progress}))
            check_sizes(self.open, self.cases, self.method.window)
            voxels = np.sum([self.open(case).voxels for case in self.cases], axis=0)
            for value, count in zip(self.config.label_values, voxels, strict=True):
                if not count:
                    raise DataError(f"label value {value} stands in no case; take it out of labels or label_values")
        return self.cases

    def problems(self, progress):
        """{name of the set and a case: what keeps it from being used}; good cases are then in the cache."""
        return {f"{self.name}/{case.id}": lines for case in progress(self.cases, f"Checking cases of {self.name}")
                if (lines := check_case(case, self.spec) or fill(case, self.cache, self.spec))}  # fmt: skip

    @contextlib.contextmanager
    def _named(self):
        """Errors say which set they are of."""
        begin = f"model.{self.section}.{self.name}: "
        try:
            yield
        except DataError as error:
            if str(error).startswith(begin):
                raise
            raise DataError(f"{begin}{error}") from None
