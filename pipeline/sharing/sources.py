"""Where bundles come from: an index, a GitHub release, a Hugging Face repository, or the address of one zip.

Each is turned into an entry with the SHA-256 that the zip must have; an address without one is refused.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from .download import DownloadError, fetch_text
from .index import INDEX, choose, read_index

__all__ = ["INDEX_VARIABLE", "Promise", "Source"]

INDEX_VARIABLE = "SIAMED_BUNDLE_INDEX"
_HASH = re.compile(r"^([0-9a-f]{64})\b")


@dataclass(frozen=True)
class Promise:
    """A zip that can be downloaded, and what it must be.

    Args:
        name: of the bundle.
        version: of it, None where nobody said.
        url: of the zip.
        sha256: of the zip.
        size: of the zip in bytes, None where nobody said.
    """

    name: str
    version: str | None
    url: str
    sha256: str
    size: int | None


@dataclass(frozen=True)
class Source:
    """One place to get bundles from; the first of its fields that is given counts.

    Args:
        url: address of a zip. Its hash is ``sha256``, or stands in a file beside it (``URL.sha256``).
        github: ``OWNER/REPOSITORY/TAG`` of a release whose files are those that ``siamed bundle publish``
        writes.
            ``$GITHUB_SERVER_URL`` names another server than github.com.
        huggingface: ``OWNER/REPOSITORY`` with the same files; ``$HF_ENDPOINT`` names another server, the
        token is
            the one of ``hf auth login``.
        index: address or path of an ``index.json``.
        sha256: of the zip at ``url``.

    Without any, the index is what ``$SIAMED_BUNDLE_INDEX`` names.
    """

    url: str | None = None
    github: str | None = None
    huggingface: str | None = None
    index: str | None = None
    sha256: str | None = None

    def promise(self, name: str, version: str | None) -> Promise:
        """What is to be downloaded.

        Args:
            name: of the bundle.
            version: or None for the newest.

        Raises:
            ValueError: if no source is given, or it has no such bundle.
            DownloadError: if it cannot be read.
        """
        if self.url is not None:
            return Promise(name, version, self.url, self._hash(), None)
        address = self.index_address()
        entry = choose(read_index(fetch_text(address, self.headers()), address), name, version)
        return Promise(entry.name, entry.version, entry.url, entry.sha256, entry.size)

    def headers(self) -> dict[str, str]:
        """Headers of the requests: the token of a private Hugging Face repository, where there is one."""
        if self.huggingface is None or self.url is not None or self.github is not None:
            return {}
        from huggingface_hub import get_token

        token = get_token()
        return {"Authorization": f"Bearer {token}"} if token else {}

    def _hash(self) -> str:
        if self.sha256 is not None:
            if not re.fullmatch(r"[0-9a-fA-F]{64}", self.sha256):
                raise ValueError(f"sha256 must be 64 hexadecimal digits, got {self.sha256!r}")
            return self.sha256.lower()
        try:
            match = _HASH.match(fetch_text(f"{self.url}.sha256"))
        except DownloadError:
            match = None
        if match is None:
            file = Path(urlsplit(str(self.url)).path).name
            raise ValueError(
                f"sha256 must be given: there is no {file}.sha256 beside the zip, so nobody says what its "
                "bytes must be. Pass --sha256, or ask for an index."
            )
        return match[1]

    def index_address(self) -> str:
        """Where the index lies.

        Raises:
            ValueError: if no source is given, or one that is no such address.
        """
        if self.github is not None:
            parts = self.github.split("/")
            if len(parts) != 3 or not all(parts):
                raise ValueError(f"github must be OWNER/REPOSITORY/TAG, got {self.github!r}")
            server = os.environ.get("GITHUB_SERVER_URL", "https://github.com").rstrip("/")
            return f"{server}/{parts[0]}/{parts[1]}/releases/download/{parts[2]}/{INDEX}"
        if self.huggingface is not None:
            if self.huggingface.count("/") != 1:
                raise ValueError(f"huggingface must be OWNER/REPOSITORY, got {self.huggingface!r}")
            from huggingface_hub import hf_hub_url

            return hf_hub_url(self.huggingface, INDEX)
        address = self.index or os.environ.get(INDEX_VARIABLE)
        if not address:
            raise ValueError(
                "a source must be given: --index, --url, --github, --huggingface, or the variable "
                f"{INDEX_VARIABLE}"
            )
        return address if "://" in address else Path(address).absolute().as_uri()
