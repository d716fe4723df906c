"""pix2pix (U-Net-256, PatchGAN of 70 pixels) against the same networks in PyTorch: a training step, a volume's slices.

Run: python benchmarks/translation.py [--rounds 7] [--environment FOLDER]

Sides are run, and printed, as `benchmarks/vs_monai.py` says. Graph measures are compared by
`benchmarks/graph_measures.py`.
"""

from vs_monai.comparison import PLAIN, main

if __name__ == "__main__":
    main(__doc__, PLAIN)
