"""Desks at which a person answers in a page: what is asked for, what is drawn or chosen, and where it is picked up.

What is saved lies in the folders and tables of `tfmed.data.annotation` and `tfmed.data.class_answers`, in their form;
slices that are not finished lie beside them, in `drafts`, which no run reads.
"""

import csv
import dataclasses
import io
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tfmed.data.annotation import ENDINGS
from tfmed.data.case import Case
from tfmed.data.class_answers import COLUMNS, names_of, read_answers
from tfmed.data.phantoms import is_address
from tfmed.data.preprocess import class_labels
from tfmed.data.readers import read_address
from tfmed.errors import DataError, RunError
from tfmed.files import PathLike, own_csv, safe_name, write_text
from tfmed.io import Volume, orientation, read_volume, write_volume
from tfmed.io.geometry import Geometry
from tfmed.io.label_tables import distinct_colours
from tfmed.io.read import read_geometry
from tfmed.io.stack import SUFFIXES as PICTURES
from tfmed.io.stack import read_stack
from tfmed.io.tables import read_rows, read_text

_LABEL = "_label.nii.gz"
_ROUND = re.compile(r"round([0-9]{1,6})")


@dataclasses.dataclass(frozen=True)
class Sheet:
    """One thing that is asked for.

    Args:
        name: unique at its desk.
        state: "open", "begun" (saved, not finished) or "done".
        shape: `(z, y, x)` of what is shown; of the slices that a page gets.
        aspect: height of a pixel of a slice by its width.
        images: names of what can be looked at.
        answer: the class that was chosen, of desks of classes.
    """

    name: str
    state: str
    shape: tuple[int, int, int]
    aspect: float
    images: tuple[str, ...]
    answer: str = ""


class SliceDesk:
    """The desk of a `tfmed.data.annotation.Folder`: its newest round.

    Args:
        path: the folder.
        modalities: names of the images.
        label_values: the number of each class in files, the background first.
        names: {number in files: name}, of classes that have one.
    """

    kind = "slices"

    def __init__(
        self, path: PathLike, modalities: Sequence[str], label_values: Sequence[int], names: Mapping[int, str]
    ) -> None:
        self.path, self.modalities, self.label_values = pathlib.Path(path), tuple(modalities), tuple(label_values)
        called = ["background", *(names.get(value, f"label {value}") for value in label_values[1:])]
        colours = [(0, 0, 0), *distinct_colours(len(called) - 1)]
        self.classes = list(zip(called, colours, strict=True))
        self._geometries: dict[pathlib.Path, Geometry] = {}  # of what is asked for, which does not change

    @property
    def number(self) -> int:
        """Of the newest round.

        Raises:
            RunError: none has asked for anything yet.
        """
        found = [int(m[1]) for one in self._listed(self.path) if (m := _ROUND.fullmatch(one.name)) and one.is_dir()]
        if not found:
            raise RunError(f"{self.path}: asks for nothing yet; train the run until it asks: tfmed fit RUN --resume")
        return max(found)

    @property
    def place(self) -> str:
        """Where finished answers lie."""
        return str(self._folder("done"))

    def sheets(self) -> list[Sheet]:
        """What the newest round asks for.

        Raises:
            RunError: nothing is asked for.
            DataError: a file lies outside of the folder.
        """
        return [self._sheet(name) for name in self._names()]

    def sheet(self, name: str) -> Sheet | None:
        """One of `sheets`, or None."""
        return self._sheet(name) if name in self._names() else None

    def image(self, name: str, which: str, z: int) -> np.ndarray:
        """A slice of an image, uint8 `(y, x)`, from its 0.5 percentile to its 99.5, as radiologists hang it."""
        volume = read_volume(self._inside(self._folder("todo") / f"{name}_{which}.nii.gz"))
        low, high = np.percentile(volume.array, [0.5, 99.5])
        scaled = (volume.array[z].astype(np.float64) - low) * (255 / max(high - low, 1e-9))
        return hung(np.rint(np.clip(scaled, 0, 255)).astype(np.uint8), volume)

    def drawn(self, name: str, z: int) -> np.ndarray:
        """The classes of a slice, uint8 `(y, x)`: as last saved, else as finished, else as the network draws it."""
        label = self._newest(name)
        return hung(self._classes(label, name).array[z], label)

    def save(self, name: str, z: int, plane: np.ndarray) -> None:
        """Keep the classes `(y, x)` of a slice, as `drawn` gives them; the run does not take them before `finish`.

        Raises:
            DataError: they are of another size, or hold another class.
            UserError: the disk refuses; what was saved before stays.
        """
        label = self._newest(name)
        classes = self._classes(label, name).array
        if plane.shape != classes.shape[1:] or not (plane < len(self.label_values)).all():
            raise DataError(f"{name}: a slice has {classes.shape[1:]} pixels of {len(self.label_values)} classes")
        classes = np.array(classes)
        classes[z] = hung(plane, label)
        self._write(label, classes, self._folder("drafts") / f"{name}{_LABEL}")

    def finish(self, name: str) -> None:
        """Give the slice, as last saved, to the run; errors as of `save`."""
        label = self._newest(name)
        self._write(label, self._classes(label, name).array, self._folder("done") / f"{name}{_LABEL}")
        (self._folder("drafts") / f"{name}{_LABEL}").unlink(missing_ok=True)

    def _names(self) -> list[str]:
        files = self._listed(self._folder("todo"))
        return sorted(file.name.removesuffix(_LABEL) for file in files if file.name.endswith(_LABEL)
                      and not file.name.startswith("."))  # fmt: skip

    def _sheet(self, name: str) -> Sheet:
        path = self._inside(self._folder("todo") / f"{name}{_LABEL}")
        if path not in self._geometries:
            self._geometries[path] = read_geometry(path)
        found = self._geometries[path]
        begun = (self._folder("drafts") / f"{name}{_LABEL}").exists()
        state = "begun" if begun else "done" if self._done(name) else "open"
        z, y, x = found.shape[:3]
        return Sheet(name, state, (z, y, x), found.spacing[1] / found.spacing[2], self.modalities)

    def _done(self, name: str) -> pathlib.Path | None:
        done = self._folder("done")
        return next((path for end in ENDINGS if (path := done / f"{name}_label{end}").exists()), None)

    def _newest(self, name: str) -> Volume:
        draft = self._folder("drafts") / f"{name}{_LABEL}"
        path = draft if draft.exists() else self._done(name) or self._folder("todo") / f"{name}{_LABEL}"
        return read_volume(self._inside(path))

    def _classes(self, label: Volume, name: str) -> Volume:
        try:
            return class_labels(label, self.label_values)
        except DataError as error:
            raise DataError(f"{name}: {error}") from None

    def _write(self, label: Volume, classes: np.ndarray, path: pathlib.Path) -> None:
        values = np.asarray(self.label_values)
        values = values.astype(np.min_scalar_type(values.max() if values.min() >= 0 else -abs(values).max()))
        path.parent.mkdir(exist_ok=True)
        write_volume(label.replace(array=values[classes]), self._inside(path))

    def _folder(self, name: str) -> pathlib.Path:
        return self.path / f"round{self.number}" / name

    def _inside(self, path: pathlib.Path) -> pathlib.Path:
        """The path; DataError where links lead it out of the folder."""
        if not path.resolve().is_relative_to(self.path.resolve()):
            raise DataError(f"{path}: leads out of {self.path}; put the file itself there")
        return path

    def _listed(self, folder: pathlib.Path) -> list[pathlib.Path]:
        return sorted(folder.iterdir()) if folder.is_dir() else []


class ClassDesk:
    """The desk of a table, or a folder, of classes: the newest query of a run.

    Args:
        queries: folder of the run's queries.
        answers: table or folder that the run picks up.
        classes: that a case may be of.
        taken: function of the number of a round: whether the run has taken its answers.
    """

    kind = "classes"

    def __init__(self, queries: PathLike, answers: PathLike, classes: Sequence[str], taken: Any) -> None:
        self.queries, self.answers, self.taken = pathlib.Path(queries), pathlib.Path(answers), taken
        self.classes = list(zip(classes, distinct_colours(len(classes)), strict=True))
        self._sizes: dict[str, tuple[tuple[int, int, int], float]] = {}

    @property
    def number(self) -> int:
        """Of the newest round.

        Raises:
            RunError: none has asked for anything yet, or its answers are taken already.
        """
        files = self.queries.glob("round*.csv")
        found = [int(m[1]) for one in files if (m := _ROUND.fullmatch(one.stem))]
        if not found or self.taken(max(found)):
            raise RunError(f"{self.queries}: asks for nothing now; train the run until it asks: tfmed fit RUN --resume")
        return max(found)

    @property
    def place(self) -> str:
        """Where answers lie."""
        return str(self.answers)

    def sheets(self) -> list[Sheet]:
        """What the newest round asks for.

        Raises:
            RunError: nothing is asked for.
            DataError: an answer that is there already is wrong.
        """
        found = read_answers(self.answers, [name for name, _ in self.classes], self._asked())
        return [self._sheet(case, found.get(case.id, "")) for case in self._newest()]

    def sheet(self, name: str) -> Sheet | None:
        """One of `sheets`, without its answer, or None."""
        return next((self._sheet(case, "") for case in self._newest() if case.id == name), None)

    def image(self, name: str, which: str, z: int) -> np.ndarray:
        """A slice of a case, uint8 `(y, x)` or `(y, x, 3)`."""
        volume = _picture(self._case(name))
        array = volume.array
        if array.ndim == 4 and array.dtype == np.uint8 and array.shape[3] >= 3:
            return np.ascontiguousarray(array[z, ..., :3])
        array = array[..., 0] if array.ndim == 4 else array
        low, high = np.percentile(array, [0.5, 99.5])
        scaled = (array[z].astype(np.float64) - low) * (255 / max(high - low, 1e-9))
        plane = np.rint(np.clip(scaled, 0, 255)).astype(np.uint8)
        return plane if volume.shape[0] == 1 else hung(plane, volume)

    def answer(self, name: str, chosen: str) -> None:
        """Keep the class of a case; an empty one takes it back.

        Raises:
            DataError: there is no such class.
            RunError: the disk refuses; the answers of before stay.
        """
        case = self._case(name)
        if chosen and chosen not in [known for known, _ in self.classes]:
            raise DataError(f"{name}: there is no class {chosen!r}")
        (self._into_folder if self.answers.is_dir() else self._into_table)(case, chosen)

    def _into_table(self, case: Case, chosen: str) -> None:
        there = self.answers.exists()
        columns, rows = read_rows(self.answers) if there else (["id", "class"], [])
        notes = [line for line in read_text(self.answers).splitlines() if line.startswith("#")] if there else []
        kept = [dict(zip(columns, cells, strict=False)) for _, cells in rows]
        columns = list(dict.fromkeys([*columns, "id", "class"]))
        kept = [row for row in kept if row.get("id") != case.id] + (
            [{"id": case.id, "class": chosen}] if chosen else []
        )
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, columns, restval="", lineterminator="\n", quoting=csv.QUOTE_ALL)
        writer.writeheader()
        writer.writerows(kept)
        write_text(self.answers, "".join(f"{line}\n" for line in notes) + text.getvalue())

    def _into_folder(self, case: Case, chosen: str) -> None:
        before = [file for name, _ in self.classes if (self.answers / name).is_dir()
                  for file in (self.answers / name).iterdir() if file.stem in names_of(case)]  # fmt: skip
        if not chosen:
            back = self.answers / ".taken back"
            back.mkdir(exist_ok=True)
            for file in before:
                file.replace(back / file.name)
            return
        (self.answers / chosen).mkdir(exist_ok=True)
        for file in before:
            file.replace(self.answers / chosen / file.name)
        if not before:
            write_text(self.answers / chosen / f"{safe_name(case.id)}.txt", "")

    def _asked(self) -> list[Case]:
        """Cases of all rounds."""
        return [case for number in range(1, self.number + 1) for case in self._of_round(number)]

    def _newest(self) -> list[Case]:
        return self._of_round(self.number)

    def _of_round(self, number: int) -> list[Case]:
        path = self.queries / f"round{number}.csv"
        try:
            _, rows = own_csv(path, lambda row: None if set(COLUMNS) <= set(row) else "is no row of a query")
        except (OSError, ValueError):
            raise RunError(f"{path}: is missing or damaged; put a copy back, or train a new run") from None
        return [Case(row["id"], row["id"], {"image": row["path"]}) for row in rows]

    def _case(self, name: str) -> Case:
        return next(case for case in self._newest() if case.id == name)

    def _sheet(self, case: Case, answer: str) -> Sheet:
        if case.id not in self._sizes:
            volume = _picture(case)
            self._sizes[case.id] = volume.shape, volume.spacing[1] / volume.spacing[2]
        return Sheet(case.id, "done" if answer else "open", *self._sizes[case.id], ("image",), answer)


def hung(plane: np.ndarray, volume: Volume) -> np.ndarray:
    """A plane `(y, x)` of a volume with anterior (or superior) above and the patient's right (or anterior) on the left;
    of a plane that hangs so, the plane of the volume again."""
    towards = orientation(volume)  # of x, y and z
    plane = plane[::-1] if towards[1] in "AS" else plane
    return np.ascontiguousarray(plane[:, ::-1] if towards[0] in "RA" else plane)


def _picture(case: Case) -> Volume:
    path = case.images["image"]
    if not is_address(path) and pathlib.Path(path).suffix.lower() in PICTURES and pathlib.Path(path).is_file():
        return read_stack([path])
    return read_address(path)
