"""CT-SGAN's downstream experiment: does a detector of lung nodules learn more from synthetic CTs?

Paper: A. Pesaranghader, Y. Wang, M. Havaei, "CT-SGAN: Computed Tomography Synthesis GAN", DGM4MICCAI 2021, Sect. 3 and
Appendix B; injector and eraser after Jin et al., MICCAI 2018 (simulated lung nodules).

Task: nodules injected and erased; a classifier from real, synthetic, or synthetic and then real scans.

Idea: Scans with nodules and scans without come from different scanners, so a classifier could tell them by their noise.
A nodule injector (3-D conditional GAN, fills in the masked middle of a cube of voxels) puts nodules into half of the
healthy scans; an eraser, taught on injected nodules, removes those of half of the others. With that, a 3D-SqueezeNet
learns whether a volume has nodules: from real scans, from synthetic ones, or from both, one after the other.

Reproduces: Fig. 3b, a bar chart without numbers: 10,000 synthetic CTs beat 900 real ones, clearly so for nodules of 14
and 16, and both together are best. `python -m tfmed.evaluate RUN` writes table and chart. No hardware is named.

Deviates: layers and losses of injector and eraser, the size of cubes, the classifier's layout, its batch and its number
of steps are open in the paper; the size of a nodule is taken for a diameter in mm. Synthetic volumes are those of a
CT-SGAN run, of a folder, or, by default, other phantoms.
"""

from tfmed.methods.ctsgan_nodules.config import Config
from tfmed.methods.ctsgan_nodules.method import NodulesMethod as METHOD
from tfmed.methods.ctsgan_nodules.model import Classifier, Eraser, Injector, build_network

__all__ = ["METHOD", "Classifier", "Config", "Eraser", "Injector", "build_network"]
