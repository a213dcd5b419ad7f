"""The longitudinal cohort: bodies stay, discs age, twins share a family and not their bodies."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from siamed.pipeline.datasets.splits import fold_parts
from siamed.pipeline.grading.crops import DiscCrops
from siamed.pipeline.pairs.sampling import PairSampler
from siamed.pipeline.pairs.training_data import acquisition_pairs, load_volumes
from siamed.pipeline.pairs.volumes import VolumeTable
from siamed.pipeline.phantoms import lumbar_phantom
from siamed.pipeline.phantoms.cohort import cohort_visits, write_cohort

SMALL = {"slices": 3, "size": (220, 220), "spacing_mm": (1.4, 1.4), "noise": 0.0}


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cohort(tmp_path_factory.mktemp("cohort"), subjects=10, twin_share=0.4, folds=2)


def test_persons_come_back_years_later_and_their_discs_are_no_better() -> None:
    visits = list(cohort_visits(10, seed=1))
    by_person: dict[str, list] = {}
    for visit in visits:
        by_person.setdefault(visit.subject_id, []).append(visit)
    assert all(2 <= len(own) <= 3 for own in by_person.values())
    worse = same = 0
    for own in by_person.values():
        assert [visit.field_strength_t for visit in own] == [1.0] + [1.5] * (len(own) - 1)
        for before, after in zip(own[:-1], own[1:], strict=True):
            assert 8 <= after.year - before.year <= 12
            steps = [after.phantom.grades[name] - grade for name, grade in before.phantom.grades.items()]
            assert set(steps) <= {0, 1}
            worse, same = worse + sum(steps), same + steps.count(0)
    assert 0.25 < worse / (worse + same) < 0.5  # 0.4, less where a disc is at 5 already


def test_a_body_looks_alike_at_each_visit_and_unlike_the_twins() -> None:
    def middle(visit: int, twin: int) -> np.ndarray:
        """L3, as it lies in its own frame: 21 by 21 points."""
        phantom = lumbar_phantom(5, visit=visit, twin=twin, **SMALL)
        a, b, c, d = phantom.corners_mm["L3"]
        u, v = np.meshgrid(np.linspace(0.2, 0.8, 21), np.linspace(0.2, 0.8, 21))
        points = [
            a + x * (b - a) + y * (d - a) + x * y * (a - b + c - d)
            for x, y in zip(u.flat, v.flat, strict=True)
        ]
        voxels = (np.linalg.inv(phantom.affine) @ np.column_stack([points, np.ones(len(points))]).T)[:3]
        values = phantom.image[tuple(np.round(voxels).astype(int))].astype(float)
        return values / np.median(values)

    first, later, twin = middle(0, 0), middle(1, 0), middle(0, 1)
    assert np.corrcoef(first, later)[0, 1] > 0.6
    assert np.corrcoef(first, twin)[0, 1] < 0.3


def test_pose_and_noise_are_the_visits_own() -> None:
    first, later = (lumbar_phantom(5, visit=visit, **{**SMALL, "noise": 0.02}) for visit in (0, 1))
    assert np.abs(first.corners_mm["L3"] - later.corners_mm["L3"]).max() > 1
    corner = np.corrcoef(first.image[0, :40, :40].ravel(), later.image[0, :40, :40].ravel())[0, 1]
    assert abs(corner) < 0.5  # soft tissue and noise in front of the spine
    everybody = lumbar_phantom(5, **SMALL)
    assert everybody.parameters["visit"] is None


def test_what_is_written_can_be_pretrained_on_and_graded(cohort: Path) -> None:
    table = VolumeTable.read(cohort / "volumes" / "volumes.csv")
    assert len(set(table["subject_id"].tolist())) == 10
    twins = {f for f in table["family_id"].tolist() if f}
    assert len(twins) == 2
    assert load_volumes(table).shape[1:] == (9, 136, 160)
    pairs = acquisition_pairs(table, None)
    assert len(pairs) > 60
    for name in ("subject_id", "level", "sequence"):
        np.testing.assert_array_equal(table[name][pairs.first], table[name][pairs.second])
    assert (table["order"][pairs.first] < table["order"][pairs.second]).all()
    drawn = PairSampler(table).draw(2000, np.random.default_rng(0))
    family = table.families
    assert (family[drawn.first[~drawn.same]] != family[drawn.second[~drawn.same]]).all()
    crops = DiscCrops.load(cohort / "crops.npz")
    assert crops.images.shape[1:] == (9, 80, 160)
    assert set(crops.grades[:, crops.tasks.index("pfirrmann")].tolist()) <= {1, 2, 3, 4, 5}


def test_families_stay_together_in_the_split(cohort: Path) -> None:
    table = VolumeTable.read(cohort / "volumes" / "volumes.csv")
    family = dict(zip(table["subject_id"].tolist(), table.families.tolist(), strict=True))
    parts = [
        {family[s] for s in fold_parts(cohort / "folds.json", 0, part)} for part in ("training", "validation")
    ]
    assert parts[0] and parts[1] and not parts[0] & parts[1]


def test_a_cohort_of_nobody_is_refused() -> None:
    with pytest.raises(ValueError, match="subjects must be at least 1 .* got 0 and 0.2"):
        next(cohort_visits(0))
