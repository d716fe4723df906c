"""pix2pix (U-Net-256, PatchGAN of 70 pixels) against the same networks in PyTorch: a training step, a volume's slices.

Run: python -m benchmarks.peers.translation [--rounds 7] [--environment FOLDER]

Sides are run, and printed, as `benchmarks/peers/monai/__main__.py` says. Graph measures are compared by
`benchmarks/peers/graph_measures.py`.
"""

from benchmarks.peers.monai.comparison import PLAIN, main

if __name__ == "__main__":
    main(__doc__, PLAIN)
