"""Pictures of the documentation: trains each method's demo profile and keeps one small picture of what it draws.

python docs/gallery.py                    all methods, those without a picture first; none is trained twice
python docs/gallery.py equireg gbdl       these alone
python docs/gallery.py --drawn            no training: pictures of the runs that there are

Runs lie in runs/gallery/<method>; one that was stopped goes on. Pictures are written to docs/gallery/<method>.jpg.
"""

import argparse
import io
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tfmed import registry  # noqa: E402
from tfmed.files import atomic_path  # noqa: E402

GALLERY = ROOT / "docs" / "gallery"
MOST_BYTES = 60_000
SIDES = (1000, 840, 700, 580, 480, 400)  # pixels of the longer side, tried from the largest
# Curves, tables and single rows say less at a glance than pictures of what is made: only where there is no other.
CHARTS = (
    "classes",
    "cluster_sizes",
    "confusion",
    "errors",
    "froc",
    "histogram",
    "interpolation",
    "latents",
    "learning",
    "precision",
    "profiles",
    "success",
)


def main(words):
    """Draw what is asked for; returns the exit status, 1 if a training failed or left no picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("methods", nargs="*", metavar="METHOD", help="default: all that can be trained")
    parser.add_argument("--drawn", action="store_true", help="train nothing: pictures of the runs that there are")
    arguments = parser.parse_args(words)
    if unknown := set(arguments.methods) - set(registry.names()):
        parser.error(f"no method {', '.join(sorted(unknown))}; 'tfmed catalog' lists them")
    names = arguments.methods or sorted(registry.names(), key=lambda name: picture_of(name).exists())
    missing = [name for name in names if not draw(name, train=not arguments.drawn)]
    print(f"{len(names) - len(missing)} pictures" + (f"; none of {', '.join(missing)}" if missing else ""))
    return 1 if missing else 0


def picture_of(name):
    """Where the picture of a method lies."""
    return GALLERY / f"{name}.jpg"


def draw(name, train):
    """Keep the picture of a method's run, after training it where that is wanted; whether there is one now."""
    run = ROOT / "runs" / "gallery" / name
    if train and not previews(run):
        print(f"{name}: training", flush=True)
        begun = (run / "config.yaml").is_file()
        words = [run, "--resume"] if begun else [name, "--profile", "demo", "--run-dir", run]
        subprocess.run([sys.executable, "-m", "tfmed.fit", *map(str, words)], cwd=ROOT)
    if not (found := previews(run)):
        return picture_of(name).exists()
    from PIL import Image

    with Image.open(found[0]) as picture:
        kept = small(picture, MOST_BYTES)
    with atomic_path(picture_of(name)) as temporary:
        temporary.write_bytes(kept)
    print(f"{name}: {found[0].name}, {len(kept) // 1000} kB", flush=True)
    return True


def previews(run):
    """Pictures of a finished training, the most telling first: those without a step in their name."""
    final = [path for path in (run / "previews").glob("*.png") if not path.stem.rpartition("-")[2].isdigit()]
    return sorted(final, key=lambda path: (path.stem in CHARTS, -path.stat().st_mtime, path.name))


def small(picture, most_bytes):
    """An image of PIL as the bytes of a JPEG of at most `most_bytes`."""
    from PIL import Image

    flat = Image.new("RGB", picture.size, "white")
    flat.paste(picture, mask=picture.getchannel("A") if picture.mode == "RGBA" else None)
    for side in SIDES:
        scale = min(1.0, side / max(flat.size))
        shown = flat.resize((round(flat.width * scale), round(flat.height * scale)), Image.Resampling.LANCZOS)
        for quality in (88, 78, 66):
            held = io.BytesIO()
            shown.save(held, "JPEG", quality=quality, optimize=True)
            if held.tell() <= most_bytes:
                return held.getvalue()
    raise SystemExit(f"a picture of {picture.size} pixels does not go into {most_bytes} bytes: crop it")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
