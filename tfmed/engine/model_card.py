"""MODEL_CARD.md of a bundle: what the model is, what it learnt from, how good it is, and what it is not for."""

import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tfmed import registry, startup
from tfmed.engine import example
from tfmed.engine.abilities import CanEvaluate, CanPredict
from tfmed.engine.report import joined
from tfmed.errors import one_line
from tfmed.metrics import definitions

_EXAMPLES = {
    "made": "a random input made from a seed; no person's scan is passed on",
    "phantom": "a test or validation case of the built-in phantoms; no person's scan",
    "case": "**the middle of a real scan**, of a test or validation case of the data set: see that you may pass it on",
}
_USE = (
    "Research: to repeat and compare results of the method, and to start further training. Images should be like those "
    "it was trained on (below). It is no medical device, and nobody has tested whether its answers are safe to act on."
)
_LIMITS = (
    "The scores below are of one data set. Scanners, protocols, populations and diseases that it lacks can make "
    "the model worse without a sign; score it on your own data first.",
    "Weights can reveal something of the cases that a model learnt from, those of generators above all. Names and "
    "paths are left out; digests (SHA-256) of the images stay, so that the model is not scored on what it has seen.",
    "A SavedModel is a program. This one was looked through for operations that reach files, processes or Python, and "
    "had none; load only those that 'tfmed verify' accepts.",
)
_NO_LICENCE = "(to be filled in: `tfmed export RUN --format bundle --licence TEXT` writes it here)"


def text(
    run: Any, settings: Any, module: Any, used: Any, needs_data: str | None, told: Any, licence: str | None
) -> str:
    """The card.

    Args:
        run: the Run that is bundled, and `settings` those that the bundle has.
        module: the ExportModule.
        used: the bundle's Example.
        needs_data: of the Manifest.
        told: has `counts()`, `scores()`, `environment()`, the `states` of weights, and whether all are `phantoms`.
        licence: a line, or None for a field to fill in.
    """
    info, said = registry.info(run.method_name), registry.described(run.method_name)
    about = {name: said[name] for name in ("Idea", "Deviates") if said.get(name)}
    seen = told.environment()
    sections = {
        f"# {info.title}: model card": [f"A model of method `{run.method_name}` of tfmed {startup.VERSION}."],
        "## Method": _items({"Task": said.get("Task") or info.task, "Paper": said.get("Paper") or info.paper} | about),
        "## Intended use": [_USE],
        "## Limits": [f"- {line}" for line in _limits(told)],
        "## What it takes and gives": _signatures(module),
        "## Data": _data(settings, told, (module.note or {}).get("trained_on")),
        "## Training": _training(run, settings, told.states),
        "## Scores": _scores(told.scores()),
        "## Licence": [one_line(licence) if licence else _NO_LICENCE],
        "## Example": _example(used),
        "## Versions, of the training": _items({"python": seen["python"], **seen["packages"]}),
        "## Use": _use(run, used, needs_data),
    }
    return "\n\n".join(_block([title, *lines]) for title, lines in sections.items()) + "\n"


def _items(values: Mapping[str, Any]) -> Iterable[str]:
    return (f"- {name}: {value}" for name, value in values.items())


def _block(lines: Sequence[str]) -> str:
    """Lines as Markdown: an empty one between those that are no items of a list, nor rows of a table."""
    found = lines[0]
    for before, line in itertools.pairwise(lines):
        together = any(before.startswith(mark) and line.startswith(mark) for mark in ("- ", "|", "    "))
        found += ("\n" if together else "\n\n") + line
    return found


def _limits(told: Any) -> Iterable[str]:
    if told.phantoms:
        yield (
            "It learnt from built-in phantoms, which are made from a seed: it has never seen a patient, and its scores "
            "say nothing about patients."
        )
    yield from _LIMITS


def _signatures(module: Any) -> Iterable[str]:
    for name, call in module.calls.items():
        takes = ", ".join(f"`{s.name}` {s.dtype.name} {_shape(s.shape)}" for s in call.input_signature)
        gives = call.get_concrete_function().structured_outputs
        shown = ", ".join(f"`{key}` {value.dtype.name} {_shape(value.shape)}" for key, value in gives.items())
        yield f"- `{name}`: {takes} -> {shown}"
    yield "Axes, units and names of classes are in `saved_model/tfmed.json`."


def _shape(shape: Any) -> str:
    return "(" + ", ".join("any" if side is None else str(side) for side in shape) + ")"


def _data(settings: Any, told: Any, trained_on: Mapping[str, Any] | None) -> Iterable[str]:
    made = ": built-in phantoms, made from a seed; no patient data" if told.phantoms else ""
    yield f"Source `{settings.data.source}`{made}. Parts of the split never share a patient."
    yield from _table(told.counts())
    if trained_on:
        for name, low in trained_on["lowest"].items():
            yield f"- image `{name}`: values from {low:g} to {trained_on['highest'][name]:g} in the training cases"
        if trained_on["spacing_mm"]:
            sizes = " to ".join(" x ".join(f"{side:.3g}" for side in one) for one in trained_on["spacing_mm"])
            yield f"- voxels (z, y, x): {sizes} mm"
    steps = ", ".join(step.step for step in settings.data.preprocess)
    yield f"Preprocessing before the method's own: {steps or 'none'}. All settings are in `settings.yaml`."


def _training(run: Any, settings: Any, states: Sequence[Mapping[str, Any]]) -> Iterable[str]:
    train = settings.train
    yield f"- profile {settings.profile}, up to {train.steps} steps of {train.batch_size} samples, seed {settings.seed}"
    for state in states:
        best = ", the best of its validations" if state.get("best") else ""
        yield f"- stage `{state['stage']}`: weights after step {state['step']}{best}"
    if run.settings.train.start_from is not None:
        yield "- it started from the weights of another training"


def _scores(rows: Sequence[dict[str, str]]) -> Iterable[str]:
    if not rows:
        yield "Not evaluated. `tfmed evaluate RUN`, then `tfmed export RUN --format bundle` again, writes them here."
        return
    yield from _table([joined(row) for row in rows])
    yield from (f"- {line}" for line in definitions.of_columns(list(rows[0])))
    yield "± is the standard deviation over cases, where one is given."


def _table(rows: Sequence[Mapping[str, Any]]) -> Iterable[str]:
    columns = list(dict.fromkeys(key for row in rows for key in row))
    yield _row(columns)
    yield _row(["---"] * len(columns))
    yield from (_row([row.get(key, "") for key in columns]) for row in rows)


def _row(cells: Iterable[Any]) -> str:
    return "| " + " | ".join(one_line(cell).replace("|", "\\|") for cell in cells) + " |"


def _example(used: Any) -> Iterable[str]:
    yield (
        f"`example/` holds an input of the signature `{used.signature}` ({', '.join(used.inputs)}) and the model's "
        f"answer ({', '.join(used.answers)}): {_EXAMPLES[used.kind]}."
    )
    yield (
        f"`tfmed verify` repeats it. Each number may be off by {example.TOLERANCE:g} of the range of the answer; of "
        f"whole numbers (class numbers, grey values) {1 - example.SHARE:.0%} may be off by more."
    )


def _use(run: Any, used: Any, needs_data: str | None) -> Iterable[str]:
    yield "    tfmed verify BUNDLE"
    kind = registry.method_class(run.method_name)
    if issubclass(kind, CanPredict):
        yield "    tfmed predict BUNDLE INPUT --out DIR"
    if needs_data is None and issubclass(kind, CanEvaluate):
        yield "    tfmed evaluate BUNDLE data.source=SOURCE data.root=FOLDER --out DIR"
    yield "    tfmed fit BUNDLE/settings.yaml data.source=SOURCE data.root=FOLDER train.start_from=BUNDLE"
    if needs_data is not None:
        yield f"It cannot be evaluated as a run: {needs_data}."
    inputs = ", ".join(f"{name}=tf.constant(...)" for name in used.inputs)
    yield "Without tfmed:"
    yield f"    model = tf.saved_model.load({json.dumps('BUNDLE/saved_model')})"
    yield f"    model.signatures[{json.dumps(used.signature)}]({inputs})"
