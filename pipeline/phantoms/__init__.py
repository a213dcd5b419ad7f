"""Phantom spines: made by code, corners, names, grades and sides known; for demos and tests, not claims.

>>> from siamed.pipeline.phantoms import lumbar_phantom, write_study

Axes and units: images in orientation LIP (slices to the left, rows inferior, columns posterior), points in
RAS+ mm. Importing this package imports neither torch nor pydicom.
"""

from .lumbar import LumbarPhantom, lumbar_phantom
from .studies import write_spider_subset, write_study

__all__ = ["LumbarPhantom", "lumbar_phantom", "write_spider_subset", "write_study"]
