"""Writing bundles: what of a run is passed on, and what stays because it tells of its data."""

import json
import os
import pathlib
import shutil
import typing
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

import numpy as np
import pydantic
import tensorflow as tf

from tfmed import compat, startup
from tfmed import config as configuration
from tfmed.config import PathText
from tfmed.data import phantoms
from tfmed.engine import bundle, example, exporting, model_card, saved_model
from tfmed.engine.checkpoint import write_weights
from tfmed.engine.run import Run, as_yaml, environment
from tfmed.engine.split_record import SplitRecord, learnt
from tfmed.engine.terminal import log
from tfmed.errors import RunError, UserError
from tfmed.files import PathLike, expanded, own_csv, plain_json

Kind = Literal["made", "case"]
# What a SavedModel (its folder) is given of a case: (name of a signature, {name of an argument: array}).
Given = Callable[[pathlib.Path, Mapping[str, str]], tuple[str, dict[str, np.ndarray]]]


def write(run: Run, out: PathLike, given: Given, kind: Kind | None = None, licence: str | None = None) -> pathlib.Path:
    """Write a trained run as a bundle; returns its folder.

    Names of cases and patients, and paths, stay behind; an earlier bundle at `out` is replaced in one step, and nothing
    else is. What is written has been loaded again, and answers as the run does.

    Args:
        run: the Run.
        out: the folder.
        given: function that tells what a SavedModel is given of a case.
        kind: of the example: "made" from a seed, or of a "case" that the run tests or validates with, which passes on a
            part of that. By default a case where all of the run's are phantoms, and else made.
        licence: for the model card.

    Raises:
        RunError: the method exports nothing, `out` holds something else or cannot be written, or the run is a bundle.
    """
    out = expanded(out)
    target = out.resolve()  # behind a link the link stays
    run.check_writable("copy its folder as it is")
    _check_replaceable(out, target)
    method = exporting.exportable(run)
    module = method.export_module()

    def all_files(folder: pathlib.Path) -> None:
        _Writer(run, method, folder).write(module, given, kind, licence)

    exporting.put_folder(out, all_files, lambda: _check_replaceable(out, target))
    return out


def _check_replaceable(out: pathlib.Path, target: pathlib.Path) -> None:
    """RunError where something lies at the target that is no bundle, or files that a person keeps in one."""
    if not os.path.lexists(target) or (target.is_dir() and not any(target.iterdir())):
        return
    if not (target / bundle.MANIFEST).is_file():
        raise RunError(f"{out}: exists and is no bundle; choose another --out")
    more = [line for line in bundle.changes(target) if line.endswith("is additional")]
    if more:
        raise RunError(f"{out}: {more[0]} to the bundle there; move it away, or choose another --out")


class _Writer:
    """Writes one bundle.

    Args:
        run, method: the run, and its Method with its models.
        folder: of the bundle, which is not there yet.
    """

    def __init__(self, run: Run, method: Any, folder: pathlib.Path) -> None:
        self.run, self.method, self.folder = run, method, folder
        self.states: list[dict[str, Any]] = []  # of the weights, a stage each
        record = SplitRecord.read(run.path)
        if record is None:  # of a tfmed that kept no split
            record = method.cases and method.record_split()
        self.kinds: Mapping[str, Any] = record.kinds
        self.entries = [entry for split in self.kinds.values() for cases in split.values() for entry in cases]
        self.phantoms = bool(self.entries) and all(map(_is_phantom, self.entries))
        self.names = set() if self.phantoms else set(_names(self.entries))

    def write(self, module: Any, given: Given, kind: Kind | None, licence: str | None) -> None:
        """Write all files, the manifest last."""
        exporting.save(module, self.folder / bundle.MODEL)
        (self.folder / bundle.MODEL / "assets").rmdir()  # empty folders get lost when a bundle is passed on
        try:
            saved_model.check(self.folder / bundle.MODEL)
        except ValueError as error:
            raise RunError(f"{self.run.path}: cannot become a bundle ({error}); export a SavedModel") from None
        settings = self.portable(self.run.settings)
        self._text(bundle.SETTINGS, as_yaml(settings))
        self._text(bundle.ENVIRONMENT, json.dumps(self.environment(), indent=1))
        seen = learnt(self.kinds)
        self._text(bundle.SEEN, json.dumps({role: sorted(found) for role, found in seen.items()}, indent=0))
        left_out = self._records()
        self._weights()
        used = self._example(module, given, kind)
        about = {
            "tfmed_bundle": bundle.FORMAT,
            "tfmed": startup.VERSION,
            "method": self.run.method_name,
            "stack": compat.STACK,
            "example": used.model_dump(),
            "left_out": left_out,
            "needs_data": None,
            "files": {},
        }
        manifest = bundle.Manifest.model_validate(about)
        manifest.needs_data = self._needs_data(settings, manifest)
        self._text(bundle.CARD, model_card.text(self.run, settings, module, used, manifest.needs_data, self, licence))
        manifest.files = bundle.listed(self.folder)
        self._text(bundle.MANIFEST, manifest.model_dump_json(indent=1))
        for line in example.repeated(bundle.opened(self.folder)):
            log.info("example: %s", line)

    def _text(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text, encoding="utf-8")

    # --- what tells of the data stays behind --------------------------------------------------------------------------

    def portable(self, settings: Any) -> Any:
        """Settings without paths, names of cases, and what else is on the machine of the training alone."""
        values = settings.model_dump(mode="json")
        values["data"]["augment_with"] = values["train"]["start_from"] = None
        values = self._nameless(_without_paths(settings, values))
        return configuration.validate(values, {}, pathlib.Path(bundle.SETTINGS))

    def _nameless(self, values: Any) -> Any:
        """Plain values whose texts name no case."""
        if isinstance(values, dict):
            return {key: self._nameless(value) for key, value in values.items()}
        if isinstance(values, list):
            return [self._nameless(value) for value in values]
        if isinstance(values, str) and (values in self.names or os.path.isabs(values)):
            return "left out of the bundle"
        return values

    def _records(self) -> list[str]:
        """Copy what the run decided between its stages; returns the names of what stays because it names cases."""
        left_out = []
        for path in sorted((self.run.path / "records").glob("*.json")):
            values = plain_json(path)
            if self.tells(values) or self.tells(path.stem):
                left_out.append(path.stem)
            else:
                (self.folder / bundle.RECORDS).mkdir(exist_ok=True)
                self._text(f"{bundle.RECORDS}/{path.name}", json.dumps(values))
        names = self.run.path / "clusters.csv"  # by which a person called clusters
        if names.is_file():
            shutil.copyfile(names, self.folder / names.name)
        return left_out

    def tells(self, values: Any) -> bool:
        """Whether plain values name a case."""
        if isinstance(values, dict):
            return any(key in self.names or self.tells(value) for key, value in values.items())
        if isinstance(values, list):
            return any(map(self.tells, values))
        return isinstance(values, str) and (values in self.names or os.path.isabs(values))

    # --- networks -----------------------------------------------------------------------------------------------------

    def _weights(self) -> None:
        for stage, model in self.method.models.items():
            _, state = self.run.checkpoints.latest(stage, best=True)
            self.states.append(state)
            folder = self.folder / bundle.WEIGHTS / f"{stage}-{state['step']:08d}"
            folder.mkdir(parents=True)
            write_weights(folder, _weights_of(model), state | {"method": self.run.method_name})

    def _needs_data(self, settings: Any, manifest: bundle.Manifest) -> str | None:
        """Why the bundle cannot be loaded as a run; None where it can, which has then been done."""
        found = bundle.BundledRun(bundle.Bundle(self.folder, manifest, ""), settings)
        try:
            models = found.restored().models
        except Exception as error:  # whatever a method does without its cases
            log.info("the bundle holds no run that can be loaded without its data: %s", error)
            return "its networks are made by looking at its cases"
        for stage, model in self.method.models.items():
            for one, other in zip(_weights_of(model), _weights_of(models[stage]), strict=True):
                if not one.dtype.is_floating:  # counters of dropout masks go on while a model is used
                    continue
                if not np.array_equal(one.numpy(), other.numpy(), equal_nan=True):
                    raise RunError(f"{self.run.path}: stage {stage!r} did not come back from its bundle as it was")
        return None

    # --- the example --------------------------------------------------------------------------------------------------

    def _example(self, module: Any, given: Given, kind: Kind | None) -> bundle.Example:
        signatures = module.signatures()
        found = self._of_case(module, given, kind) if kind != "made" and (kind or self.phantoms) else None
        if found is None:
            name = example.signature_of(module.calls)
            inputs = example.made(signatures[name].input_signature, (module.note or {}).get("trained_on"))
        else:
            name, inputs = found[0], example.of_case(found[1], signatures[found[0]].input_signature)
        answers = {
            key: np.asarray(value) for key, value in signatures[name](*map(tf.constant, inputs.values())).items()
        }
        example.write(self.folder, inputs, answers)
        shown: Any = "made" if found is None else "phantom" if self.phantoms else "case"
        return bundle.Example(signature=name, kind=shown, inputs=list(inputs), answers=list(answers))

    def _of_case(self, module: Any, given: Given, kind: Kind | None) -> tuple[str, dict[str, np.ndarray]] | None:
        """What the SavedModel is given of the first test, or else validation, case; None where it takes no images."""
        note = module.note or {}
        wanted = set(note.get("modalities") or [note.get("modality")])
        try:
            cases = [case for role in ("test", "validation") for case in self.method.cases[role]
                     if wanted <= set(case.images)]  # fmt: skip
            if not cases:
                raise UserError("no test or validation case has the images that the model takes")
            return given(self.folder / bundle.MODEL, cases[0].images)
        except UserError as error:
            if kind == "case":
                raise RunError(f"--example case: {error}; leave it out for an example that is made") from None
            return None

    # --- for the card -------------------------------------------------------------------------------------------------

    def counts(self) -> list[dict[str, Any]]:
        """How many cases and patients are in each part of the split; a row per kind of case and part."""
        return [
            {"kind": kind, "part": role, "cases": len(cases), "patients": len({case["patient"] for case in cases})}
            for kind, split in self.kinds.items() for role, cases in split.items()
        ]  # fmt: skip

    def environment(self) -> dict[str, Any]:
        """Versions and machine of the training, without names of people or hosts."""
        path = self.run.path / bundle.ENVIRONMENT
        found = plain_json(path) if path.is_file() else environment()
        return found if isinstance(found, dict) and isinstance(found.get("packages"), dict) else environment()

    def scores(self) -> list[dict[str, str]]:
        """The run's own rows of its newest evaluation, of any that names no case; [] where there is none."""
        path = self.run.path / "evaluation.csv"
        if not path.is_file():
            return []
        rows = [
            row for row in own_csv(path)[1] if self.run.path.resolve().name in (next(iter(row.values()))).split(" ")
        ]
        rows = [dict(list(row.items())[1:]) for row in rows]
        return [row for row in rows if not self.tells(row)]


def _weights_of(model: Any) -> list[Any]:
    return [compat.tensor_variable(weight) for weight in compat.weights(model)]


def _is_phantom(entry: Mapping[str, Any]) -> bool:
    return all(phantoms.is_address(address) for address in entry["images"].values())


def _names(entries: list[Mapping[str, Any]]) -> Iterator[str]:
    """Every text by which cases of a `SplitRecord` are called: their own names, their patients' and their files'."""
    for entry in entries:
        yield from (entry["id"], entry["patient"])
        for place in (*entry["images"].values(), *([entry["label"]] if entry["label"] else [])):
            yield from (place, pathlib.PurePath(place).name)


def _without_paths(settings: Any, values: dict[str, Any]) -> dict[str, Any]:
    """Plain values of settings in which paths are null, wherever they stand."""
    for name, field in type(settings).model_fields.items():
        value = getattr(settings, name)
        if PathText in typing.get_args(field.annotation):
            values[name] = None
        elif isinstance(value, pydantic.BaseModel) and values[name] is not None:
            _without_paths(value, values[name])
        elif isinstance(value, (list, tuple, dict)):
            keys = value if isinstance(value, dict) else range(len(value))
            for key in keys:
                if isinstance(value[key], pydantic.BaseModel):
                    _without_paths(value[key], values[name][key])
    return values
