"""What else could tell two scans of one person: controls beside the same-person AUC.

Two acquisitions of one visit share scanner, position and field of view. The features here see no anatomy:
geometry of the acquisition and statistics of the intensities, from a volume and its affine. A classifier of
their differences says how much of an AUC such traces could explain.
"""

from __future__ import annotations

import nibabel
import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from .sampling import Pairs
from .volumes import VolumeTable

__all__ = ["TRACES", "TracesOfAcquisition", "acquisition_features"]

_PERCENTILES = (1, 5, 25, 50, 75, 95, 99)
TRACES = {
    "all": slice(0, 19),
    "size": slice(0, 3),
    "direction": slice(3, 5),
    "borders": slice(5, 10),
    "intensities": slice(10, 19),
}
"""Groups of the features: columns of :func:`acquisition_features`."""


def acquisition_features(table: VolumeTable) -> np.ndarray:
    """Features ``(N, 19)`` of each volume, by group of :data:`TRACES`.

    size: slice distance, mm a pixel along rows and columns (the body's own width, by which volumes are
    scaled). direction: of the columns in the sagittal plane, which is how the person lay. borders: share of
    empty pixels at each border and in all, which is where the scan ends. intensities: mean, standard
    deviation and percentiles of the rest.

    Args:
        table: the volumes.
    """
    rows = []
    for path in table.paths():
        image = nibabel.Nifti1Image.from_filename(path)
        volume, affine = np.asarray(image.dataobj, np.float32), np.asarray(image.affine, float)
        steps = np.linalg.norm(affine[:3, :3], axis=0)
        direction = affine[1:3, 2] / steps[2]
        empty = (volume == 0).all(0)
        borders = [empty[:8].mean(), empty[-8:].mean(), empty[:, :8].mean(), empty[:, -8:].mean()]
        seen = volume[:, ~empty] if (~empty).any() else volume
        statistics = [seen.mean(), seen.std(), *np.percentile(seen, _PERCENTILES)]
        rows.append([*steps, *direction, *borders, empty.mean(), *statistics])
    return np.array(rows, np.float64)


class TracesOfAcquisition:
    """Same person or not, judged by absolute differences of features that are standardized by sequence.

    Args:
        features: ``(N, F)`` of the training volumes.
        sequences: ``(N,)`` their sequences; of a sequence never seen the overall scale is taken.
        pairs: training pairs, positive and negative ones.
    """

    def __init__(self, features: np.ndarray, sequences: np.ndarray, pairs: Pairs) -> None:
        self._overall = StandardScaler().fit(features)
        names = np.unique(sequences.astype(str))
        self._scalers = {str(name): StandardScaler().fit(features[sequences == name]) for name in names}
        self._model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
        scaled = self._scale(features, sequences)
        self._model.fit(np.abs(scaled[pairs.first] - scaled[pairs.second]), pairs.same)

    def distances(self, features: np.ndarray, sequences: np.ndarray, first: np.ndarray) -> np.ndarray:
        """Distance, 1 minus the probability of one person, of each volume in ``first`` from every volume.

        Args:
            features: ``(N, F)``.
            sequences: ``(N,)``.
            first: ``(M,)`` rows.

        Returns:
            ``(M, N)``.
        """
        scaled = self._scale(features, sequences)
        gaps = np.abs(scaled[first][:, None] - scaled[None])
        shares = self._model.predict_proba(gaps.reshape(-1, scaled.shape[1]))[:, 1]
        return 1 - shares.reshape(len(first), len(scaled))

    def _scale(self, features: np.ndarray, sequences: np.ndarray) -> np.ndarray:
        scaled = np.empty_like(features)
        for name in np.unique(sequences.astype(str)):
            of_kind = sequences == name
            scaled[of_kind] = self._scalers.get(str(name), self._overall).transform(features[of_kind])
        return scaled
