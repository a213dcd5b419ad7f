"""Bundles downloaded over HTTP: whole or not at all, whatever breaks, however many ask at once."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from toy.hub import hub
from toy.web import Web

from siamed.pipeline.bundles import bundle_path, load_network
from siamed.pipeline.experiments.files import sha256_of
from siamed.pipeline.sharing.contents import sums_faults
from siamed.pipeline.sharing.download import DownloadError, download
from siamed.pipeline.sharing.index import Entry, choose, merge, read_index, split_name, write_index
from siamed.pipeline.sharing.install import get_bundle
from siamed.pipeline.sharing.publish import publish
from siamed.pipeline.sharing.sources import INDEX_VARIABLE, Source
from siamed.pipeline.sharing.verify import Unsound

ROOT = Path(__file__).resolve().parents[3]


def get(web: Web, place: Path, wanted: str = "toy_bundle", **more: Any) -> Any:
    return get_bundle(wanted, Source(index=f"{web.url}index.json"), place, pause_s=0.01, **more)


def only_the_bundle(place: Path) -> list[str]:
    """What lies in a place of bundles, its hidden files apart, and that nothing of a download is left."""
    assert not [path for path in place.glob(".downloads/*") if path.suffix != ".part"]
    assert not [path for path in place.glob(".*") if path.name.startswith((".new_", ".old_"))]
    return sorted(path.name for path in place.iterdir() if not path.name.startswith("."))


def with_version(folder: Path, version: str, bundle: Path) -> Path:
    """A copy of a bundle under another version."""
    copy = Path(shutil.copytree(bundle, folder / version / bundle.name))
    file = copy / "configs" / "metadata.json"
    metadata = json.loads(file.read_text())
    metadata["changelog"] = {version: "newer"}
    file.write_text(json.dumps({**metadata, "version": version}))
    return copy


def test_a_bundle_is_got_from_an_index_and_used_at_once(
    web: tuple[Web, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved: list[tuple[str, float, int]] = []
    place = tmp_path / "bundles"
    got = get(web[0], place, tell=lambda *step: moved.append(step))
    assert (got.folder, got.before, got.changed) == (place / "toy_bundle", None, True)
    assert only_the_bundle(place) == ["toy_bundle"]
    assert sums_faults(got.folder) == []
    done = [step for step in moved if step[0] == "downloading"]
    assert done[-1][1] == done[-1][2] > 0
    monkeypatch.setenv("SIAMED_BUNDLES", str(place))
    assert bundle_path("toy_bundle") == got.folder
    assert bundle_path(f"toy_bundle@{got.version}") == got.folder
    assert load_network("toy_bundle").training is False
    with pytest.raises(ValueError, match="got 'toy_bundle@9.9.9'"):
        bundle_path("toy_bundle@9.9.9")


def test_what_is_there_is_not_downloaded_again_and_what_is_damaged_is(
    web: tuple[Web, Path], tmp_path: Path
) -> None:
    first = get(web[0], tmp_path)
    asked = len(web[0].asked)
    assert get(web[0], tmp_path).changed is False
    assert [path for path, _ in web[0].asked[asked:]] == ["/index.json"]
    (first.folder / "LICENSE").write_text("damaged")
    assert get(web[0], tmp_path).changed is True
    assert sums_faults(first.folder) == []


def test_an_upgrade_is_seen_done_and_said_and_versions_are_compared_as_versions(
    web: tuple[Web, Path], trained: Path, tmp_path: Path
) -> None:
    server, folder = web
    publish([with_version(tmp_path / "new", "0.9.0", trained)], folder)
    assert get(server, tmp_path / "b").version == "0.9.0"
    publish([with_version(tmp_path / "new", "0.10.0", trained)], folder)
    got = get(server, tmp_path / "b")
    assert (got.version, got.before, got.changed) == ("0.10.0", "0.9.0", True)
    assert only_the_bundle(tmp_path / "b") == ["toy_bundle"]
    older = get(server, tmp_path / "b", "toy_bundle@0.9.0")
    assert (older.version, older.before) == ("0.9.0", "0.10.0")


def test_a_newer_one_in_place_is_kept_where_no_version_is_asked_for(
    web: tuple[Web, Path], trained: Path, tmp_path: Path
) -> None:
    publish([with_version(tmp_path / "new", "7.0.0", trained)], tmp_path / "other")
    get_bundle("toy_bundle", Source(index=str(tmp_path / "other" / "index.json")), tmp_path / "b")
    got = get(web[0], tmp_path / "b")
    assert (got.version, got.changed) == ("7.0.0", False)


def test_a_download_cut_in_half_goes_on_where_it_stopped(web: tuple[Web, Path], tmp_path: Path) -> None:
    server, folder = web
    (zip_file,) = folder.glob("*.zip")
    half = zip_file.stat().st_size // 2
    server.cut_at = [half]
    get(server, tmp_path)
    zips = [wanted for path, wanted in server.asked if path.endswith(".zip")]
    assert zips == [None, f"bytes={half}-"]


def test_a_download_that_keeps_breaking_is_kept_for_the_next_time(
    web: tuple[Web, Path], tmp_path: Path
) -> None:
    server, folder = web
    (zip_file,) = folder.glob("*.zip")
    server.cut_at = [1000, 1000, 1000, 1000]
    with pytest.raises(DownloadError, match=r"broke off 4 times.*4000 of \d+ bytes are kept"):
        get(server, tmp_path / "b")
    assert only_the_bundle(tmp_path / "b") == []
    assert get(server, tmp_path / "b").changed
    assert server.asked[-1] == (f"/{zip_file.name}", "bytes=4000-")


def test_a_server_without_ranges_is_asked_from_the_start(web: tuple[Web, Path], tmp_path: Path) -> None:
    web[0].ranges, web[0].cut_at = False, [1000]
    assert get(web[0], tmp_path).changed


def test_other_bytes_than_promised_are_not_unpacked(web: tuple[Web, Path], tmp_path: Path) -> None:
    server, folder = web
    (zip_file,) = folder.glob("*.zip")
    first = get(server, tmp_path / "b")
    before = {path: path.read_bytes() for path in first.folder.rglob("*") if path.is_file()}
    index = json.loads((folder / "index.json").read_text())
    index["bundles"][0]["sha256"] = "0" * 64
    (folder / "index.json").write_text(json.dumps(index))
    with pytest.raises(DownloadError, match=r"has other bytes than promised .*nothing was unpacked"):
        get(server, tmp_path / "b")
    assert {path: path.read_bytes() for path in first.folder.rglob("*") if path.is_file()} == before
    assert list((tmp_path / "b" / ".downloads").iterdir()) == []


def test_a_zip_that_lies_about_its_version_is_refused(web: tuple[Web, Path], tmp_path: Path) -> None:
    server, folder = web
    (entry,) = read_index((folder / "index.json").read_text(), "")
    write_index([Entry(entry.name, "5.0.0", entry.url, entry.sha256, entry.size)], folder)
    with pytest.raises(Unsound, match=r"toy_bundle 5.0.0 is refused: its zip holds version"):
        get(server, tmp_path / "b")
    write_index([Entry("other", entry.version, entry.url, entry.sha256, entry.size)], folder)
    with pytest.raises(Unsound, match=r"other is refused: its zip holds toy_bundle"):
        get(server, tmp_path / "b", "other")
    assert only_the_bundle(tmp_path / "b") == []


def test_a_full_disk_leaves_the_old_bundle_and_nothing_else(web: tuple[Web, Path], tmp_path: Path) -> None:
    server, folder = web
    place = tmp_path / "bundles"
    first = get(server, place)
    (first.folder / "LICENSE").write_text("old")
    program = (
        "import resource, signal, sys\n"
        "from siamed.pipeline.sharing.install import get_bundle\n"
        "from siamed.pipeline.sharing.sources import Source\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000))\n"
        "get_bundle('toy_bundle', Source(index=sys.argv[1]), sys.argv[2])\n"
    )
    words = [sys.executable, "-W", "ignore", "-c", program, f"{server.url}index.json", str(place)]
    done = subprocess.run(words, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 1
    assert "the disk is full, nothing was kept of the download" in done.stderr
    assert (first.folder / "LICENSE").read_text() == "old"
    assert only_the_bundle(place) == ["toy_bundle"]
    assert list((place / ".downloads").iterdir()) == []


def test_two_processes_at_once_download_once(web: tuple[Web, Path], tmp_path: Path) -> None:
    server, _ = web
    got: list[Any] = []
    waited = threading.Event()
    server.hold.clear()

    def tell(what: str, done: float, total: int) -> None:
        if what.startswith("waiting"):
            waited.set()
            server.hold.set()

    # Locks of one process by two descriptors exclude each other as those of two processes do.
    def work() -> None:
        source = Source(url=f"{server.url}{zip_name}", sha256=digest)
        got.append(get_bundle("toy_bundle", source, tmp_path / "b", tell))

    (zip_file,) = web[1].glob("*.zip")
    zip_name, digest = zip_file.name, sha256_of(zip_file)
    workers = [threading.Thread(target=work) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert waited.is_set()
    assert sorted(one.changed for one in got) == [False, True]
    assert [path for path, _ in server.asked].count(f"/{zip_name}") == 1
    assert only_the_bundle(tmp_path / "b") == ["toy_bundle"]


def test_a_process_killed_between_the_renames_loses_nothing(web: tuple[Web, Path], tmp_path: Path) -> None:
    place = tmp_path / "b"
    got = get(web[0], place)
    got.folder.rename(place / ".old_toy_bundle")  # as the killed process left it
    (place / ".new_toy_bundle").mkdir()
    assert get(web[0], place).changed is False
    assert only_the_bundle(place) == ["toy_bundle"]
    assert sums_faults(got.folder) == []


def test_one_address_needs_a_hash_from_somewhere(web: tuple[Web, Path], tmp_path: Path) -> None:
    server, folder = web
    (zip_file,) = folder.glob("*.zip")
    url = f"{server.url}{zip_file.name}"
    assert get_bundle("toy_bundle", Source(url=url), tmp_path / "beside").changed
    (folder / f"{zip_file.name}.sha256").unlink()
    with pytest.raises(ValueError, match=r"sha256 must be given: there is no .*\.zip\.sha256 beside the zip"):
        get_bundle("toy_bundle", Source(url=url), tmp_path / "none")
    with pytest.raises(ValueError, match="sha256 must be 64 hexadecimal digits, got '../x'"):
        get_bundle("toy_bundle", Source(url=url, sha256="../x"), tmp_path / "none")
    given = Source(url=zip_file.as_uri(), sha256=sha256_of(zip_file).upper())
    assert get_bundle("toy_bundle", given, tmp_path / "given").changed


def test_a_release_page_and_a_configured_index_are_sources(
    web: tuple[Web, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, folder = web
    page = folder / "owner" / "project" / "releases" / "download" / "v1"
    page.mkdir(parents=True)
    for file in [*folder.glob("*.zip"), folder / "index.json"]:
        shutil.copy(file, page)
    monkeypatch.setenv("GITHUB_SERVER_URL", server.url)
    assert get_bundle("toy_bundle", Source(github="owner/project/v1"), tmp_path / "a").changed
    monkeypatch.setenv(INDEX_VARIABLE, str(folder / "index.json"))
    assert get_bundle("toy_bundle", Source(), tmp_path / "b").changed
    with pytest.raises(ValueError, match="github must be OWNER/REPOSITORY/TAG, got 'owner'"):
        get_bundle("toy_bundle", Source(github="owner"), tmp_path / "c")
    with pytest.raises(ValueError, match="huggingface must be OWNER/REPOSITORY, got 'owner'"):
        get_bundle("toy_bundle", Source(huggingface="owner"), tmp_path / "c")
    monkeypatch.delenv(INDEX_VARIABLE)
    with pytest.raises(ValueError, match="a source must be given"):
        get_bundle("toy_bundle", Source(), tmp_path / "c")


def test_a_server_that_sends_more_than_it_says_is_cut_off(web: tuple[Web, Path], tmp_path: Path) -> None:
    (zip_file,) = web[1].glob("*.zip")
    url, digest = f"{web[0].url}{zip_file.name}", sha256_of(zip_file)
    with pytest.raises(DownloadError, match="sends more than 100 bytes: nothing was kept"):
        download(url, tmp_path / "d", digest, 100, pause_s=0.01)
    assert list((tmp_path / "d").iterdir()) == []


def test_a_damaged_bundle_is_replaced(web: tuple[Web, Path], tmp_path: Path) -> None:
    got = get(web[0], tmp_path / "b")
    (got.folder / "configs" / "metadata.json").write_text("not JSON")
    again = get(web[0], tmp_path / "b")
    assert (again.changed, again.before) == (True, "unknown")
    assert sums_faults(again.folder) == []


def test_a_token_is_not_carried_to_the_server_that_one_is_sent_on_to(
    web: tuple[Web, Path], tmp_path: Path
) -> None:
    (zip_file,) = web[1].glob("*.zip")
    with hub() as server:
        server.sent_on["lab/bundles/toy.zip"] = f"{web[0].url}{zip_file.name}"
        url = f"{server.url}/lab/bundles/resolve/main/toy.zip"
        headers = {"Authorization": "Bearer secret"}
        assert download(url, tmp_path, sha256_of(zip_file), None, headers=headers).is_file()
        assert [token for _, _, token in server.asked] == ["Bearer secret"]
    assert web[0].tokens == [None]


@pytest.mark.parametrize("wanted", ["", "../x", "a b", "x@", "/abs"])
def test_names_that_are_paths_are_refused(wanted: str) -> None:
    with pytest.raises(ValueError, match="name must be NAME or NAME@VERSION"):
        split_name(wanted)


def test_an_address_of_another_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="url must begin with one of http, https, file, got 'ftp://x/y.zip'"):
        download("ftp://x/y.zip", tmp_path, "0" * 64, None)


def test_a_page_that_is_missing_is_said_at_once(web: tuple[Web, Path], tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match="nothing.zip answers 404"):
        download(f"{web[0].url}nothing.zip", tmp_path, "0" * 64, None, pause_s=60)


def entry(version: str, digest: str = "a") -> Entry:
    return Entry("toy", version, "x.zip", digest * 64, 1)


def test_the_newest_version_is_chosen_as_versions_go() -> None:
    entries = [entry("0.9.0"), entry("0.10.0"), entry("0.11.0rc1")]
    assert choose(entries, "toy", None).version == "0.10.0"
    assert choose(entries, "toy", "0.11.0rc1").version == "0.11.0rc1"
    with pytest.raises(
        ValueError, match=r"the index has no toy 3, it has \['0.9.0', '0.10.0', '0.11.0rc1'\]"
    ):
        choose(entries, "toy", "3")
    with pytest.raises(ValueError, match=r"the index has no bundle joy, it has \['toy'\]"):
        choose(entries, "joy", None)


def test_a_published_version_stays_what_it_was() -> None:
    entries = merge([entry("0.9.0")], entry("0.10.0"))
    assert [e.version for e in entries] == ["0.9.0", "0.10.0"]
    assert merge(entries, entry("0.9.0")) == entries
    with pytest.raises(ValueError, match=r"toy 0.9.0 was published with other bytes .* raise its version"):
        merge(entries, entry("0.9.0", "b"))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[]", "index must be of the schema siamed/index/1"),
        ('{"schema": "other", "bundles": []}', "its schema is 'other'"),
        ('{"schema": "siamed/index/1", "bundles": [{"name": "../x"}]}', "index must be"),
    ],
)
def test_an_index_of_another_form_is_refused(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        read_index(text, "http://127.0.0.1/")


def test_publishing_changed_bytes_under_an_old_version_changes_nothing(
    site: Path, trained: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(site, tmp_path / "site"))
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    copy = Path(shutil.copytree(trained, tmp_path / "copy" / trained.name))
    (copy / "LICENSE").write_text("another license")
    with pytest.raises(ValueError, match="raise its version"):
        publish([copy], folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
