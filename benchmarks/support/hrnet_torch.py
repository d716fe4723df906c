"""HRNet in PyTorch with the names of `tfmed.nn.hrnet`'s layers, for comparisons on the same weights."""

from torch import nn
from torch.nn import functional


class HRNet(nn.Module):
    """Images `(n, channels, h, w)` -> logits `(n, maps, h, w)`; sides are multiples of 32."""

    def __init__(self, channels, maps, widths, modules, blocks):
        super().__init__()
        self.widths, self.modules_of, self.blocks = widths, modules, blocks
        self.layers = nn.ModuleDict()
        self._conv("stem0", channels, 64, 3, 2)
        self._conv("stem1", 64, 64, 3, 2)
        for i, before in enumerate((64, 256, 256, 256)):
            self._conv(f"stage1_block{i}_0", before, 64)
            self._conv(f"stage1_block{i}_1", 64, 64, 3)
            self._conv(f"stage1_block{i}_2", 64, 256)
        self._conv("stage1_block0_shortcut", 64, 256)
        self._conv("stage2_enter0", 256, widths[0], 3)
        for stage, count in enumerate(modules, 2):
            before = 256 if stage == 2 else widths[stage - 2]
            self._conv(f"stage{stage}_enter{stage - 1}", before, widths[stage - 1], 3, 2)
            for module in range(count):
                self._module(f"stage{stage}_module{module}", stage, self._into(stage, module))
        self.layers["head"] = nn.Conv2d(widths[0], maps, 1)
        nn.init.normal_(self.layers["head"].weight, std=0.001)

    def _conv(self, label, before, width, kernel=1, stride=1):
        how = {"stride": stride, "padding": kernel // 2, "bias": False}
        self.layers[f"{label}_conv"] = made = nn.Conv2d(before, width, kernel, **how)
        nn.init.kaiming_normal_(made.weight, nonlinearity="relu")
        self.layers[f"{label}_norm"] = nn.BatchNorm2d(width)

    def _into(self, stage, module):
        """To how many streams a module sends: the last one to the finest alone."""
        return 1 if (stage, module) == (4, self.modules_of[-1] - 1) else stage

    def _module(self, label, streams, into):
        widths = self.widths
        for i in range(streams):
            for block in range(self.blocks):
                for k in range(2):
                    self._conv(f"{label}_stream{i}_block{block}_{k}", widths[i], widths[i], 3)
        for i in range(into):
            for j in range(i + 1, streams):
                self._conv(f"{label}_fuse{i}_from{j}", widths[j], widths[i])
            for j in range(i):
                for step in range(i - j):
                    width = widths[i] if step == i - j - 1 else widths[j]
                    self._conv(f"{label}_fuse{i}_from{j}_{step}", widths[j], width, 3, 2)

    def run(self, label, x, activate=True):
        """A convolution, its norm, and ReLU."""
        x = self.layers[f"{label}_norm"](self.layers[f"{label}_conv"](x))
        return functional.relu(x, inplace=True) if activate else x

    def forward(self, x):
        x = self.run("stem1", self.run("stem0", x))
        for i in range(4):
            label = f"stage1_block{i}"
            y = self.run(f"{label}_2", self.run(f"{label}_1", self.run(f"{label}_0", x)), False)
            x = functional.relu(y + (x if i else self.run(f"{label}_shortcut", x, False)))
        streams = [self.run("stage2_enter0", x)]
        for stage, count in enumerate(self.modules_of, 2):
            last = x if stage == 2 else streams[-1]
            streams.append(self.run(f"stage{stage}_enter{stage - 1}", last))
            for module in range(count):
                streams = self.exchanged(f"stage{stage}_module{module}", streams, self._into(stage, module))
        return functional.interpolate(self.layers["head"](streams[0]), scale_factor=4, mode="bilinear")

    def exchanged(self, label, streams, into):
        """Streams after their blocks, each then the sum of all."""
        streams = list(streams)
        for i in range(len(streams)):
            for block in range(self.blocks):
                name = f"{label}_stream{i}_block{block}"
                y = self.run(f"{name}_1", self.run(f"{name}_0", streams[i]), False)
                streams[i] = functional.relu(y + streams[i])
        found = []
        for i in range(into):
            moved = [self.moved(f"{label}_fuse{i}_from{j}", x, i - j) for j, x in enumerate(streams)]
            found.append(functional.relu(sum(moved[1:], moved[0])))
        return found

    def moved(self, label, x, down):
        """A stream at another's resolution, `down` halvings away."""
        if down < 0:
            return functional.interpolate(self.run(label, x, False), scale_factor=2**-down, mode="nearest")
        for step in range(down):
            x = self.run(f"{label}_{step}", x, step < down - 1)
        return x
