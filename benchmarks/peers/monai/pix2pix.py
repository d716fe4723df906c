"""pix2pix's U-Net and PatchGAN in PyTorch, layer by layer those of `tfmed.nn.translation`, without dropout."""

import torch
from torch import nn


class UNet(nn.Module):
    """Images `(n, 1, h, w)` -> `(n, 1, h, w)` in [-1, 1]; sides are multiples of 2^downs."""

    def __init__(self, downs, first=64):
        super().__init__()
        widths = [first * min(2**i, 8) for i in range(downs)]
        self.down = nn.ModuleList(nn.Conv2d(a, b, 4, 2, 1) for a, b in zip([1, *widths], widths, strict=False))
        inner = [widths[-1], *[2 * width for width in widths[-2::-1]]]
        outer = [*widths[-2::-1], 1]
        self.up = nn.ModuleList(nn.ConvTranspose2d(a, b, 4, 2, 1) for a, b in zip(inner, outer, strict=True))

    def forward(self, x):
        skips, last = [], len(self.down) - 1
        for i, down in enumerate(self.down):
            x = down(nn.functional.leaky_relu(x, 0.2) if i else x)
            x = nn.functional.instance_norm(x) if 0 < i < last else x
            skips.append(x)
        for i, up in enumerate(self.up):
            x = up(nn.functional.relu(x))
            if i < last:
                x = torch.cat([skips[last - 1 - i], nn.functional.instance_norm(x)], 1)
        return torch.tanh(x)


class PatchGAN(nn.Module):
    """Pairs of images `(n, 2, h, w)` -> logits of patches `(n, 1, h', w')`."""

    def __init__(self, layers=3, first=64):
        super().__init__()
        widths = [2, *[first * min(2**i, 8) for i in range(layers + 1)], 1]
        strides = [*[2] * layers, 1, 1]
        self.blocks = nn.ModuleList(
            nn.Conv2d(a, b, 4, s, 1) for a, b, s in zip(widths, widths[1:], strides, strict=False)
        )

    def forward(self, x):
        *blocks, score = self.blocks
        for i, block in enumerate(blocks):
            x = block(x)
            x = nn.functional.leaky_relu(nn.functional.instance_norm(x) if i else x, 0.2)
        return score(x)
