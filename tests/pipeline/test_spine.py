"""From a scan to its result: places and slices are those of the input file, in whatever order it has them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from siamed.pipeline import spine as stage
from siamed.pipeline.cli import options
from siamed.pipeline.errors import CaseError
from siamed.pipeline.scans import read_scan
from siamed.pipeline.spine import SpineReader


@pytest.mark.parametrize("codes", ["RAS", "PIR", "PIL", "ASL", "LPI"])
def test_voxels_and_slices_count_as_the_file_does(
    spine: Any, reader: Any, tmp_path: Path, codes: str
) -> None:
    path = spine.write_scan(tmp_path / "scan_t2.nii.gz", codes)
    result = reader.detect(read_scan(path)).result
    image = nibabel.load(path)
    assert result.scan.orientation == codes
    assert result.scan.shape == image.shape
    for number, vertebra in enumerate(result.vertebrae):
        truth_mm = spine.corners_mm(number, spine.CENTER_MM[0]).mean(0)
        np.testing.assert_allclose(vertebra.center_mm, truth_mm, atol=1e-3)
        np.testing.assert_allclose(image.affine @ [*vertebra.center_voxel, 1.0], [*truth_mm, 1.0], atol=5e-3)
        # Seven slices, the outer two without a body: symmetric, so true in either direction.
        assert vertebra.slices == (1, 5)
        voxel = tuple(round(v) for v in vertebra.center_voxel)
        assert np.asarray(image.dataobj)[voxel] == 150.0


@pytest.mark.parametrize(("codes", "slices"), [("PIR", (4, 6)), ("PIL", (0, 2))])
def test_slices_are_counted_from_the_side_where_the_file_starts(
    spine: Any, tmp_path: Path, codes: str, slices: tuple[int, int]
) -> None:
    class RightSide(spine.KnowingDetector):
        """Canonical slices grow to the patient's left: the first three are those on the right."""

        def __call__(self, view: Any) -> Any:
            column = super().__call__(view)
            corners = dict.fromkeys(range(3), column.vertebrae[0].slice_corners_mm[1])
            bodies = tuple(replace(v, slice_corners_mm=corners, middle_slice=1) for v in column.vertebrae)
            return replace(column, vertebrae=bodies)

    scan = read_scan(spine.write_scan(tmp_path / "scan.nii.gz", codes))
    reading = SpineReader(RightSide()).detect(scan)
    assert reading.result.vertebrae[0].slices == slices
    assert reading.slice_numbers == tuple(range(7) if codes == "PIL" else range(6, -1, -1))


def test_each_disc_gets_its_own_grades(reader: Any, scan_file: Path) -> None:
    result = reader.grade(read_scan(scan_file)).result
    assert [disc.level for disc in result.discs] == ["L2-L3", "L3-L4", "L4-L5", "L5-S1"]
    assert [disc.grades["pfirrmann"].grade for disc in result.discs] == [2, 3, 4, 5]
    assert [disc.vertebrae for disc in result.discs] == [(0, 1), (1, 2), (2, 3), (3, 4)]
    assert result.discs[3].grades["pfirrmann"].expected == pytest.approx(0.05 * (1 + 2 + 3 + 4) + 0.8 * 5)
    assert reader.grader.shapes == [(4, 1, 9, 160, 320)]


def test_discs_reach_the_grader_horizontal_and_centered(spine: Any, reader: Any, scan_file: Path) -> None:
    reading = reader.grade(read_scan(scan_file))
    for number, volume in enumerate(reading.discs.images):
        middle = volume.as_tensor()[0, 4].numpy()
        # The reference, the bodies' median of 150, becomes 0.5; the disc keeps its ratio to it.
        assert middle[80, 160] == pytest.approx(0.5 * (90 - 15 * number) / 150, abs=0.01)
        assert middle[34, 160] == pytest.approx(0.5, abs=0.01)
        assert middle[125, 160] == pytest.approx(0.5, abs=0.01)
        center = np.asarray(volume.affine) @ [4, 79.5, 159.5, 1]
        np.testing.assert_allclose(center[:3], reading.result.discs[number].center_mm, atol=0.02)


def test_bodies_cut_by_the_edge_are_said_and_not_extracted(reader: Any, scan_file: Path) -> None:
    reading = reader.extract(read_scan(scan_file))
    assert reading.bodies.indices == (1, 2, 3, 4)
    assert len(reading.discs.images) == 4
    assert any("L2" in warning and "edge of the scan" in warning for warning in reading.result.warnings)
    assert all(not disc.grades for disc in reading.result.discs)


def test_warnings_of_the_detector_reach_the_result(spine: Any, scan_file: Path) -> None:
    detector = spine.KnowingDetector(warnings=("The sacrum is not seen.",))
    assert "The sacrum is not seen." in SpineReader(detector).detect(read_scan(scan_file)).result.warnings


def test_a_score_that_hardly_agrees_with_readers_is_named(reader: Any, scan_file: Path) -> None:
    (warning,) = [w for w in reader.grade(read_scan(scan_file)).result.warnings if "kappa" in w]
    assert "herniation (0.11)" in warning
    assert "pfirrmann" not in warning


def test_a_scan_without_vertebrae_is_a_case_error(spine: Any, scan_file: Path) -> None:
    with pytest.raises(CaseError, match="no vertebra was found") as caught:
        SpineReader(spine.EmptyDetector(), spine.CountingGrader()).grade(read_scan(scan_file))
    assert caught.value.code == "no-vertebrae"


def test_a_single_vertebra_has_no_disc_to_grade(spine: Any, scan_file: Path) -> None:
    reader = SpineReader(spine.KnowingDetector(("L5",)), spine.CountingGrader())
    with pytest.raises(CaseError, match="no disc has both its plates in view") as caught:
        reader.grade(read_scan(scan_file))
    assert caught.value.code == "no-discs"
    assert reader.detect(read_scan(scan_file)).result.discs == ()


def test_a_grader_that_loses_a_disc_is_caught(spine: Any, scan_file: Path) -> None:
    reader = SpineReader(spine.KnowingDetector(), lambda volumes: [])
    with pytest.raises(ValueError, match="one answer a disc: 4 discs, 0 answers"):
        reader.grade(read_scan(scan_file))


def test_a_disc_with_an_impossible_outline_is_left_out_and_the_others_are_graded(
    spine: Any, scan_file: Path
) -> None:
    class Slipping(spine.KnowingDetector):
        """Finds the lower edge of the topmost body back to front."""

        def __call__(self, view: Any) -> Any:
            column = super().__call__(view)
            corners = {d: c[[0, 1, 3, 2]] for d, c in column.vertebrae[0].slice_corners_mm.items()}
            top = replace(column.vertebrae[0], slice_corners_mm=corners)
            return replace(column, vertebrae=(top, *column.vertebrae[1:]))

    reader = SpineReader(Slipping(), spine.CountingGrader())
    reading = reader.grade(read_scan(scan_file))
    assert reading.discs.indices == (1, 2, 3)
    assert [bool(disc.grades) for disc in reading.result.discs] == [False, True, True, True]
    assert any("not that of a disc: L2-L3" in warning for warning in reading.result.warnings)
    assert reader.extract(read_scan(scan_file)).discs.indices == (1, 2, 3)


def test_an_extraction_that_cuts_nothing_is_a_case_error(spine: Any, scan_file: Path) -> None:
    with pytest.raises(CaseError, match="none is whole") as caught:
        SpineReader(spine.KnowingDetector(("L5",))).extract(
            read_scan(scan_file)
        )  # the first is cut by the edge
    assert caught.value.code == "no-volumes"


def test_grading_without_a_grader_is_refused(spine: Any, scan_file: Path) -> None:
    with pytest.raises(ValueError, match="grader must be given"):
        SpineReader(spine.KnowingDetector()).grade(read_scan(scan_file))


def test_the_command_line_names_the_same_bundles() -> None:
    for name in ("DETECTION_BUNDLE", "GRADING_BUNDLE", "ENCODING_BUNDLE"):
        assert getattr(options, name) == getattr(stage, name)


def test_a_grader_gets_the_slices_that_its_looks_need(spine: Any, scan_file: Path) -> None:
    class Deep(spine.CountingGrader):
        depth = 11

    grader = Deep()
    reading = SpineReader(spine.KnowingDetector(), grader).grade(read_scan(scan_file))
    assert grader.shapes == [(4, 1, 11, 160, 320)]
    assert reading.discs.images[0].shape[1] == 11
