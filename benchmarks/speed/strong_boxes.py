"""Strong augmentation of pictures with boxes beside imgaug: colour, a geometric operation, cutout; 512 x 512, 8 boxes.

Run: python -m benchmarks.speed.strong_boxes [--rounds 15]

imgaug is called picture by picture with its boxes, which it cuts at the borders. Its chain has the same members: one of
the same eight changes of colour or none, one of translation, rotation and shear of the whole picture (bilinear, grey
outside), and one to five grey squares. tfmed's `strong(where="image")` is compared with it, as imgaug has nothing that
moves the inside of a box; `where="one"`, the usual one, is timed too. Draws differ, so that answers are compared where
nothing is drawn: one rotation, and one shift, of the picture and of its boxes.
"""

import numpy as np

from benchmarks.support.pairs import main, near

SIDE, BOXES, PICTURES, GREY = 512, 8, 20, 125  # pictures in a round
ANGLE, SHIFT = 20.0, 30.0  # of the comparison: degrees, pixels
MOVES = ("shifted", "turned")


def inputs():
    """A smooth picture, and boxes about its middle."""
    draw = np.random.default_rng(0)
    y, x = np.mgrid[:SIDE, :SIDE] / 40
    image = np.stack([np.sin(x + k) * np.cos(y) for k in range(3)], -1)
    corners = draw.uniform(150, 300, (BOXES, 2))
    boxes = np.concatenate([corners, corners + draw.uniform(20, 60, (BOXES, 2))], 1)
    return {"image": np.uint8(127.5 + 120 * image), "boxes": boxes}


def turn():
    """Places `(2, 3)` after a rotation about the middle."""
    angle, middle = np.deg2rad(ANGLE), np.full(2, SIDE / 2)
    matrix = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return np.concatenate([matrix, (middle - matrix @ middle)[:, None]], 1)


def ours(where):
    """tfmed's chain."""

    def setup(given, folder):
        from tfmed.augment.boxes import strong, warped, warped_boxes

        image, boxes = given["image"], given["boxes"]
        shift = np.array([[1.0, 0.0, SHIFT], [0.0, 1.0, 0.0]])

        def run(number):
            draw = np.random.default_rng(number)
            for _ in range(PICTURES):
                strong(image, boxes, draw, where)

        def results():
            return {f"{name} {kind}": call(given[kind], matrix)
                    for name, matrix in (("turned", turn()), ("shifted", shift))
                    for kind, call in (("image", warped), ("boxes", warped_boxes))}  # fmt: skip

        return run, results, PICTURES

    return setup


def theirs(given, folder):
    """imgaug's chain."""
    from tfmed.compat import import_imgaug

    imgaug = import_imgaug()
    aug, pil = imgaug.augmenters, imgaug.augmenters.pillike
    from imgaug.augmentables.bbs import BoundingBox, BoundingBoxesOnImage

    imgaug.seed(0)
    strength, place = (0.28, 1.72), {"order": 1, "cval": GREY}
    colour = [aug.Identity(), pil.Autocontrast(cutoff=0), pil.Equalize(), pil.Solarize(1.0, threshold=(26, 230)),
              pil.EnhanceColor(strength), pil.EnhanceContrast(strength), pil.EnhanceBrightness(strength),
              pil.EnhanceSharpness(strength), pil.Posterize((4, 7))]  # fmt: skip
    move = [aug.Affine(translate_percent={"x": (-0.1, 0.1)}, **place),
            aug.Affine(translate_percent={"y": (-0.1, 0.1)}, **place),
            aug.Affine(rotate=(-30, 30), **place), aug.Affine(shear=(-30, 30), **place)]  # fmt: skip
    squares = aug.Cutout(nb_iterations=(1, 5), size=(0.0, 0.2), squared=True, fill_mode="constant", cval=GREY)
    chain = aug.Sequential([aug.OneOf(colour), aug.OneOf(move), squares])
    image = given["image"]
    boxes = BoundingBoxesOnImage([BoundingBox(*box) for box in given["boxes"]], image.shape)

    def run(number):
        for _ in range(PICTURES):
            _, moved = chain(image=image, bounding_boxes=boxes)
            moved.remove_out_of_image().clip_out_of_image()

    def results():
        found = {}
        for name, one in (("turned", aug.Affine(rotate=ANGLE, **place)),
                          ("shifted", aug.Affine(translate_px={"x": int(SHIFT)}, **place))):  # fmt: skip
            found[f"{name} image"], moved = one(image=image, bounding_boxes=boxes)
            found[f"{name} boxes"] = moved.to_xyxy_array()
        return found

    return run, results, PICTURES


def check(given, found):
    """Boxes and pictures after the same moves, away from the borders, which imgaug's rounding may place differently."""
    ours, theirs = found["tfmed, image"], found["imgaug"]
    inner = slice(100, -100)
    lines = [near(f"{name} boxes, px", ours[f"{name} boxes"], theirs[f"{name} boxes"], 1e-3) for name in MOVES]
    return lines + [near(f"{name} image, grey values", ours[f"{name} image"][inner, inner],
                         theirs[f"{name} image"][inner, inner], 1.0) for name in MOVES]  # fmt: skip


SIDES = {"tfmed, image": ours("image"), "tfmed, one": ours("one"), "imgaug": theirs}

if __name__ == "__main__":
    main(__doc__, {"strong, 512 x 512, 8 boxes": inputs}, SIDES, check)
