"""BrainNetGAN: structural connectomes of given classes, to train a classifier of dementia with.

Paper: Li, Shen, Zhu, Chen et al., "BrainNetGAN: Data augmentation of brain connectivity using generative adversarial
network for dementia classification", DGM4MICCAI 2021.

Task: generation of connectomes, to augment classes.

Idea: A perceptron turns noise and a class into the upper triangle of a connectivity matrix. A critic made of edge to
edge and edge to node convolutions (BrainNetCNN) tells real from generated matrices; a classifier of the same layout
tells the classes of both, and is the only way in which the class reaches the generator. Generated matrices replace or
join the real ones when a graph network is trained.

Reproduces: Table 1 (KL and MMD of four graph measures: BrainNetGAN below SMOTE and ADASYN in nearly all figures) and
Table 2 (test accuracy 0.791 with real data, 0.829 with real and generated) on 110 + 110 connectomes of ADNI with 90
regions. The paper names neither hardware nor time.

Deviates: Eq. 1 is minimised with the penalty's sign right, on points between real and generated matrices; Eq. 2 is
minimised as a cross-entropy. Open in the paper and chosen here: widths (BrainNetCNN's), relu at the generator's end,
penalty weight 10, five critic steps, Adam, each matrix divided by its own maximum, splits stratified by class; folds
rotate the test part (`data.split.folds`), where the paper rotates the validation part.
"""

from tfmed.methods.brainnetgan.method import BrainNetGANMethod as METHOD
from tfmed.methods.brainnetgan.model import BrainNetGAN, Config, build_network

__all__ = ["METHOD", "BrainNetGAN", "Config", "build_network"]
