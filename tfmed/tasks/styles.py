"""What methods share whose generator has styles: mixing, interpolation, projection of a real volume."""

import numpy as np

from tfmed.data import preprocess
from tfmed.data.case import Case
from tfmed.data.checks import check_case
from tfmed.data.preprocess import onto_grid
from tfmed.data.readers import read_address
from tfmed.engine.abilities import CanMixStyles, CanProject
from tfmed.errors import DataError, UserError
from tfmed.ops.styles import to_unit
from tfmed.pictures.volume_grids import interpolation_picture
from tfmed.tasks import latents
from tfmed.tasks.generation import GenerationMethod
from tfmed.tasks.projection import Projector


class StyleMethod(GenerationMethod, CanProject, CanMixStyles):
    """Base of methods whose generator has styles: mixed, interpolated, and fitted to a real volume.

    A subclass gives `as_volume(array)`, the Volume of a generated array, and `scale`, its last preprocessing step, a
    `PercentileScale`; its config says `modality`, `spacing_mm` and `volume_shape`.
    """

    def latents(self, word, psi=1.0):
        """Style and noise of a seed, or of a file that `tfmed project` wrote."""
        return latents.of_word(self.model, word, psi)

    def synthesise(self, found):
        """The Volume, as of `sample`, of Latents."""
        return self.as_volume(found.synthesise(self.model))

    def mixtures(self, rows, columns, crossover=None):
        """{row: {column: Volume}}: coarse layers of each row's Latents, fine ones of each column's; and themselves.

        Args:
            rows, columns: lists of Latents.
            crossover: layers taken from the row; default 4, as in the paper, or fewer where there are few layers.

        Raises:
            UserError: there is no such layer.
        """
        count = self.model.layers_w
        crossover = min(4, count // 2) if crossover is None else crossover
        if not 0 <= crossover <= count:
            raise UserError(f"--crossover: {crossover} is none of 0 .. {count}, the layers of this run's generator")
        table = {"": {"": None} | {column.name: self.synthesise(column) for column in columns}}
        for row in rows:
            mixed = {column.name: self.synthesise(latents.mix(row, column, crossover)) for column in columns}
            table[row.name] = {"": self.synthesise(row)} | mixed
        return table

    def interpolated(self, first, second, steps):
        """{share: Volume} from one Latents to the other, `steps` volumes with both ends."""
        stops = [latents.between(first, second, i / (steps - 1)) for i in range(steps)]
        return {stop.name: self.synthesise(stop) for stop in stops}

    def interpolation_picture(self, way, first, second):
        """The volumes of `interpolated` side by side."""
        return interpolation_picture(way, first, second)

    def project(self, path, steps=1000, seed=0, progress=lambda steps: steps):
        """Find the style and noise that give a volume.

        Args:
            path: a file, or a folder with one DICOM series, of the kind that the run was trained on.
            steps: of the optimiser.
            seed: of its noise.
            progress: wraps the iteration over the steps.

        Returns:
            (Projection, projected Volume on the grid and in the units of the file, the file's Volume).

        Raises:
            DataError: the volume is damaged, NaN, constant, or does not fit what the run generates.
        """
        read = self.read_target(path)
        steps_before = self.preprocessing()[:-1]
        try:
            placed = preprocess.run(steps_before[:-1], read)
            self._check_field(placed)
            placed = preprocess.run(steps_before[-1:], placed)
            white = self.scale.white(placed.array)
            target = self.scale.apply(placed).array
        except DataError as error:
            raise DataError(f"{path}: {error}") from None
        found = Projector(self.model, target, steps, pooled_weight=self.config.projection_pooled, seed=seed).run(
            progress
        )
        grey = placed.replace(array=to_unit(found.array).numpy() * np.float32(white))
        return found, onto_grid(grey, read.shape, read.affine), read

    def read_target(self, path):
        """The Volume at a path, checked as training cases are."""
        case = Case(str(path), str(path), {self.config.modality: str(path)})
        problems = check_case(case, self.case_spec)
        if problems:
            raise DataError(problems[0])
        return read_address(str(path))

    def _check_field(self, volume):
        if any(2 * have < need for have, need in zip(volume.shape, self.config.volume_shape, strict=True)):
            have, need = (
                " x ".join(f"{count * mm:.0f}" for count, mm in zip(shape, self.config.spacing_mm, strict=True))
                for shape in (volume.shape, self.config.volume_shape)
            )
            raise DataError(
                f"its field of view is {have} mm, that of the run {need} mm; give a volume like those it was trained on"
            )
