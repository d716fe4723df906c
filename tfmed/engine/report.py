"""report.html: pictures, evaluation, curves, settings and environment of a run, in one file that needs no network."""

import base64
import csv
import io
import pathlib
import re

import yaml

from tfmed import registry
from tfmed.engine.log import Table, read_metrics
from tfmed.files import write_text
from tfmed.metrics import definitions
from tfmed.pictures.style import ON_WHITE, panels

_MOST_PICTURES = 6  # of the end, and as many of the way there


def write(run):
    """Write (or renew) a run's report.html; returns its path. What the run has not written yet is left out."""
    series = read_metrics(run.path / "metrics.csv")
    final, way = _chosen_pictures(run.path / "previews")
    text = _template("report.html").render(
        info=registry.info(run.method_name),
        run=run,
        settings=run.settings,
        final=[_picture(*item) for item in final],
        way=[_picture(*item) for item in way],
        evaluation=_evaluation(run.path / "evaluation.csv"),
        definitions=_definitions(run.path / "evaluation.csv"),
        curves=list(_curves(series)),
        last=_last_values(series),
        timing=_timing(run.path / "timing.csv"),
        changed=_yaml(run.settings.model_dump(mode="json", exclude_defaults=True)),
        all_settings=_yaml(run.settings.model_dump(mode="json")),
        environment=_text(run.path / "environment.json"),
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
    text = _template("comparison.html").render(
        comparison=comparison,
        first=next(iter(comparison.configs)),
        rows=[joined({key: _plain(value) for key, value in row.items()}) for row in rows],
        pictures=shown,
        definitions=definitions.of_columns(dict.fromkeys(key for row in rows for key in row)),
        missing=[f"{name}, seed {seed}" for name, seed in comparison.settings if (name, seed) not in done],
        links=[{"name": name, "seed": seed, "path": f"{name}/seed-{seed}/report.html"} for name, seed in done],
    )
    path = comparison.out / "report.html"
    write_text(path, text)
    return path


def _template(name):
    import jinja2

    folder = pathlib.Path(__file__).parent / "templates"
    loader = jinja2.FileSystemLoader(folder)
    return jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True).get_template(name)


def _plain(value):
    return repr(float(value)) if isinstance(value, float) else str(value)


def _chosen_pictures(folder):
    """Two lists of (path, name, step): the pictures of the end, and an even choice of those of the way there."""
    found = []
    for path in sorted(folder.glob("[!.]*.png")):
        name, step = re.fullmatch(r"(.*?)(?:-(\d{8}))?", path.stem).groups()
        found.append((path, name, step and int(step)))
    way = sorted((item for item in found if item[2] is not None), key=lambda item: (item[2], item[1]))
    # A run that was broken off has no last pictures yet: the newest ones take their place.
    final = [item for item in found if item[2] is None] or [item for item in way if item[2] == way[-1][2]]
    shown = {item[0].read_bytes() for item in final}  # the last ones on the way are often those of the end
    way = [item for item in way if item[0].read_bytes() not in shown]
    count = min(len(way), _MOST_PICTURES)
    return final[:_MOST_PICTURES], [way[(i + 1) * len(way) // count - 1] for i in range(count)]


def _picture(path, name, step):
    from PIL import Image

    with Image.open(path) as image:
        caption = image.info.get("Description", "")
    when = "at the end" if step is None else f"after step {step}"
    data = base64.b64encode(path.read_bytes()).decode()
    return {"title": f"{name.capitalize()} {when}", "caption": caption, "data": data}


def _evaluation(path):
    """Rows of evaluation.csv; a pair of columns "X mean" and "X std" becomes one column X, "mean ± std"."""
    if not path.exists():
        return []
    with open(path, newline="", encoding="utf-8") as stream:
        return [joined(row) for row in csv.DictReader(stream)]


def _definitions(path):
    """What the columns of evaluation.csv mean."""
    if not path.exists():
        return []
    with open(path, newline="", encoding="utf-8") as stream:
        return definitions.of_columns(csv.DictReader(stream).fieldnames or ())


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
    rows = Table(path, ()).rows
    return {name: float(rows[-1][name]) for name in ("seconds_per_step", "waiting_share")} if rows else None


def _yaml(values):
    return yaml.safe_dump(values, sort_keys=False, default_flow_style=None, width=100)


def _text(path):
    return path.read_text(encoding="utf-8") if path.exists() else ""
