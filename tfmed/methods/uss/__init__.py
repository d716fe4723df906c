"""Uncertainty slice sampling: which slices should be annotated next?

Paper: G. Chlebus, A. Schenk, H. K. Hahn, B. van Ginneken, H. Meine, "Robust Segmentation Models Using an Uncertainty
Slice Sampling-Based Annotation Workflow", IEEE Access 10, 2022.

Task: active learning: which slices to annotate next, by simulation or by a person through a folder.

Idea: A 3-D network asks for single slices, those at the peaks of its own uncertainty (Monte Carlo dropout) along each
volume. A Dice loss that counts annotated slices alone lets it learn from them. Compared with asking for whole volumes
(UVS), and with volumes or slices at random (RVS, RSS).

Reproduces: Tables 2 and 4 - 9: after five rounds a mean Dice of 0.960 (5th percentile 0.936) from 4 % of the slices,
converged 0.964 (0.946), against 0.967 (0.945) with all slices; 484 abdominal CTs, most of them private. 12,000 to
139,000 steps per round, overnight on a GPU that the authors do not name.

Deviates: the widths of the network's levels stand in a figure that is not at hand (see `nn.aunet`). Open in the paper
and chosen here: HU window [-200, 250]; the organ mask of a volume's score is the network's own; an epoch has as many
patches as tile the annotated slices; "converged" means no better Jaccard for 50,000 steps; a round's network is judged
without dropout. Patches read real context and mirror only past a volume's border (the paper pads 4 slices by 20, which
cannot be mirrored).

With `model.annotations=FOLDER` a person answers: a run writes the slices to annotate as NIfTI with draft labels, ends,
and goes on with `--resume` once the corrected labels lie in the folder.
"""

from tfmed.methods.uss.method import USS, Config, build_network
from tfmed.methods.uss.method import USSMethod as METHOD

__all__ = ["METHOD", "USS", "Config", "build_network"]
