"""3-D boxes: cheap boxes around an organ, shrunk slice by slice, teach a segmenter that sees no mask.

Paper: Redekop & Chernyavskiy, "Medical Image Segmentation with Imperfect 3D Bounding Boxes", DALI (MICCAI) 2021; the
losses are those of Kervadec et al., "Bounding boxes for weakly supervised segmentation", MIDL 2020.

Task: weakly supervised segmentation from 3-D boxes, 2-D with neighbouring slices

Idea: one 3-D box around an organ gives each slice the same rectangle, far too wide on most of them. A classifier of
small patches, trained on a few annotated volumes, says where in the rectangle the organ is, and the box shrinks to
that. A U-Net then learns from the boxes alone: something must cross every stripe of a box, neither too little nor too
much lies in it, and nothing outside.

Reproduces: Table 1, Dice of livers (Decathlon Task03) after correction with 5, 10 and 20 annotated volumes: 0.83, 0.86,
0.90 (patches of 16 pixels) and 0.82, 0.84, 0.89 (32), between 0.28 without correction and 0.90 with tight boxes; masks
0.92. Table 2, mean IoU with the tight boxes: 0.15 before, 0.87 to 0.93 after. The paper names no hardware.

Deviates: HU are scaled by the masks of the annotated volumes alone (`statistics_from: all_train` takes all, as
published); one split of 100 to 31 volumes, `data.split.folds=3` for the other that the text names. Patches of 16 pixels
are resized to 32, the least that VGG-16 takes; its weights are random. Open in the paper: a slice without any patch
keeps its box (`uncovered`), annotated volumes have tight boxes and no masks (`use_masks`), numbers of the losses are
those of their public code, whose stripes miss the last line of a box (not so here). `box_filter` is ours: one false
patch in a corner restores the whole box. Slices are flipped at most; turning them would loosen their boxes.
"""

from tfmed.methods.boxes3d.method import Boxes3DMethod
from tfmed.methods.boxes3d.models import build_classifier, build_network
from tfmed.methods.boxes3d.settings import Config

__all__ = ["Config", "build_classifier", "build_network"]

METHOD = Boxes3DMethod
