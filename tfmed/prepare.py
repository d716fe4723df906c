"""python -m tfmed.prepare CONFIG [key=value ...] [--json] [--out DIR]: look at every case, check it and fill the cache.

Lists what each case is like, all problems at once, and what is plausibly wrong with cases that can be used.
"""

import sys

from tfmed import cli
from tfmed.errors import DataError, UserError

_ROWS = 200  # of cases, that are listed in words


def main(argv):
    parser = cli.parser("prepare", "Look at every case, check it and fill the preprocessing cache.")
    parser.add_argument("config", help="settings file")
    parser.add_argument("overrides", nargs="*", default=[], metavar="key=value")
    parser.add_argument("--profile", default="paper")
    cli.add_json(parser)
    parser.add_argument("--out", help="folder for contact sheets (PNG): a slice of each case with its labels' outlines")
    arguments = parser.parse_intermixed_args(argv)
    cli.start_tensorflow()
    method, cases, found = _prepared(arguments.config, arguments.overrides, arguments.profile, arguments.out)
    if arguments.json:
        cli.print_json(_document(method, cases, found))
    else:
        _tell(method, cases, found)
    if count := sum(map(len, found["problems"].values())):
        where = "the document" if arguments.json else "the table above"
        raise DataError(f"{count} problem(s) in {where}; fix or remove these cases")


def _prepare(config, overrides=(), profile="paper", out=None):
    """Look at every case of settings, check it and fill the preprocessing cache.

    Args:
        config: path or name of a settings file, or the Settings that `load_config` gave.
        overrides, profile: as in `load_config`, when `config` is a path.
        out: folder for contact sheets (PNG); None: none are drawn.

    Returns:
        The document that `tfmed prepare --json` prints; "problems" lists what keeps cases from being used.
    """
    return _document(*_prepared(config, overrides, profile, out))


def _prepared(config, overrides, profile, out):
    """(method, cases, what was found)"""
    from tfmed import registry
    from tfmed.config import load_config
    from tfmed.data import sources
    from tfmed.engine import use
    from tfmed.engine.settings import Settings
    from tfmed.engine.terminal import progress

    settings = config if isinstance(config, Settings) else load_config(config, overrides, profile)
    kind = registry.method_class(settings.method)
    settings = kind.planned(settings, None, progress)
    method, data = kind(settings), settings.data
    if out and not method.in_space:
        raise UserError(f"--out: {settings.method} has no images of which slices could be shown; leave it out")
    cases = sources.open(data.source, data.root, **data.options)
    found = _looked_at(method, cases, progress)
    roots = sources.roots_of(data.source, data.root, data.options)
    found["unused"] = [file for root in roots for file in sources.unused(root, cases)]
    if out:
        found["sheets"] = _sheets(method, cases, found, use.new_folder(out), progress)
    return method, cases, found


def _looked_at(method, cases, progress):
    """{"facts": {id: CaseFacts}, "problems": {id: lines}, "parts": {id: part}, "warnings": list of Suspicion,
    "further": the problems of cases beside those of the `data` section, which "problems" has too}."""
    from tfmed.data import census
    from tfmed.data.suspicions import Suspicion, suspicions

    facts, problems, warnings = {}, {}, []
    for case in progress(cases, "Checking cases"):
        used = method.as_used(case)
        problems[case.id] = list(method.problems(used))
        if method.in_space and not problems[case.id]:
            try:
                facts[case.id] = census.facts(used, *census.look(used, method.image_names))
            except UserError as error:  # of a label map, say, that the method has no use for
                warnings.append(Suspicion("not read", (case.id,), str(error)))
    further = method.further_problems(progress)
    parts = {case.id: name for name, part in method.cases.items() for case in part}
    training = {name for name, part in parts.items() if part == "train"}
    classes = method.case_spec.label_values or ()
    warnings += suspicions(list(facts.values()), _in_hounsfield(method), classes, training)
    return {"facts": facts, "problems": problems | further, "further": further, "parts": parts, "warnings": warnings,
            "sheets": []}  # fmt: skip


def _in_hounsfield(method):
    """Whether the settings have a window of HU, so that the images must be CT."""
    return any(step.step == "window" for step in method.settings.data.preprocess)


# --- in words ---------------------------------------------------------------------------------------------------------


def _tell(method, cases, found):
    from rich.table import Column, Table
    from rich.text import Text

    from tfmed.engine.terminal import output

    if found["facts"]:
        table = Table("case", "image", "voxels (z, y, x)", "mm", "axes", "range", Column("labels", overflow="fold"),
                      box=None)  # fmt: skip
        for row in _rows(found["facts"], getattr(method.config, "class_names", {})):
            table.add_row(*map(Text, row))
        output.print(table)

    def show(title, lines):
        table = Table("case", Column(title, overflow="fold"), box=None)
        for line in lines:
            table.add_row(*map(Text, line))
        if lines:
            output.print(table)

    for line in _summary(cases, found):
        output.print(Text(line))
    show("warning", list(_warned(found)))
    for line in _not_used(found["unused"], method, cases):
        output.print(Text(line))
    show("problem", _problems(found))
    for path in found["sheets"]:
        output.print(Text(f"sheet: {path}"))
    if not any(found["problems"].values()):
        seen = f"; {len(found['warnings'])} warning(s) above: look at these cases" if found["warnings"] else ""
        output.print(Text(f"all can be used; prepared in {method.cache.folder}{seen}"))


def _rows(facts, names):
    """Texts of the table of cases."""
    for case in list(facts.values())[:_ROWS]:
        name, labels = case.id, _labels(case, names)
        for image, seen in case.images.items():
            channels = f" x {seen.channels} channels" if seen.channels > 1 else ""
            spacing = "-" if seen.spacing is None else " x ".join(f"{size:.3g}" for size in seen.spacing)
            axes = "-" if seen.spacing is None else seen.orientation
            yield (name, image, " x ".join(map(str, seen.shape)) + channels, spacing, axes,
                   f"{seen.lowest:.5g} to {seen.highest:.5g}", labels)  # fmt: skip
            name = labels = ""
    if len(facts) > _ROWS:
        yield f"and {len(facts) - _ROWS} more (--json lists all)", "", "", "", "", "", ""


def _labels(case, names, most=6):
    if case.labels is None:
        return "no label map"
    shown = []
    for number, voxels in list(case.labels.items())[:most]:
        size = f"{voxels} pixels" if case.voxel_ml is None else f"{voxels * case.voxel_ml:.3g} ml"
        shown.append(f"{names.get(number, number)}: {size}")
    more = f" and {len(case.labels) - most} more" if len(case.labels) > most else ""
    return ", ".join(shown) + more if shown else "empty"


def _summary(cases, found):
    parts = list(found["parts"].values())
    counts = ", ".join(f"{parts.count(name)} {name}" for name in ("train", "validation", "test"))
    labelled, outliers = sum(case.label is not None for case in cases), _outliers(found)
    yield f"{len(cases)} cases ({counts}), {labelled} with a label, {len({c.group for c in cases})} patients"
    yield f"{len(outliers)} with a warning, {sum(map(bool, found['problems'].values()))} with a problem"


def _outliers(found):
    return {case for one in found["warnings"] for case in one.cases}


def _warned(found, most=3):
    for one in found["warnings"]:
        more = f" and {len(one.cases) - most} more" if len(one.cases) > most else ""
        yield ", ".join(one.cases[:most]) + more or "all", f"{one.kind}: {one.text}"


def _problems(found):
    return [(case, line) for case, lines in found["problems"].items() for line in lines]


def _not_used(files, method, cases, longest=20):
    """Lines about images that the method has no use for, and about files that belong to no case."""
    if others := _other_images(method, cases):
        yield f"not used by {method.settings.method}: the images {', '.join(others)}"
    for reason in dict.fromkeys(reason for _, reason in files):
        paths = [str(path) for path, why in files if why == reason]
        yield f"{len(paths)} file(s) not used, {reason}:"
        yield from (f"  {path}" for path in paths[:longest])
        if len(paths) > longest:
            yield f"  and {len(paths) - longest} more"


def _other_images(method, cases):
    return sorted({name for case in cases for name in case.images} - set(method.image_names))


# --- for machines -----------------------------------------------------------------------------------------------------


def _document(method, cases, found):
    """What was found, as plain values."""
    parts = list(found["parts"].values())
    return {
        "method": method.settings.method,
        "source": method.settings.data.source,
        "root": method.settings.data.root,
        "cases": [_plain(case, found) for case in cases],
        "problems_of_further_sets": found["further"],
        "summary": {
            "cases": len(cases),
            "parts": {name: parts.count(name) for name in ("train", "validation", "test")},
            "labelled": sum(case.label is not None for case in cases),
            "patients": len({case.group for case in cases}),
            "outliers": sorted(_outliers(found)),
            "problems": sum(map(len, found["problems"].values())),
        },
        "warnings": [{"kind": one.kind, "cases": list(one.cases), "text": one.text} for one in found["warnings"]],
        "images_not_used": _other_images(method, cases),
        "files_not_used": [{"path": str(path), "reason": reason} for path, reason in found["unused"]],
        "sheets": [str(path) for path in found["sheets"]],
        "prepared_in": str(method.cache.folder),
    }


def _plain(case, found):
    facts = found["facts"].get(case.id)
    plain = {"id": case.id, "patient": case.group, "part": found["parts"].get(case.id), "images": {}, "labels": None}
    if facts:
        plain["images"] = {
            name: {
                "shape": list(seen.shape),
                "channels": seen.channels,
                "spacing_mm": None if seen.spacing is None else list(seen.spacing),
                "orientation": seen.orientation,
                "range": [seen.lowest, seen.highest],
            }
            for name, seen in facts.images.items()
        }
    if facts and facts.labels is not None:
        ml = facts.voxel_ml
        plain["labels"] = [{"number": number, "voxels": voxels, "ml": None if ml is None else voxels * ml}
                           for number, voxels in facts.labels.items()]  # fmt: skip
    return plain | {"problems": found["problems"][case.id]}


# --- for people -------------------------------------------------------------------------------------------------------


def _sheets(method, cases, found, folder, progress, most=96):
    """Paths of the contact sheets: of all cases, or of those with warnings and as many others as fit on four pages."""
    from tfmed.data import census
    from tfmed.data.suspicions import by_case
    from tfmed.pictures import style
    from tfmed.pictures.contact_sheet import COLUMNS, ROWS, Cell, ContactSheet

    warned = by_case(found["warnings"])
    chosen, paths, cells = _chosen(cases, warned, most), [], []
    text = f"{len(chosen)} of {len(cases)} cases" + (": those with warnings, and others spread over the set."
                                                     if len(chosen) < len(cases) else ".")  # fmt: skip
    for case in progress(chosen, "Drawing cases"):
        notes = tuple(dict.fromkeys(one.kind for one in warned.get(case.id, ())))
        if case.id in found["facts"]:
            images, label = census.look(method.as_used(case), method.image_names)
            cells.append(Cell.of(case.id, next(iter(images.values())), label, notes))
        else:
            cells.append(Cell(case.id, None, notes=("problem",)))
        if len(cells) == COLUMNS * ROWS or case is chosen[-1]:
            paths.append(folder / f"cases-{len(paths) + 1}.png")
            style.save(ContactSheet(tuple(cells), f"Page {len(paths)}; {text}"), paths[-1])
            cells = []
    return paths


def _chosen(cases, warned, most):
    """At most so many cases, in their order: those with warnings first, then every n-th of the others."""
    first = [case.id for case in cases if case.id in warned][:most]
    others = [case.id for case in cases if case.id not in warned]
    room = min(most - len(first), len(others))
    kept = {*first, *(others[index * len(others) // room] for index in range(room))}
    return [case for case in cases if case.id in kept]


if __name__ == "__main__":
    sys.exit(cli.run(main))
cli.callable_module(__name__, _prepare)
