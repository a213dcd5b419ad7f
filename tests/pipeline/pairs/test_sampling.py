"""Drawing pairs: what a positive and a negative may be, that nothing but the person tells them apart."""

from __future__ import annotations

import tracemalloc
from collections import Counter

import numpy as np
import pytest

from siamed.pipeline.pairs.sampling import Pairs, PairSampler
from siamed.pipeline.pairs.volumes import VolumeTable


def table(subjects: int = 8, levels: tuple[str, ...] = ("L1", "L5", "S1"), twins: bool = True) -> VolumeTable:
    """Subjects with a T1 and a T2 scan, every third with a T2_SPACE; neighbors 0 and 1, 2 and 3 are twins."""
    rows = []
    for s in range(subjects):
        family = f"f{s // 2}" if twins and s < 4 else ""
        for sequence in ("T1", "T2", "T2_SPACE") if s % 3 == 0 else ("T1", "T2"):
            scan = f"{s}_{sequence}"
            rows += [(f"p{s}", family, scan, "", sequence, level, f"{scan}/{level}", "") for level in levels]
    rng = np.random.default_rng(0)
    return VolumeTable.from_rows(".", [rows[i] for i in rng.permutation(len(rows))])


def check(pairs: Pairs, volumes: VolumeTable) -> None:
    for first, second, same in zip(pairs.first, pairs.second, pairs.same, strict=True):
        assert volumes["level"][first] == volumes["level"][second]
        assert volumes["scan_id"][first] != volumes["scan_id"][second]
        assert (volumes["subject_id"][first] == volumes["subject_id"][second]) == same


def test_positives_are_one_person_twice_and_negatives_two_families() -> None:
    volumes = table()
    pairs = PairSampler(volumes).draw(3000, np.random.default_rng(1))
    check(pairs, volumes)
    assert 0.45 < pairs.same.mean() < 0.55
    apart = volumes.families[pairs.first] != volumes.families[pairs.second]
    assert np.array_equal(apart, ~pairs.same)


def test_twins_are_negatives_only_when_asked() -> None:
    volumes = table(subjects=4)  # two families of twins
    pairs = PairSampler(volumes, twins_are_negatives=True).draw(2000, np.random.default_rng(1))
    check(pairs, volumes)
    of_one_family = volumes.families[pairs.first] == volumes.families[pairs.second]
    assert (of_one_family & ~pairs.same).sum() > 100


def test_neither_level_nor_sequence_tells_a_positive_from_a_negative() -> None:
    volumes = table(subjects=30, twins=False)
    pairs = PairSampler(volumes).draw(40000, np.random.default_rng(2))
    kinds = [
        Counter(
            (volumes["level"][a], volumes["sequence"][a], volumes["sequence"][b])
            for a, b in zip(pairs.first[kind], pairs.second[kind], strict=True)
        )
        for kind in (pairs.same, ~pairs.same)
    ]
    assert set(kinds[0]) == set(kinds[1])
    for key, count in kinds[0].items():
        assert abs(count / pairs.same.sum() - kinds[1][key] / (~pairs.same).sum()) < 0.015


def test_every_volume_of_another_family_is_drawn_alike() -> None:
    volumes = table(subjects=5, levels=("L1",), twins=False)
    pairs = PairSampler(volumes, positive_share=0.0).draw(20000, np.random.default_rng(3))
    subject, sequence = volumes["subject_id"], volumes["sequence"]
    drawn = Counter(
        subject[b]
        for a, b in zip(pairs.first, pairs.second, strict=True)
        if subject[a] == "p1" and sequence[b] == "T1"
    )
    assert set(drawn) == {"p0", "p2", "p3", "p4"}
    assert max(drawn.values()) < 1.25 * min(drawn.values())


def test_positives_alone_take_every_subject_and_level_in_turn() -> None:
    volumes = table(subjects=8)
    pairs = PairSampler(volumes).draw_positives(60, np.random.default_rng(4))
    check(pairs, volumes)
    assert len(pairs) == 60
    assert pairs.same.all()
    groups = list(zip(volumes["subject_id"][pairs.first], volumes["level"][pairs.first], strict=True))
    assert len(set(groups[:24])) == len(set(groups[24:48])) == 24
    assert groups[:24] != groups[24:48]
    assert len(PairSampler(volumes).draw_positives(0, np.random.default_rng(4))) == 0


def test_hard_negatives_are_near_by_the_embeddings_learned() -> None:
    volumes = table(subjects=20, twins=False)
    place = np.array([float(s[1:]) for s in volumes["subject_id"].tolist()])[:, None]
    gaps = []
    for candidates in (1, 8):
        sampler = PairSampler(volumes, positive_share=0.0, candidates=candidates)
        sampler.learn(place)
        pairs = sampler.draw(2000, np.random.default_rng(5))
        check(pairs, volumes)
        gaps.append(np.abs(place[pairs.first] - place[pairs.second]).mean())
    assert gaps[1] < 0.4 * gaps[0]


def test_the_same_generator_gives_the_same_pairs() -> None:
    sampler = PairSampler(table())
    one, two = (sampler.draw(50, np.random.default_rng(6)) for _ in range(2))
    assert np.array_equal(one.first, two.first)
    assert np.array_equal(one.second, two.second)
    assert np.array_equal(one.same, two.same)


def test_tables_that_cannot_give_pairs_are_refused() -> None:
    volumes = table(subjects=2)
    with pytest.raises(ValueError, match="at least one subject twice"):
        PairSampler(volumes.of(["p0", "p1"], ["T1"]))
    with pytest.raises(ValueError, match="two families at L1 in T"):
        PairSampler(volumes)  # one family of twins
    with pytest.raises(ValueError, match=r"positive_share must lie in \[0, 1\], got 2"):
        PairSampler(table(), positive_share=2)
    with pytest.raises(ValueError, match="candidates must be at least 1"):
        PairSampler(table(), candidates=0)
    with pytest.raises(ValueError, match="embeddings must have 57 rows, got 3"):
        PairSampler(table()).learn(np.zeros((3, 2)))


def test_memory_grows_linearly_with_the_volumes() -> None:
    def bytes_a_volume(subjects: int) -> float:
        rows = [
            (f"s{s}", "", f"s{s}v{v}", str(v), "T2", level, "x", "")
            for s in range(subjects)
            for v in range(2)
            for level in ("L1", "L2", "L3")
        ]
        table = VolumeTable.from_rows(".", rows)
        tracemalloc.start()
        sampler = PairSampler(table)
        kept, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert len(sampler.draw(10, np.random.default_rng(0))) == 10
        return kept / len(table)

    small, large = bytes_a_volume(500), bytes_a_volume(5000)
    assert large < 1.1 * small
    assert large < 120


def kidneys(scans: int = 6) -> VolumeTable:
    """Both kidneys of some scans, a subject each, the last subject with two."""
    rows = []
    for s in range(scans):
        person = f"p{min(s, scans - 2)}"
        rows += [
            (person, "", f"s{s}", "", "CT", level, f"{s}/{level}", "")
            for level in ("right kidney", "left kidney")
        ]
    rng = np.random.default_rng(0)
    return VolumeTable.from_rows(".", [rows[i] for i in rng.permutation(len(rows))])


def test_of_sides_a_positive_is_one_side_of_two_scans_and_a_negative_exchanges_the_second_kidney() -> None:
    volumes = kidneys()
    pairs = PairSampler(volumes, question="same_side").draw(6000, np.random.default_rng(1))
    level, scan = volumes["level"], volumes["scan_id"]
    assert np.array_equal(level[pairs.first] == level[pairs.second], pairs.same)
    assert (scan[pairs.first] != scan[pairs.second]).all()  # a person's two kidneys never meet
    assert 0.45 < pairs.same.mean() < 0.55
    # Neither side, nor the scans that meet, tell a positive from a negative.
    kinds = [
        Counter(zip(level[pairs.first[kind]], scan[pairs.first[kind]], scan[pairs.second[kind]], strict=True))
        for kind in (pairs.same, ~pairs.same)
    ]
    assert set(kinds[0]) == set(kinds[1])
    assert len(kinds[0]) == 2 * 6 * 5
    shares = [[count[key] / count.total() for key in sorted(count)] for count in kinds]
    assert np.abs(np.subtract(*shares)).max() < 0.012


def test_sides_need_both_kidneys_and_a_known_question() -> None:
    volumes = kidneys()
    one = volumes.columns["level"] != "left kidney"
    one |= volumes.columns["scan_id"] != "s0"
    lonely = VolumeTable(volumes.root, {name: column[one] for name, column in volumes.columns.items()})
    with pytest.raises(ValueError, match="must show two sides at right kidney in s0"):
        PairSampler(lonely, question="same_side")
    with pytest.raises(ValueError, match=r"one of \['same_person', 'same_side'\], got 'same_scanner'"):
        PairSampler(volumes, question="same_scanner")
