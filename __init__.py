"""siamed: from a lumbar MR to named vertebrae and graded discs, and self-supervised learning for it.

Four rooms: `siamed.transforms` (MONAI transforms and the geometry under them), `siamed.networks` (networks
and losses), `siamed.pipeline` (how work gets done: scans in, detection, grading, tracking, report, command
line) and `siamed.bundles` (MONAI bundles with weights). Nothing heavy is imported here: `import siamed`
loads neither torch nor MONAI.

World coordinates are millimeters in RAS+; spine volumes are (B, C, D, H, W) with D = sagittal slices, H =
superior to inferior, W = anterior to posterior.
"""

__version__ = "0.1.0"
