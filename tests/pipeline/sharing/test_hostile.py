"""Bundles that mean harm: each is refused with its reason, runs nothing, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from siamed.pipeline.bundles import bundle_hparams, load_network
from siamed.pipeline.experiments.files import sha256_of
from siamed.pipeline.sharing.archive import MAX_FILES, pack
from siamed.pipeline.sharing.contents import bundle_files, write_sums
from siamed.pipeline.sharing.foreign import TRUST
from siamed.pipeline.sharing.install import get_bundle
from siamed.pipeline.sharing.sources import Source
from siamed.pipeline.sharing.verify import Unsound, verify_bundle

Change = Callable[[Path, Path], None]


class Calls:
    """A pickle of this leaves a file behind when it is loaded."""

    def __init__(self, sentinel: Path) -> None:
        self.sentinel = sentinel

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.sentinel}",)


def append(file: str, text: str) -> Change:
    def change(root: Path, sentinel: Path) -> None:
        path = root / file
        path.parent.mkdir(exist_ok=True)
        path.write_text((path.read_text() if path.is_file() else "") + text.format(sentinel=sentinel))

    return change


def pickled_model(root: Path, sentinel: Path) -> None:
    weights = torch.load(root / "models" / "model.pt", weights_only=True)
    torch.save({**weights, "x": Calls(sentinel)}, root / "models" / "model.pt")
    metadata = json.loads((root / "configs" / "metadata.json").read_text())
    metadata["weights_sha256"] = sha256_of(root / "models" / "model.pt")
    (root / "configs" / "metadata.json").write_text(json.dumps(metadata))


def pickled_script(root: Path, sentinel: Path) -> None:
    torch.save({"x": Calls(sentinel)}, root / "models" / "model.ts")


def lying_metadata(root: Path, sentinel: Path) -> None:
    file = root / "configs" / "metadata.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "weights_sha256": "0" * 64}))


def endless(root: Path, sentinel: Path) -> None:
    (root / "docs" / "README.md").write_text("x" * 26_000_000)


HOSTILE: list[tuple[str, Change, str]] = [
    ("pickled code in model.pt", pickled_model, "model.pt:data.pkl would call posix.system"),
    ("pickled code in model.ts", pickled_script, "model.ts:data.pkl would call posix.system"),
    (
        "an expression that imports",
        append("configs/train.yaml", "\nbad: \"$__import__('os').system('touch {sentinel}')\"\n"),
        "the name '__import__' is not allowed",
    ),
    (
        "a target of the operating system",
        append("configs/train.yaml", "\nbad:\n  _target_: os.system\n  command: touch {sentinel}\n"),
        "bad#_target_: os.system is not on the list",
    ),
    (
        "a target behind an allowed package",
        append("configs/train.yaml", "\nbad:\n  _target_: torch.os.system\n  command: touch {sentinel}\n"),
        "bad#_target_: torch.os.system is not on the list",
    ),
    (
        "an import of something else",
        append("configs/inference.yaml", "\nbad: [$import os]\n"),
        "imports must be of",
    ),
    (
        "a module in the folder",
        append("glob.py", "open('{sentinel}', 'w')\n"),
        "glob.py may not be in a bundle",
    ),
    (
        "a module beside the configurations",
        append("configs/net.py", "open('{sentinel}', 'w')\n"),
        "configs/net.py may not be in a bundle",
    ),
    (
        "a logging.conf that overwrites files",
        append("configs/logging.conf", "\n[handler_x]\nclass=FileHandler\nargs=('{sentinel}', 'w')\n"),
        "logging.conf: class of [handler_x]",
    ),
    (
        "a logging.conf that runs code",
        append("configs/logging.conf", "\n[handler_x]\nclass=StreamHandler\nargs=(open('{sentinel}'),)\n"),
        "logging.conf: args of [handler_x]",
    ),
    (
        "metadata that lie about the hash",
        lying_metadata,
        "weights_sha256 is not the hash of models/model.pt",
    ),
    (
        "an absolute path in a configuration",
        append("configs/train.yaml", "\nbad: /etc/passwd\n"),
        "a path must stay inside the bundle's folders",
    ),
    ("a file beyond all sizes", endless, "docs/README.md has 26.0 MB"),
    ("a hidden folder", append(".git/config", "[core]\n"), ".git/config may not be in a bundle"),
]


def outside(folder: Path) -> dict[str, bytes]:
    """Everything below the folder of a test but the place of bundles and their sources."""
    kept = {"bundles", "released", "hostile"}
    return {
        str(path): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not kept & set(path.relative_to(folder).parts[:1])
    }


def offered(file: Path) -> Source:
    """The attacker has the hash of his own zip right."""
    return Source(url=file.as_uri(), sha256=sha256_of(file))


@pytest.mark.parametrize(("change", "why"), [row[1:] for row in HOSTILE], ids=[row[0] for row in HOSTILE])
def test_a_hostile_bundle_is_refused_and_nothing_is_run_or_left(
    released: Path, tmp_path: Path, change: Change, why: str
) -> None:
    sentinel, place = tmp_path / "pwned", tmp_path / "bundles"
    change(released, sentinel)
    write_sums(released)
    hostile = pack(released, tmp_path / "hostile" / "toy_bundle.zip")
    before = outside(tmp_path)
    with pytest.raises(Unsound, match="toy_bundle is refused") as raised:
        get_bundle("toy_bundle", offered(hostile), place)
    assert why in str(raised.value)
    assert not sentinel.exists()
    assert outside(tmp_path) == before
    assert not (place / "toy_bundle").exists()
    left = [path for path in place.rglob("*") if path.is_file() and path.name != ".toy_bundle.lock"]
    assert left == []


def entry(name: str, mode: int = stat.S_IFREG | 0o644) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr, info.create_system = mode << 16, 3
    return info


def bomb(archive: zipfile.ZipFile) -> None:
    archive.writestr("toy_bundle/docs/zeros.txt", bytes(250_000_000), zipfile.ZIP_DEFLATED)


def many(archive: zipfile.ZipFile) -> None:
    for number in range(MAX_FILES + 1):
        archive.writestr(f"toy_bundle/docs/{number}.txt", "")


ARCHIVES: list[tuple[str, Callable[[zipfile.ZipFile], None], str]] = [
    ("a climbing name", lambda a: a.writestr(entry("toy_bundle/../../pwned"), "x"), "leaves the folder"),
    ("an absolute name", lambda a: a.writestr(entry("/pwned"), "x"), "leaves the folder"),
    ("a drive", lambda a: a.writestr(entry("C:/pwned"), "x"), "leaves the folder"),
    ("a backslash", lambda a: a.writestr(entry("toy_bundle\\..\\..\\pwned"), "x"), "leaves the folder"),
    ("a link", lambda a: a.writestr(entry("toy_bundle/docs/l", stat.S_IFLNK | 0o777), "/etc"), "is a link"),
    ("a bomb", bomb, "unpacks to 250 MB"),
    ("too many files", many, "entries, at most 200"),
    ("a second root", lambda a: a.writestr(entry("other/x.txt"), "x"), "must have one root folder"),
    ("a name twice", lambda a: a.writestr(entry("toy_bundle/license"), "x"), "is there twice"),
]


@pytest.mark.parametrize(("add", "why"), [row[1:] for row in ARCHIVES], ids=[row[0] for row in ARCHIVES])
def test_a_hostile_zip_is_refused_before_anything_is_unpacked(
    zip_file: Path, tmp_path: Path, add: Callable[[zipfile.ZipFile], None], why: str
) -> None:
    with zipfile.ZipFile(zip_file, "a") as archive:
        add(archive)
    before = outside(tmp_path)
    with pytest.raises(ValueError, match=why):
        get_bundle("toy_bundle", offered(zip_file), tmp_path / "bundles")
    assert outside(tmp_path) == before
    assert not (tmp_path / "bundles" / "toy_bundle").exists()
    assert not verify_bundle(zip_file).is_sound


def test_a_damaged_zip_is_refused(zip_file: Path, tmp_path: Path) -> None:
    content = bytearray(zip_file.read_bytes())
    with zipfile.ZipFile(zip_file) as archive:
        readme = next(e for e in archive.infolist() if e.filename.endswith("README.md"))
    content[readme.header_offset + 60] ^= 0xFF  # a byte of what is stored: its checksum is wrong now
    zip_file.write_bytes(bytes(content))
    with pytest.raises(ValueError, match="'toy_bundle/docs/README.md' is damaged: Bad CRC-32"):
        get_bundle("toy_bundle", offered(zip_file), tmp_path / "bundles")
    assert not (tmp_path / "bundles" / "toy_bundle").exists()


def foreign(root: Path, text: str) -> Path:
    file = root / "configs" / "inference.yaml"
    file.write_text(f"{file.read_text()}\n{text}\n")
    file.with_suffix(".json").unlink()
    write_sums(root)
    return root


def test_siamed_reads_no_foreign_configuration_that_names_code_unless_trusted(
    released: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert load_network(released).training is False
    root = foreign(released, f"bad: \"$open('{tmp_path}/pwned', 'w')\"")
    with pytest.raises(
        ValueError, match=r"toy_bundle is refused: inference.yaml: bad: the name 'open'.*--trust"
    ):
        load_network(root)
    assert not (tmp_path / "pwned").exists()
    monkeypatch.setenv(TRUST, "1")
    assert load_network(root).training is False


def test_a_downloaded_bundle_whose_files_were_changed_is_not_read(released: Path) -> None:
    (released / "docs" / "README.md").write_text("changed")
    with pytest.raises(ValueError, match=r"docs/README.md is not the file that SHA256SUMS names"):
        load_network(released)


def test_hyperparameters_are_evaluated_alone_and_only_if_they_are_harmless(
    released: Path, tmp_path: Path
) -> None:
    file = released / "configs" / "train.yaml"
    text = file.read_text()
    # What its owner runs by MONAI may name any component; its hyper-parameters are read all the same.
    file.write_text(f"{text}\nmine:\n  _target_: my_package.Dataset\n")
    assert bundle_hparams(released)["batch_size"] > 0
    file.write_text(text.replace("\nhparams:\n", "\nhparams:\n  bad: $print(1)\n"))
    with pytest.raises(ValueError, match=r"hparams#bad: the name 'print' is not allowed"):
        bundle_hparams(released)
    aside = text.replace("\nhparams:\n", "\nhparams:\n  bad: '@mine'\n")
    file.write_text(f"{aside}\nmine:\n  _target_: os.mkdir\n  path: {tmp_path / 'pwned'}\n")
    with pytest.raises(ValueError, match="`@mine` is not defined"):
        bundle_hparams(released)
    assert not (tmp_path / "pwned").exists()


def test_a_link_in_a_folder_is_not_followed(released: Path, tmp_path: Path) -> None:
    (released / "docs" / "README.md").unlink()
    (released / "docs" / "README.md").symlink_to("/dev/zero")
    assert verify_bundle(released).faults == ("files: docs/README.md is a link",)


def test_what_breaks_a_check_is_a_fault_of_the_bundle(released: Path) -> None:
    (released / "configs" / "extra.json").write_text("[" * 100_000)
    (released / "configs" / "metadata.json").write_text('{"a":' * 100_000)
    faults = verify_bundle(released).faults
    assert any("metadata: configs/metadata.json must be JSON" in fault for fault in faults)
    assert any(fault.startswith("configurations: extra.json") for fault in faults)


def test_hidden_files_are_seen(released: Path) -> None:
    (released / ".hidden").write_text("x")
    assert ".hidden" in bundle_files(released)
