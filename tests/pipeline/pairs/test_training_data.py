"""From a table of volumes to items: who is in which part, what an item holds, when pairs are drawn anew."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch

from siamed.networks.losses.contrastive import ContrastiveLoss
from siamed.pipeline.pairs.sampling import PairSampler
from siamed.pipeline.pairs.training_data import (
    PairDataset,
    acquisition_pairs,
    drawn_pairs,
    fold_table,
    load_volumes,
    siamese_loss,
)
from siamed.pipeline.pairs.volumes import VolumeTable
from siamed.transforms.rand_volume_view import RandVolumeViewd


@pytest.fixture
def volumes_file(tmp_path: Path) -> Path:
    """Four subjects, T1 and T2, L1 and S1; a volume is filled with its row's number."""
    rows = []
    for subject in "abcd":
        for sequence in ("T1", "T2"):
            for level in ("L1", "S1"):
                path = f"v/{subject}{sequence}{level}.nii.gz"
                (tmp_path / "v").mkdir(exist_ok=True)
                image = nibabel.Nifti1Image(np.full((1, 8, 12), len(rows), np.float32), np.eye(4))
                nibabel.save(image, tmp_path / path)
                family = "twins" if subject in "cd" else ""
                rows.append((subject, family, subject + sequence, "", sequence, level, path, ""))
    return VolumeTable.from_rows(tmp_path, rows).write()


def split(folder: Path, folds: list[list[str]]) -> Path:
    (folder / "folds.json").write_text(json.dumps({"folds": folds}), encoding="utf-8")
    return folder / "folds.json"


def plain(size: tuple[int, int] = (8, 12)) -> RandVolumeViewd:
    return RandVolumeViewd("image", size, size, random=False)


def test_a_part_holds_its_subjects_and_no_family_is_on_both_sides(volumes_file: Path, tmp_path: Path) -> None:
    folds = split(tmp_path, [["a"], ["b"], ["c", "d"]])
    table = fold_table(volumes_file, folds, 2, "training", ["T2"])
    assert set(table["subject_id"].tolist()) == {"a", "b"}
    assert set(table["sequence"].tolist()) == {"T2"}
    with pytest.raises(ValueError, match="'twins' is on both sides"):
        fold_table(volumes_file, split(tmp_path, [["a", "c"], ["b", "d"]]), 0, "training", None)
    lists = tmp_path / "lists.json"
    lists.write_text(json.dumps({"training": ["a", "c"], "validation": ["d"]}), encoding="utf-8")
    with pytest.raises(ValueError, match="'twins' is on both sides"):
        fold_table(volumes_file, lists, None, "training", None)
    # Where all train, those who are watched train too: nothing is held out that could leak.
    assert len(fold_table(volumes_file, folds, None, "training", None)) == 16
    with pytest.raises(ValueError, match="'validation' has none"):
        fold_table(volumes_file, split(tmp_path, [["z"], ["b"]]), 0, "validation", None)


def test_an_item_is_the_pair_of_its_rows(volumes_file: Path) -> None:
    table = VolumeTable.read(volumes_file)
    pairs = acquisition_pairs(table, ["T1", "T2"])
    assert len(pairs) == 8
    dataset = PairDataset(table, load_volumes(table), plain(), pairs)
    for index in range(len(dataset)):
        item = dataset[index]
        first, second = pairs.first[index], pairs.second[index]
        assert table["sequence"][first] == "T1"
        assert table["sequence"][second] == "T2"
        assert item["image"].shape == (2, 1, 8, 12)
        assert item["image"].mean((1, 2, 3)).round().tolist() == [first, second]
        same, level, one, other = item["label"].tolist()
        assert (same, level) == (1, {"L1": 1, "S1": 6}[table["level"][first]])
        assert one == other == "abcd".index(table["subject_id"][first])


def test_pairs_and_views_are_drawn_anew_by_each_seed_and_alike_by_the_same(volumes_file: Path) -> None:
    table = VolumeTable.read(volumes_file)
    volumes = load_volumes(table) + torch.rand(16, 1, 8, 12).half()

    def epoch(dataset: PairDataset, seed: int) -> torch.Tensor:
        dataset.set_random_state(seed=seed)
        return torch.stack([dataset[i]["image"] for i in range(len(dataset))])

    def made() -> PairDataset:
        view = RandVolumeViewd("image", (6, 8), (6, 8), angle_deg=10.0)
        return PairDataset(table, volumes, view, sampler=PairSampler(table), length=6)

    one, two = made(), made()
    assert torch.equal(epoch(one, 3), epoch(two, 3))
    assert not torch.equal(epoch(one, 4), epoch(two, 3))
    assert torch.equal(epoch(one, 3), epoch(two, 3))
    assert {int(s) for s in one.pairs.same} == {0, 1}


def test_positives_alone_where_asked(volumes_file: Path) -> None:
    table = VolumeTable.read(volumes_file)
    dataset = PairDataset(
        table, load_volumes(table), plain(), sampler=PairSampler(table), length=16, positives=True
    )
    dataset.set_random_state(seed=0)
    assert dataset.pairs.same.all()
    assert all(int(dataset[i]["label"][0]) == 1 for i in range(16))


def test_what_cannot_be_paired_is_refused(volumes_file: Path, tmp_path: Path) -> None:
    table = VolumeTable.read(volumes_file)
    with pytest.raises(ValueError, match="in T1 and in T2_SPACE, it shows none"):
        acquisition_pairs(table, ["T1", "T2_SPACE"])
    with pytest.raises(ValueError, match="either pairs or sampler must be given, got neither"):
        PairDataset(table, torch.zeros(16, 1, 8, 12), plain())
    nibabel.save(nibabel.Nifti1Image(np.zeros((3, 8, 12), np.float32), np.eye(4)), table.paths()[5])
    with pytest.raises(ValueError, match=r"one shape, .* has \(3, 8, 12\) and the first \(1, 8, 12\)"):
        load_volumes(table)


def test_a_level_without_a_class_is_refused_before_the_training(volumes_file: Path) -> None:
    table = VolumeTable.read(volumes_file)  # holds S1, the seventh level
    made = siamese_loss(table, ContrastiveLoss(1.0, "mean"), 1.0, 1.0, 7, 4, False)
    assert made(torch.rand(2, 2, 11), torch.tensor([[1, 1, 0, 0], [0, 6, 0, 1]])).isfinite()
    with pytest.raises(ValueError, match="levels must be 13 for a table that holds S1, got 6"):
        siamese_loss(table, ContrastiveLoss(1.0, "mean"), 1.0, 1.0, 6, 4, False)


def test_an_item_about_sides_holds_sides_in_the_place_of_persons(tmp_path: Path) -> None:
    rows = [
        (f"p{s}", "", f"s{s}", "", "CT", level, f"{s}{level[0]}.nii.gz", "")
        for s in range(3)
        for level in ("right kidney", "left kidney")
    ]
    table = VolumeTable.from_rows(tmp_path, rows)
    pairs = drawn_pairs(table, "same_side", 40, 0)
    assert np.array_equal(pairs.first, drawn_pairs(table, "same_side", 40, 0).first)
    volumes = torch.arange(6.0).reshape(6, 1, 1, 1).expand(-1, 2, 2, 2)
    dataset = PairDataset(table, volumes, lambda item: item, pairs, question="same_side")
    for item in (dataset[i] for i in range(40)):
        rows_shown = item["image"].mean((1, 2, 3)).int().tolist()
        sides = [("left kidney", "right kidney").index(table["level"][row]) for row in rows_shown]
        assert item["label"].tolist() == [int(sides[0] == sides[1]), 0, *sides]


def test_without_levels_the_loss_is_that_of_the_pairs(volumes_file: Path) -> None:
    pairs = ContrastiveLoss(1.0, "mean")
    made = siamese_loss(VolumeTable.read(volumes_file), pairs, 1.0, 1.0, 0, 4, False)
    torch.manual_seed(0)
    embeddings, target = torch.rand(3, 2, 4), torch.tensor([[1, 0, 0, 0], [0, 0, 0, 1], [1, 0, 1, 1]])
    expected = pairs(embeddings[:, 0], embeddings[:, 1], target[:, 0])
    torch.testing.assert_close(made(embeddings, target), expected)
