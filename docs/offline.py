"""python docs/offline.py site: exit status 1 if a page of the built site loads anything from a network."""

import pathlib
import re
import sys

# What a browser fetches by itself: scripts, styles, pictures, frames, fonts. Links that a person follows are not.
LOADED = re.compile(
    r"""<(?:script|img|iframe|source|video|audio|embed)\b[^>]*?\bsrc=["']?((?:https?:)?//[^"'\s>]+)"""
    r"""|<link\b[^>]*?\bhref=["']?((?:https?:)?//[^"'\s>]+)|url\(["']?((?:https?:)?//[^"')]+)""",
    re.IGNORECASE,
)


def main(words):
    """Look at all pages and style sheets below a folder; returns the exit status."""
    folder = pathlib.Path(words[0])
    pages = [path for kind in ("*.html", "*.css") for path in sorted(folder.rglob(kind))]
    found = [(path, "".join(match.groups(""))) for path in pages for match in LOADED.finditer(path.read_text("utf-8"))]
    for path, address in found:
        print(f"{path.relative_to(folder)}: loads {address}", file=sys.stderr)
    print(f"{folder}: {len(pages)} pages and style sheets, {len(found)} of what they load from a network")
    return 1 if found or not pages else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
