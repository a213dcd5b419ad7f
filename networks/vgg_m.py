"""VGG-M for spine volumes: a shared trunk and one branch a task.

The network of SpineNet [jamaludin2016spinenet, Sec. 4]: VGG-M [chatfield2014vggm] without local response
normalization, Conv1 over all slices at once (slices are channels), 2 x 2 max pooling, FC6, FC7 and FC8. What
comes after the branch point, Conv5 by default, each task has for itself [jamaludin2016spinenet, Sec. 5]. The
trunk of the later paper has 3-D kernels from Conv1 to Conv4 and is the same where a volume has one slice
[jamaludin2017ssl, Sec. 2.4], [D-0061]. Width, slices and input size are arguments; batch
normalization, which the papers do not have, can be left out [D-0035].
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from .mixed_precision import bfloat16_where_native

__all__ = ["BRANCH_POINTS", "MultiTaskVGGM", "VGGMTrunk", "trunk_cells", "trunk_features"]

_WIDTHS = (96, 256, 512, 512, 512)
BRANCH_POINTS = {"none": 0, "conv3": 3, "conv4": 4, "conv5": 5, "fc6": 6, "fc7": 7}
"""Branch point -> how many of Conv1 to Conv5, FC6 and FC7 the tasks share."""


def _block(
    inputs: int, outputs: int, kernel: int, stride: int, padding: int, batch_norm: bool
) -> list[nn.Module]:
    layers: list[nn.Module] = [nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=not batch_norm)]
    if batch_norm:
        layers.append(nn.BatchNorm2d(outputs))
    return [*layers, nn.ReLU(inplace=True)]


def _volume_block(
    inputs: int,
    outputs: int,
    kernel: tuple[int, int, int],
    stride: int,
    padding: tuple[int, int, int],
    batch_norm: bool,
) -> list[nn.Module]:
    convolution = nn.Conv3d(inputs, outputs, kernel, (1, stride, stride), padding, bias=not batch_norm)
    norm = [nn.BatchNorm3d(outputs)] if batch_norm else []
    return [convolution, *norm, nn.ReLU(inplace=True)]


class _MiddleSlice(nn.Module):
    """``(B, C, 1, H, W)`` -> ``(B, C, H, W)``."""

    def forward(self, volume: torch.Tensor) -> torch.Tensor:
        return volume.squeeze(2)


class VGGMTrunk(nn.Module):
    """Conv1 to Conv5 of VGG-M, or some of them.

    Args:
        slices: sagittal slices of a volume.
        width: factor on the paper's widths 96, 256, 512, 512, 512.
        batch_norm: normalize after each convolution.
        conv2_stride: 2 in VGG-M; 1 keeps more of a small input.
        volumetric: False lets Conv1 see all slices as channels [jamaludin2016spinenet]; True gives Conv1 to
            Conv3 kernels of 3 slices, padded, and Conv4 one of all slices, unpadded, so that Conv5 is 2-D
            [jamaludin2017ssl, Sec. 2.4]. One slice leaves nothing to choose: both are the same network.
        first: convolution that it begins with; after another than Conv1 the input is what a trunk that ends
            before it gives.
        last: convolution that it ends with.

    Shape:
        - input ``(B, 1, D, H, W)`` with D = slices;
        - output ``(B, 512 * width, H', W')`` after Conv5.
    """

    def __init__(
        self,
        slices: int,
        width: float,
        batch_norm: bool,
        conv2_stride: int = 2,
        volumetric: bool = False,
        first: int = 1,
        last: int = 5,
    ) -> None:
        super().__init__()
        if slices < 1:
            raise ValueError(f"slices must be at least 1, got {slices}")
        if not 0 < width <= 4:
            raise ValueError(f"width must be in (0, 4], got {width}")
        widths = tuple(max(4, round(width * c)) for c in _WIDTHS)
        self.slices, self.channels = slices, widths[-1]
        self.stride = 8 * conv2_stride  # pixels of the volume to a cell of Conv5
        self.volumetric = volumetric and slices > 1
        self.frozen = False
        make = _volume_layers if self.volumetric else _plane_layers
        blocks = make(slices, widths, conv2_stride, batch_norm)
        self.from_volume, self.is_whole = first == 1, (first, last) == (1, 5)
        self.layers = nn.Sequential(*(layer for block in blocks[first - 1 : last] for layer in block))
        if not self.volumetric:  # the layout that 2-D convolutions run fastest in, on CPU and GPU
            self.layers.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def freeze(self) -> None:
        """Keep the weights and the running statistics as they are from now on."""
        self.frozen = True
        self.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> VGGMTrunk:
        """Training mode, which a frozen trunk does not enter."""
        return super().train(mode and not self.frozen)

    def forward(self, volume: torch.Tensor) -> torch.Tensor:
        if self.from_volume:
            if volume.ndim != 5 or volume.shape[1] != 1 or volume.shape[2] != self.slices:
                raise ValueError(f"volume must be (B, 1, {self.slices}, H, W), got {list(volume.shape)}")
            return self.layers(volume if self.volumetric else volume[:, 0])
        return self.layers(volume)


def _plane_layers(
    slices: int, widths: Sequence[int], conv2_stride: int, batch_norm: bool
) -> list[list[nn.Module]]:
    """Conv1 to Conv5, each with what follows it."""
    c1, c2, c3, c4, c5 = widths
    return [
        [*_block(slices, c1, 7, 2, 3, batch_norm), nn.MaxPool2d(2)],
        [*_block(c1, c2, 5, conv2_stride, 2, batch_norm), nn.MaxPool2d(2)],
        _block(c2, c3, 3, 1, 1, batch_norm),
        _block(c3, c4, 3, 1, 1, batch_norm),
        _block(c4, c5, 3, 1, 1, batch_norm),
    ]


def _volume_layers(
    slices: int, widths: Sequence[int], conv2_stride: int, batch_norm: bool
) -> list[list[nn.Module]]:
    c1, c2, c3, c4, c5 = widths
    return [
        [*_volume_block(1, c1, (3, 7, 7), 2, (1, 3, 3), batch_norm), nn.MaxPool3d((1, 2, 2))],
        [*_volume_block(c1, c2, (3, 5, 5), conv2_stride, (1, 2, 2), batch_norm), nn.MaxPool3d((1, 2, 2))],
        _volume_block(c2, c3, (3, 3, 3), 1, (1, 1, 1), batch_norm),
        [*_volume_block(c3, c4, (slices, 3, 3), 1, (0, 1, 1), batch_norm), _MiddleSlice()],
        _block(c4, c5, 3, 1, 1, batch_norm),
    ]


@torch.no_grad()
def trunk_cells(trunk: VGGMTrunk, spatial_size: Sequence[int]) -> tuple[int, int]:
    """Rows and columns that Conv5 has for a volume of this size; running statistics stay as they are."""
    was_training = trunk.training
    empty = trunk.eval()(torch.zeros(1, 1, trunk.slices, *spatial_size))
    trunk.train(was_training)
    return int(empty.shape[2]), int(empty.shape[3])


def trunk_features(trunk: VGGMTrunk, pool5: nn.Module, cells: tuple[int, int]) -> int:
    """Values a volume has after trunk and pooling, where Conv5 has so many rows and columns."""
    return int(pool5(torch.zeros(1, trunk.channels, *cells)).numel())


def _connected(sizes: Sequence[int], dropout: float, first: int, stop: int) -> list[nn.Module]:
    """FC6 and FC7, those from ``first`` up to ``stop``; sizes are those of Conv5's features, FC6 and FC7."""
    fc6 = [nn.Flatten(), nn.Dropout(dropout), nn.Linear(sizes[0], sizes[1]), nn.ReLU(inplace=True)]
    fc7 = [nn.Dropout(dropout), nn.Linear(sizes[1], sizes[2]), nn.ReLU(inplace=True)]
    return [layer for block in [fc6, fc7][first:stop] for layer in block]


def _glorot(layer: nn.Module) -> None:
    if isinstance(layer, nn.Conv2d | nn.Conv3d | nn.Linear):
        nn.init.xavier_uniform_(layer.weight)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)


class MultiTaskVGGM(nn.Module):
    """VGG-M that grades several tasks; their scores lie side by side in one tensor.

    Args:
        classes: classes of each task, in order.
        slices: sagittal slices of a volume.
        spatial_size: (H, W) of a volume.
        width: factor on the trunk's widths.
        hidden: width of FC6 and FC7, one for both or a pair (4096 and 1024 in the paper).
        dropout: before FC6 and FC7.
        batch_norm: see :class:`VGGMTrunk`.
        conv2_stride: see :class:`VGGMTrunk`.
        pool5: 2 x 2 pooling after Conv5, as in VGG-M.
        bfloat16: train in bfloat16 where the machine has it; inference runs in the weights' own
            precision.
        volumetric: see :class:`VGGMTrunk`.
        branch_point: last layer that the tasks share, one of :data:`BRANCH_POINTS`; "none" gives each task a
            network of its own.
        subtract_mean: take from each slice the mean of the training volumes, ``mean``, which is kept with the
            weights and 0 until it is set.
        glorot: initialize by [glorot2010], biases 0, as the paper does; else as torch does.

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
        hidden: int | Sequence[int],
        dropout: float,
        batch_norm: bool,
        conv2_stride: int = 2,
        pool5: bool = True,
        bfloat16: bool = False,
        volumetric: bool = False,
        branch_point: str = "conv5",
        subtract_mean: bool = False,
        glorot: bool = False,
    ) -> None:
        super().__init__()
        self.in_bfloat16 = bfloat16  # nn.Module has a method of the argument's name
        if not classes or min(classes) < 2:
            raise ValueError(f"classes must hold 2 or more for each task, got {list(classes)}")
        if branch_point not in BRANCH_POINTS:
            raise ValueError(f"branch_point must be one of {list(BRANCH_POINTS)}, got {branch_point!r}")
        if not isinstance(hidden, int) and len(hidden) != 2:
            raise ValueError(f"hidden must be one width or two, FC6's and FC7's, got {list(hidden)}")
        self.classes = [int(c) for c in classes]
        shared = BRANCH_POINTS[branch_point]
        arguments = (slices, width, batch_norm, conv2_stride, volumetric)
        whole = VGGMTrunk(*arguments)
        self.stride = whole.stride
        self.pool5 = nn.MaxPool2d(2) if pool5 else nn.Identity()
        self.cells = trunk_cells(whole, spatial_size)
        fc6, fc7 = (hidden, hidden) if isinstance(hidden, int) else hidden
        sizes = (trunk_features(whole, self.pool5, self.cells), fc6, fc7)
        self.trunk: nn.Module = whole
        if shared < 5:
            self.trunk = VGGMTrunk(*arguments, last=shared) if shared else nn.Identity()
        # Convolutions past the branch point, a copy a task; none where all are shared.
        copies = len(self.classes) if shared < 5 else 0
        self.tails = nn.ModuleList(VGGMTrunk(*arguments, first=shared + 1) for _ in range(copies))
        self.neck = nn.Sequential(*_connected(sizes, dropout, 0, max(0, shared - 5)))
        self.branches = nn.ModuleList(
            nn.Sequential(*_connected(sizes, dropout, max(0, shared - 5), 2), nn.Linear(fc7, count))
            for count in self.classes
        )
        self.subtract_mean = subtract_mean  # only then is the mean one of the weights
        self.mean: torch.Tensor
        self.register_buffer("mean", torch.zeros(slices), persistent=subtract_mean)
        if glorot:
            self.apply(_glorot)

    def forward(self, volume: torch.Tensor) -> torch.Tensor:
        if not torch.jit.is_scripting():  # TorchScript knows autocast only as a constant
            if self.in_bfloat16 and self.training:
                with bfloat16_where_native(volume.device):
                    return self._scores(volume).float()
        return self._scores(volume)

    def _scores(self, volume: torch.Tensor) -> torch.Tensor:
        return self._heads([self.pool5(cells) for cells in self._cells_of(volume)])

    def _cells_of(self, volume: torch.Tensor) -> list[torch.Tensor]:
        """What Conv5 gives: one tensor, or one a task where it comes after the branch point."""
        if self.subtract_mean:
            volume = volume - self.mean.view(1, 1, -1, 1, 1)
        shared = self.trunk(volume)
        cells = [tail(shared) for tail in self.tails]
        return cells if len(cells) > 0 else [shared]

    def _heads(self, pooled: list[torch.Tensor]) -> torch.Tensor:
        necks = [self.neck(features) for features in pooled]
        # Where the tasks share Conv5, there is one for all of them.
        return torch.cat([branch(necks[t % len(necks)]) for t, branch in enumerate(self.branches)], dim=1)

    def shifted_scores(self, volume: torch.Tensor) -> torch.Tensor:
        """Scores of every part of a larger field, shifted by one cell of Conv5 each, from one pass.

        A part differs from a volume cut there at its borders, where it sees what a cut one pads with zeros.

        Args:
            volume: ``(B, 1, D, H + p * s, W + q * s)``, H and W of a volume, s the trunk's stride.

        Returns:
            ``(B, (p + 1) * (q + 1), sum(classes))``, parts row by row.
        """
        height, width = self.cells
        pooled = []
        for cells in self._cells_of(volume):
            parts = cells.unfold(2, height, 1).unfold(3, width, 1)  # (B, C, p + 1, q + 1, h, w)
            pooled.append(self.pool5(parts.permute(0, 2, 3, 1, 4, 5).flatten(0, 2)))
        scores = self._heads(pooled)
        return scores.view(len(volume), -1, scores.shape[1])

    def split(self, scores: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Scores of each task from the output."""
        return scores.split(self.classes, dim=1)
