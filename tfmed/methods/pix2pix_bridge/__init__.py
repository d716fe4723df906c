"""pix2pix M->C and C->M: translation between MR and CT that were never taken of the same patient at once.

Paper: A. Paavilainen, S. U. Akram, J. Kannala, "Bridging the Gap Between Paired and Unpaired Medical Image
Translation", DGM4MICCAI 2021.

Task: MR to CT and back without real pairs; pix2pix, pix2pixHD, CycleGAN.

Idea: A scanner makes up a CT from its MR ("MRCAT"): aligned with it, but with few grey values, no gas and no couch. MR
to CT is anchored to it by an L1 loss, while a critic compares with real CTs of other patients. CT to MR learns, by the
toss of a coin, from real CTs (a critic of MRs) or from MRCATs (L1 and a critic of pairs), and is used on real CTs.

Reproduces: Tables 2 to 5 (MR to CT: FID 34.3, Dice 0.88; CT to MR: 45.3, 0.83), on private data of 51 pairs and 220
CTs; `python -m tfmed.evaluate RUN --compare RUN ...`. The paper names no hardware.

Deviates: what the paper leaves open follows the public pix2pix code. MR is scaled by the 99.5th percentile of its
voxels above 0. The paper's segmenter is a product; here structures are found by threshold, or by segmentation runs of
this suite (`--segmenters`). The learning rate falls with every step and not with every epoch. pix2pixHD compares no
features of photographs' classifiers.
"""

from tfmed.methods.pix2pix_bridge.config import Config
from tfmed.methods.pix2pix_bridge.cyclegan import CycleGAN
from tfmed.methods.pix2pix_bridge.method import BridgeMethod as METHOD
from tfmed.methods.pix2pix_bridge.model import Translator, build_network, coin
from tfmed.methods.pix2pix_bridge.pix2pixhd import Pix2PixHD

__all__ = ["METHOD", "Config", "CycleGAN", "Pix2PixHD", "Translator", "build_network", "coin"]
