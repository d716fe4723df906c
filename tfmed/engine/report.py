"""report.html: settings, curves, pictures, metrics and environment of a run in one file that needs no network."""

import base64
import csv
import io
import pathlib
import re

from tfmed import registry
from tfmed.engine.log import Table, read_metrics
from tfmed.files import write_text

_MOST_PICTURES = 6


def write(run):
    """Write (or renew) a run's report.html; returns its path."""
    import jinja2

    folder = pathlib.Path(__file__).parent / "templates"
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(folder), autoescape=True)
    info = registry.info(run.method_name)
    series = read_metrics(run.path / "metrics.csv")
    text = environment.get_template("report.html").render(
        title=info.title,
        paper=info.paper,
        name=run.path.name,
        profile=run.settings.profile,
        source=run.settings.data.source,
        pictures=[_picture(path) for path in _chosen_pictures(run.path / "previews")],
        evaluation=_evaluation(run.path / "evaluation.csv"),
        curves=[{"svg": svg} for svg in _curves(series)],
        last=[dict(stage=stage, split=split, metric=name, step=steps[-1], value=values[-1])
              for (stage, split, name), (steps, values) in series.items()],
        timing=_timing(run.path / "timing.csv"),
        settings=(run.path / "config.yaml").read_text(encoding="utf-8"),
        environment=(run.path / "environment.json").read_text(encoding="utf-8"),
    )
    path = run.path / "report.html"
    write_text(path, text)
    return path


def _chosen_pictures(folder):
    """The final pictures, then those taken on the way, evenly thinned out."""
    final = [path for path in sorted(folder.glob("*.png")) if not re.search(r"-\d{8}$", path.stem)]
    others = [path for path in sorted(folder.glob("*.png")) if path not in final]
    room = max(_MOST_PICTURES - len(final), 0)
    chosen = others if len(others) <= room else [others[i * len(others) // room] for i in range(room)] if room else []
    return final + chosen


def _picture(path):
    return {"name": path.stem, "data": base64.b64encode(path.read_bytes()).decode()}


def _evaluation(path):
    if not path.exists():
        return []
    with open(path, newline="", encoding="utf-8") as stream:
        return [{name: _short(value) for name, value in row.items()} for row in csv.DictReader(stream)]


def _short(text):
    return text if not re.fullmatch(r"-?\d+\.\d+(e-?\d+)?", text) else f"{float(text):.4g}"


def _curves(series):
    """One drawing per stage, a panel per metric, as SVG text."""
    from matplotlib.figure import Figure

    for stage in dict.fromkeys(key[0] for key in series):
        names = list(dict.fromkeys(key[2] for key in series if key[0] == stage))
        rows = -(-len(names) // 3)
        figure = Figure(figsize=(10, 2.4 * rows), layout="constrained")
        axes = figure.subplots(rows, 3, squeeze=False).ravel()
        for axis, name in zip(axes, names, strict=False):
            for split in ("train", "validation"):
                if (stage, split, name) in series:
                    axis.plot(*series[stage, split, name], label=split, linewidth=1.2)
            axis.set_title(f"{stage}: {name}", fontsize=9)
            axis.tick_params(labelsize=8)
            axis.set_xlabel("step", fontsize=8)
        for axis in axes[len(names):]:
            axis.set_visible(False)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg")
        text = buffer.getvalue()
        yield text[text.index("<svg") :]


def _timing(path):
    rows = Table(path, ()).rows
    return {name: float(rows[-1][name]) for name in ("seconds_per_step", "waiting_share")} if rows else None
