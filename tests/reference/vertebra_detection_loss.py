"""The detector's loss, written slowly from its equation with plain loops."""

from __future__ import annotations

import numpy as np

__all__ = ["vertebra_detection_loss"]


def vertebra_detection_loss(
    output: np.ndarray, target: np.ndarray, weights: tuple[float, float, float], emphasis: list[float]
) -> float:
    """Loss of ``output`` (B, 19, H, W) against packed ``target`` (B, 25, H, W)."""
    batch, _, height, width = output.shape
    heat, offset, mask, tissue = 0.0, 0.0, 0.0, 0.0
    for b in range(batch):
        for r in range(height):
            for c in range(width):
                o, t = output[b, :, r, c].astype(float), target[b, :, r, c].astype(float)
                for k in range(7):
                    p = 1 / (1 + np.exp(-o[k]))
                    entropy = -(t[k] * np.log(p) + (1 - t[k]) * np.log(1 - p))
                    heat += t[15 + k] * (1 + emphasis[k] * t[k]) * entropy
                for k in range(8):
                    m = t[22] if k < 4 else t[23]
                    offset += m * abs(o[7 + k] - t[7 + k])
                    mask += m
                scores = o[15:] - o[15:].max()
                tissue -= scores[int(t[24])] - np.log(np.exp(scores).sum())
    pixels = batch * height * width
    return (
        weights[0] * heat / (7 * pixels) + weights[1] * offset / max(mask, 1.0) + weights[2] * tissue / pixels
    )
