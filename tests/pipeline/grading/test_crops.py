"""Crops of graded discs: numbered as the gradings count, kept whole, split by patient."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from siamed.networks.losses.multi_task import class_weights
from siamed.pipeline.datasets.spider import GRADING_COLUMNS
from siamed.pipeline.detection import Column, Disc, Vertebra
from siamed.pipeline.grading.crops import DiscCrops, cached_crops
from siamed.pipeline.grading.prepare import disc_numbers, prepare_crops
from siamed.pipeline.grading.tasks import MISSING, TASKS
from siamed.pipeline.grading.training_data import balanced_loss, crop_items

AFFINE = np.array([[-4.0, 0, 0, 0], [0, 0, -1.0, 0], [0, -1.0, 0, 0], [0, 0, 0, 1.0]])
NAMES = ("L3", "L4", "L5", "S1")
TOPS = (10, 60, 110, 160)


def column(levels: tuple[str | None, ...], missing: tuple[int, ...] = ()) -> Column:
    """Bodies 34 by 40 mm, 10 mm apart; no disc after the bodies named in ``missing``."""
    bodies = []
    for number, level in enumerate(levels):
        top = 10.0 + 50 * number
        rows, columns = np.array([top, top, top + 40, top + 40]), np.array([40.0, 74.0, 74.0, 40.0])
        bodies.append(Vertebra(level, 0.9, 0.9, False, {0: np.stack([0 * rows, -columns, -rows], 1)}, 0))
    discs = [i for i in range(len(levels) - 1) if i not in missing]
    return Column(tuple(bodies), tuple(Disc(i, i + 1, None, np.zeros(3)) for i in discs), ())


@pytest.mark.parametrize(
    ("levels", "expected"),
    [
        (("L3", "L4", "L5", "S1"), {0: 3, 1: 2, 2: 1}),
        (("L4", "L5", "L6", "S1"), {0: 3, 1: 2, 2: 1}),
        (("T12", "L1", "L2"), {0: 6, 1: 5}),
        (("T12", "T13", "L1", "L2"), {0: 7, 1: 6, 2: 5}),
        ((None, None, None), {}),
    ],
)
def test_discs_count_from_the_lowest_up(levels: tuple[str | None, ...], expected: dict[int, int]) -> None:
    assert disc_numbers(column(levels)) == expected


def test_a_missed_vertebra_does_not_shift_the_numbers() -> None:
    # L4 was not found: no disc is between L3 and L5, and L2-L3 is still the fourth.
    assert disc_numbers(column(("L2", "L3", "L5", "S1"), missing=(1,))) == {0: 4, 1: 1}


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Working copy: T2 and T1 of patient 1; discs 1 and 2 graded, disc 2 without a Modic type."""
    (tmp_path / "midslice").mkdir()
    image = np.full((1, 220, 120), 20.0, np.float32)
    for top, value in zip(TOPS, (200, 200, 200, 200), strict=True):
        image[0, top : top + 40, 40:74] = value
    for number, top in enumerate(TOPS[:-1]):
        image[0, top + 40 : top + 50, 40:74] = (60, 100, 160)[number]
    rows = []
    for sequence in ("T1", "T2"):
        nib.save(nib.Nifti1Image(image, AFFINE), tmp_path / "midslice" / f"001_{sequence}.nii.gz")
        rows.append([f"001_{sequence}", "1", sequence, f"midslice/001_{sequence}.nii.gz", "3"])
    with (tmp_path / "scans.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["scan_id", "patient_id", "sequence", "file", "num_discs"], *rows])
    grades = [[1, 1, 2, 0, 0, 0, 1, 0, 0, 0], [1, 2, 4, 1, 0, 0, "", 0, 1, 1]]
    with (tmp_path / "radiological_gradings.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["Patient", "IVD label", *GRADING_COLUMNS.values()], *grades])
    return tmp_path


def test_graded_discs_are_cut_with_a_margin_and_their_own_grades(dataset: Path) -> None:
    crops = prepare_crops(dataset, detector=lambda image: column(NAMES))
    assert crops.cases.tolist() == ["midslice/001_T2"] * 2  # T1 is not graded on
    assert crops.images.shape == (2, 1, 160, 320)
    by_disc = dict(zip(crops.discs.tolist(), range(2), strict=True))
    first, second = by_disc[1], by_disc[2]
    modic = crops.tasks.index("modic")
    assert crops.grades[first].tolist() == [2, 0, 0, 0, 1, 0, 0, 0]
    assert crops.grades[second, modic] == MISSING
    assert crops.grades[second, crops.tasks.index("pfirrmann")] == 4
    # Bodies of 200 become 0.5: disc 1 of 160 becomes 0.4, disc 2 of 100 becomes 0.25.
    middles = crops.images[:, 0, 80, 130:190].astype(float).mean(1)
    assert middles[[first, second]] == pytest.approx([0.4, 0.25], abs=0.01)
    # The disc's width of 34 mm takes 112 of the 320 columns: the margin did not change the scale.
    wide = crops.images[first, 0, 80].astype(float) > 0.22
    assert wide.sum() == pytest.approx(112, abs=4)
    assert crops.info["graded_T2"] == 2
    assert crops.info["found_T2"] == 2


def test_a_graded_disc_that_is_not_found_is_counted(dataset: Path) -> None:
    crops = prepare_crops(dataset, detector=lambda image: column(("L5", "S1")))
    assert (crops.info["graded_T2"], crops.info["found_T2"]) == (2, 1)
    with pytest.raises(ValueError, match="none was found"):
        prepare_crops(dataset, detector=lambda image: column((None, None)))
    with pytest.raises(ValueError, match="slices must be odd, got 4"):
        prepare_crops(dataset, slices=4, detector=lambda image: column(NAMES))


def some_crops() -> DiscCrops:
    rng = np.random.default_rng(0)
    grades = np.stack([rng.choice(grades, 12) for grades in TASKS.values()], axis=1)
    grades[0, 1] = MISSING
    return DiscCrops(
        images=rng.random((12, 1, 16, 32)).astype(np.float16),
        grades=grades,
        subjects=np.repeat(["1", "2", "3"], 4),
        cases=np.repeat(["a", "b", "c"], 4),
        sequences=np.array(["T2", "T2_SPACE"] * 6),
        discs=np.tile([1, 2, 3, 4], 3),
        tasks=tuple(TASKS),
        info={"slices": 1},
    )


def test_crops_are_read_as_they_were_written(tmp_path: Path) -> None:
    crops = some_crops()
    crops.save(tmp_path / "crops.npz")
    again = cached_crops(tmp_path / "crops.npz", None, "unused")
    for name in ("images", "grades", "subjects", "cases", "sequences", "discs"):
        np.testing.assert_array_equal(getattr(again, name), getattr(crops, name))
    assert (again.tasks, again.info) == (crops.tasks, crops.info)


def test_wrong_files_and_arrays_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="crops_file must exist where dataset_dir is not given"):
        cached_crops(tmp_path / "none.npz", None, "unused")
    np.savez(tmp_path / "other.npz", images=np.zeros(1))
    with pytest.raises(ValueError, match="other.npz lacks"):
        DiscCrops.load(tmp_path / "other.npz")
    crops = some_crops()
    values = {name: getattr(crops, name) for name in crops.__dataclass_fields__}
    with pytest.raises(ValueError, match="discs must have one entry a crop, got 3 for 12"):
        DiscCrops(**{**values, "discs": crops.discs[:3]})
    with pytest.raises(ValueError, match=r"pfirrmann must be one of .* got \[0\]"):
        DiscCrops(**{**values, "grades": np.zeros_like(crops.grades)})


def test_items_of_a_fold_hold_class_indices_of_its_patients_and_sequences(tmp_path: Path) -> None:
    split = tmp_path / "folds.json"
    split.write_text(json.dumps({"folds": [["1"], ["2", "3"], ["9"]]}))
    crops = some_crops()
    items = crop_items(crops, split, 0, "validation", ["T2"], ["narrowing", "pfirrmann"])
    assert [(item["subject"], item["disc"]) for item in items] == [("1", 1), ("1", 3)]
    assert int(items[0]["label"][0]) == MISSING
    assert int(items[0]["label"][1]) == crops.grades[0, crops.tasks.index("pfirrmann")] - 1
    assert tuple(items[0]["image"].shape) == (1, 1, 16, 32)
    training = crop_items(crops, split, 0, "training", ["T2", "T2_SPACE"], list(TASKS))
    assert {item["subject"] for item in training} == {"2", "3"}
    with pytest.raises(ValueError, match="its part 'validation' has none"):
        crop_items(crops, split, 2, "validation", ["T2"], ["modic"])


def test_the_loss_is_balanced_on_the_items_it_is_given(tmp_path: Path) -> None:
    split = tmp_path / "folds.json"
    split.write_text(json.dumps({"folds": [["1"], ["2"], ["3"]]}))
    items = crop_items(some_crops(), split, 0, "training", ["T2", "T2_SPACE"], ["narrowing", "pfirrmann"])
    loss = balanced_loss(items, ["narrowing", "pfirrmann"], 0.5, [1.0, 1.0], [0.0, 0.0])
    labels = [int(item["label"][0]) for item in items]
    assert loss.get_buffer("weight_0").tolist() == pytest.approx(class_weights(labels, 2, 0.5))
    own = balanced_loss(items, ["narrowing", "pfirrmann"], [1.0, 0.5], None, [0.0, 0.0])
    assert own.get_buffer("weight_0").tolist() == pytest.approx(class_weights(labels, 2, 1.0))
    assert own.get_buffer("weight_1").tolist() == loss.get_buffer("weight_1").tolist()
    assert own.task_weights == [0.15, 1.0]  # of their set
    with pytest.raises(ValueError, match="balance_power must be one, or one for each of"):
        balanced_loss(items, ["narrowing", "pfirrmann"], [1.0], None, [0.0, 0.0])
