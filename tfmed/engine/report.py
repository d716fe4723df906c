"""report.html: pictures, evaluation, curves, settings and environment of a run, in one file that needs no network."""

import base64
import io
import os
import re
import typing

import pydantic
import yaml

from tfmed import registry
from tfmed.engine.log import TIMING, Table, read_metrics
from tfmed.engine.templating import template
from tfmed.engine.terminal import log
from tfmed.errors import RunError
from tfmed.files import damage, own_bytes, own_csv, own_text, write_text
from tfmed.metrics import definitions
from tfmed.pictures.style import ON_WHITE, panels

VIEW = "view.html"  # of a run, which `tfmed view` writes
_MOST_PICTURES = 6  # of the end, and as many of the way there
_LARGEST_PICTURE = 1 << 26  # bytes


def write(run):
    """Write (or renew) a run's report.html; returns its path.

    What the run has not written yet is left out, and what is damaged, with a word.
    """
    series = _read(read_metrics, run.path / "metrics.csv", {})
    final, way = _chosen_pictures(run.path / "previews")
    columns, scores = _read(own_csv, run.path / "evaluation.csv", ([], []))
    text = template("report.html").render(
        info=registry.info(run.method_name),
        run=run,
        view=VIEW if (run.path / VIEW).is_file() else None,
        settings=run.settings,
        final=[_shown(*item) for item in final],
        way=[_shown(*item) for item in way],
        evaluation=[joined(row) for row in scores],
        definitions=definitions.of_columns(columns),
        curves=list(_curves(series)),
        last=_last_values(series),
        timing=_read(_timing, run.path / "timing.csv", None),
        changed=_yaml(changed(run.settings)),
        all_settings=_yaml(run.settings.model_dump(mode="json")),
        environment=_read(own_text, run.path / "environment.json", ""),
    )
    path = run.path / "report.html"
    write_text(path, text)
    return path


def write_comparison(comparison, rows, pictures):
    """Write (or renew) the report.html of a Comparison; returns its path.

    Args:
        comparison: the Comparison.
        rows: of its table.
        pictures: {title: (Figure, caption)}.
    """
    shown = []
    for title, (figure, caption) in pictures.items():
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=110, facecolor=figure.get_facecolor())
        data = base64.b64encode(buffer.getvalue()).decode()
        shown.append({"title": title.capitalize(), "caption": caption, "data": data})
    done = comparison.scored()
    text = template("comparison.html").render(
        comparison=comparison,
        first=next(iter(comparison.configs)),
        rows=[joined({key: _plain(value) for key, value in row.items()}) for row in rows],
        pictures=shown,
        definitions=definitions.of_columns(dict.fromkeys(key for row in rows for key in row)),
        missing=[f"{name}, {repeat}" for name, repeat in comparison.settings if (name, repeat) not in done],
        links=[
            {"name": name, "repeat": repeat, "path": f"{name}/{repeat.folder}/report.html"} for name, repeat in done
        ],
    )
    path = comparison.out / "report.html"
    write_text(path, text)
    return path


def _plain(value):
    return repr(float(value)) if isinstance(value, float) else str(value)


def _read(reader, path, nothing):
    """What a reader makes of a file; `nothing` where there is none, or where it is damaged, with a word."""
    if not os.path.lexists(path):
        return nothing
    try:
        return reader(path)
    except RunError as error:
        line = str(error)
    except (OSError, ValueError) as error:
        line = damage(path, error)
    log.warning("%s; it is left out of the report", line)
    return nothing


def _chosen_pictures(folder):
    """Two lists of (bytes, caption, name, step): the pictures of the end, and an even choice of those of the way there.

    Pictures that a person laid there carry no caption of ours, and stay out.
    """
    found = []
    for path in sorted(folder.glob("[!.]*.png")):
        data, caption = _read(_picture, path, (None, None))
        if caption is not None:
            name, step = re.fullmatch(r"(.*?)(?:-(\d{8}))?", path.stem, re.DOTALL).groups()
            found.append((data, caption, name.encode(errors="replace").decode(), step and int(step)))
    way = sorted((item for item in found if item[3] is not None), key=lambda item: (item[3], item[2]))
    # A run that was broken off has no last pictures yet: the newest ones take their place.
    final = [item for item in found if item[3] is None] or [item for item in way if item[3] == way[-1][3]]
    shown = {item[0] for item in final}  # the last ones on the way are often those of the end
    way = [item for item in way if item[0] not in shown]
    count = min(len(way), _MOST_PICTURES)
    return final[:_MOST_PICTURES], [way[(i + 1) * len(way) // count - 1] for i in range(count)]


def _picture(path):
    """(bytes, caption) of a picture; the caption is None where it is none of ours."""
    from PIL import Image

    data = own_bytes(path, _LARGEST_PICTURE)
    try:
        with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
            image.load()
            return data, image.info.get("Description")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        raise ValueError(f"{path}: is no whole picture") from None


def _shown(data, caption, name, step):
    when = "at the end" if step is None else f"after step {step}"
    return {
        "title": f"{name.capitalize()} {when}",
        "caption": caption,
        "data": base64.b64encode(data).decode(),
    }


def joined(row):
    """A row as text, with each pair "X mean", "X std" made one column."""
    shown = {}
    for name, value in row.items():
        stem = name.removesuffix(" mean")
        if stem != name and f"{stem} std" in row:
            spread = row[f"{stem} std"]  # of a single value there is none
            shown[stem] = _short(value) + (f" ± {_short(spread, 2)}" if spread not in ("", "nan") else "")
        elif not (name.endswith(" std") and f"{name.removesuffix(' std')} mean" in row):
            shown[name] = _short(value)
    return shown


def _short(text, digits=4):
    return f"{float(text):.{digits}g}" if re.fullmatch(r"-?\d+(\.\d+)?(e[-+]?\d+)?", text or "") else text


def _curves(series):
    """(stage, drawing as SVG text): a panel per family of metrics, that is, of names with the same first word."""
    from matplotlib import rc_context

    for stage in dict.fromkeys(key[0] for key in series):
        names = list(dict.fromkeys(key[2] for key in series if key[0] == stage))
        families = {}
        for name in names:
            families.setdefault(name.partition("_")[0], []).append(name)
        columns = min(3, len(families))
        rows = -(-len(families) // columns)
        width = (10 if columns > 1 else 5) / columns - 0.75
        figure, axes = panels(rows, columns, (width, 1.85), (0.65, 0.1, 0.5, 0.35), (0.75, 0.85))
        axes = axes.ravel()
        for axis, (first, members) in zip(axes, families.items(), strict=False):
            _panel(axis, first, members, {key[1:]: values for key, values in series.items() if key[0] == stage})
        for axis in axes[len(families) :]:
            axis.set_visible(False)
        buffer = io.StringIO()
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        with rc_context({"svg.fonttype": "none", "svg.hashsalt": stage}):
            figure.savefig(buffer, format="svg", transparent=True, metadata=nothing)
        text = buffer.getvalue()
        yield stage, text[text.index("<svg") :]


def _panel(axis, first, members, series):
    for i, name in enumerate(members):
        for split, style in (("train", "-"), ("validation", "--")):
            if (split, name) in series:
                steps, values = series[split, name]
                member = name.removeprefix(first).strip("_") or name
                axis.plot(
                    steps,
                    values,
                    style,
                    label=member if split == "train" else f"{member}, {split}",
                    color=ON_WHITE[i % len(ON_WHITE)],
                    linewidth=1.3,
                    marker="." if len(steps) < 3 else None,
                )
    axis.set_title(first if len(members) > 1 else members[0], fontsize=10, loc="left")
    if len(axis.lines) > 1:
        axis.legend(fontsize=8, frameon=False)
    axis.set_xlabel("step", fontsize=8)
    axis.tick_params(labelsize=8)
    axis.grid(alpha=0.25)
    axis.spines[["top", "right"]].set_visible(False)


def _last_values(series):
    """A row per metric: its stage, step, and newest value in training and validation."""
    rows = {}
    for (stage, split, name), (steps, values) in series.items():
        row = rows.setdefault((stage, name), {"stage": stage, "metric": name})
        row |= {"step": max(steps[-1], row.get("step", 0)), split: _short(repr(values[-1]))}
    return list(rows.values())


def _timing(path):
    rows = [row for row in Table(path, TIMING).rows if row.get("seconds_per_step") and row.get("waiting_share")]
    return {name: float(rows[-1][name]) for name in ("seconds_per_step", "waiting_share")} if rows else None


def changed(settings):
    """What of settings differs from the defaults, as plain values; steps and networks keep their names.

    Args:
        settings: a pydantic model of settings, such as a run's.
    """
    found = {}
    for name, field in type(settings).model_fields.items():
        value = getattr(settings, name)
        is_tag = name in ("step", "name") and typing.get_origin(field.annotation) is typing.Literal
        if is_tag or value != field.get_default(call_default_factory=True):
            found[name] = _plain_settings(value)
    return found


def _plain_settings(value):
    if isinstance(value, pydantic.BaseModel):
        return changed(value)
    if isinstance(value, (list, tuple)):
        return [_plain_settings(item) for item in value]
    if isinstance(value, dict):
        return {key: _plain_settings(item) for key, item in value.items()}
    return value


def _yaml(values):
    return yaml.safe_dump(values, sort_keys=False, default_flow_style=None, width=100)
