"""Cases beside those of the `data` section: of another source, or made by a trained generator of volumes."""

import hashlib
from typing import Any

import numpy as np
from pydantic import Field

from tfmed import compat
from tfmed.config import PathText, Strict
from tfmed.data import sources
from tfmed.data.case import Case
from tfmed.engine.abilities import CanSample
from tfmed.engine.run import load_run
from tfmed.engine.terminal import progress
from tfmed.errors import RunError
from tfmed.io import Volume


class MoreCases(Strict):
    """More cases, beside those of the `data` section."""

    source: str = "phantom_chest_ct"  # a name of tfmed.data.sources
    root: PathText | None = None
    options: dict[str, Any] = Field(default_factory=dict)

    def cases(self):
        """The Cases of the source."""
        return sources.open(self.source, self.root, **self.options)


def synthesised(path, count, folder, precision):
    """Cases of volumes that a run's generator makes; those that lie in the folder already are not made again.

    Volume k is `sample(1, seed=k)` of the run. Files lie below a folder named after the generator's weights, so another
    training never finds them.

    Args:
        path: run directory of a method that generates Volumes.
        count: how many.
        folder: where to write (a Path).
        precision: of this run, set again after the generator's has been used.

    Raises:
        RunError: there is no such run, or it generates no volumes.
    """
    run = load_run(path)
    method = run.restored()
    try:
        if not isinstance(method, CanSample):
            raise RunError(f"{path}: method {run.method_name!r} generates nothing; give the run of a ctsgan")
        folder = folder / _digest(method)
        files = [folder / f"{k:06d}.nii.gz" for k in range(count)]
        for k, file in enumerate(progress(files, "Generating scans")):
            if not file.exists():
                item = next(iter(method.sample(1, seed=k)))
                if not isinstance(item, Volume):
                    raise RunError(f"{path}: method {run.method_name!r} generates no volumes; give the run of a ctsgan")
                folder.mkdir(parents=True, exist_ok=True)
                method.write_sample(item, folder, file.name.removesuffix(".nii.gz"))
    finally:
        compat.set_precision(precision)
    return [Case(f"synthetic-{k:06d}", f"synthetic-{k:06d}", {"ct": str(file)}) for k, file in enumerate(files)]


def _digest(method):
    digest = hashlib.sha256()
    for model in method.models.values():
        for value in model.get_weights():
            digest.update(np.ascontiguousarray(value).tobytes())
    return digest.hexdigest()[:24]
