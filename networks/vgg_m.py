"""VGG-M for spine volumes: a shared trunk and one branch a task.

The network of SpineNet [jamaludin2016spinenet, Sec. 4]: VGG-M [chatfield2014vggm] without local response
normalization, Conv1 over all slices at once (slices are channels), 2 x 2 max pooling, branches after Conv5
of FC6, FC7 and FC8. Width, slices and input size are arguments; batch normalization, which the paper does
not have, can be left out [D-0035].
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

__all__ = ["MultiTaskVGGM", "VGGMTrunk"]

_WIDTHS = (96, 256, 512, 512, 512)


def _block(
    inputs: int, outputs: int, kernel: int, stride: int, padding: int, batch_norm: bool
) -> list[nn.Module]:
    layers: list[nn.Module] = [nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=not batch_norm)]
    if batch_norm:
        layers.append(nn.BatchNorm2d(outputs))
    return [*layers, nn.ReLU(inplace=True)]


class VGGMTrunk(nn.Module):
    """Conv1 to Conv5 of VGG-M.

    Args:
        slices: sagittal slices of a volume; Conv1 sees them all.
        width: factor on the paper's widths 96, 256, 512, 512, 512.
        batch_norm: normalize after each convolution.
        conv2_stride: 2 in VGG-M; 1 keeps more of a small input.

    Shape:
        - input ``(B, 1, D, H, W)`` with D = slices;
        - output ``(B, 512 * width, H', W')``.
    """

    def __init__(self, slices: int, width: float, batch_norm: bool, conv2_stride: int = 2) -> None:
        super().__init__()
        if slices < 1:
            raise ValueError(f"slices must be at least 1, got {slices}")
        if not 0 < width <= 4:
            raise ValueError(f"width must be in (0, 4], got {width}")
        c1, c2, c3, c4, c5 = (max(4, round(width * c)) for c in _WIDTHS)
        self.slices, self.channels = slices, c5
        self.layers = nn.Sequential(
            *_block(slices, c1, 7, 2, 3, batch_norm),
            nn.MaxPool2d(2),
            *_block(c1, c2, 5, conv2_stride, 2, batch_norm),
            nn.MaxPool2d(2),
            *_block(c2, c3, 3, 1, 1, batch_norm),
            *_block(c3, c4, 3, 1, 1, batch_norm),
            *_block(c4, c5, 3, 1, 1, batch_norm),
        )

    def forward(self, volume: torch.Tensor) -> torch.Tensor:
        if volume.ndim != 5 or volume.shape[1] != 1 or volume.shape[2] != self.slices:
            raise ValueError(f"volume must be (B, 1, {self.slices}, H, W), got {list(volume.shape)}")
        return self.layers(volume[:, 0])


class MultiTaskVGGM(nn.Module):
    """Trunk and, after Conv5, FC6, FC7 and FC8 for each task; scores lie side by side in one tensor.

    Args:
        classes: classes of each task, in order.
        slices: sagittal slices of a volume.
        spatial_size: (H, W) of a volume.
        width: factor on the trunk's widths.
        hidden: width of FC6 and FC7 (4096 and 1024 in the paper).
        dropout: before FC6 and FC7.
        batch_norm: see :class:`VGGMTrunk`.
        conv2_stride: see :class:`VGGMTrunk`.
        pool5: 2 x 2 pooling after Conv5, as in VGG-M.
        bfloat16: train in bfloat16 where the machine has it; inference runs in the weights' own
            precision.

    Shape:
        - input ``(B, 1, D, H, W)``, intensities in [0, 1];
        - output ``(B, sum(classes))`` unnormalized scores; :meth:`split` gives one tensor a task.
    """

    def __init__(
        self,
        classes: Sequence[int],
        slices: int,
        spatial_size: Sequence[int],
        width: float,
        hidden: int,
        dropout: float,
        batch_norm: bool,
        conv2_stride: int = 2,
        pool5: bool = True,
        bfloat16: bool = False,
    ) -> None:
        super().__init__()
        self.in_bfloat16 = bfloat16  # nn.Module has a method of the argument's name
        if not classes or min(classes) < 2:
            raise ValueError(f"classes must hold 2 or more for each task, got {list(classes)}")
        self.classes = [int(c) for c in classes]
        self.trunk = VGGMTrunk(slices, width, batch_norm, conv2_stride)
        self.pool5 = nn.MaxPool2d(2) if pool5 else nn.Identity()
        with torch.no_grad():
            was_training = self.trunk.training
            empty = self.pool5(self.trunk.eval()(torch.zeros(1, 1, slices, *spatial_size)))
            self.trunk.train(was_training)
        features = empty[0].numel()
        self.branches = nn.ModuleList(
            nn.Sequential(
                nn.Flatten(),
                nn.Dropout(dropout),
                nn.Linear(features, hidden),
                nn.ReLU(inplace=True),
                nn.Dropout(dropout),
                nn.Linear(hidden, hidden),
                nn.ReLU(inplace=True),
                nn.Linear(hidden, count),
            )
            for count in self.classes
        )

    def forward(self, volume: torch.Tensor) -> torch.Tensor:
        if not torch.jit.is_scripting():  # TorchScript knows autocast only as a constant
            if self.in_bfloat16 and self.training:
                with torch.autocast(volume.device.type, dtype=torch.bfloat16):
                    return self._scores(volume).float()
        return self._scores(volume)

    def _scores(self, volume: torch.Tensor) -> torch.Tensor:
        features = self.pool5(self.trunk(volume))
        return torch.cat([branch(features) for branch in self.branches], dim=1)

    def split(self, scores: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Scores of each task from the output."""
        return scores.split(self.classes, dim=1)
