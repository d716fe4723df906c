"""Which training cases give their labels, as `data.labelled_share` says."""

import functools

from tfmed.data import splits
from tfmed.engine.method import Method


class FewLabels(Method):
    """Base of tasks whose methods may learn from cases without a label map."""

    some_labelled = False  # whether a patient counts as labelled of whom only some cases have a label map

    @functools.cached_property
    def training_cases(self):
        """(cases whose labels are used, all training cases), checked."""
        cases = self.prepared("train")
        return self.labelled_of(cases), cases

    def labelled_of(self, cases):
        """Those of the training cases whose labels are used."""
        data = self.settings.data
        seed = self.settings.seed if data.labelled_seed is None else data.labelled_seed
        return splits.few_labels(cases, data.labelled_share, seed, some=self.some_labelled)

    def split(self, kinds, labelled=False):
        return super().split(kinds, labelled and ("some" if self.some_labelled else True))
