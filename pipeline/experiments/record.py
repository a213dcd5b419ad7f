"""run.json: what a training was, in one file beside its checkpoints, written before the first step."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
import sys
import uuid
from collections.abc import Mapping
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import siamed

from .files import read_json, sha256_of, write_json

__all__ = [
    "RUN_FILE",
    "RunRecord",
    "circumstances",
    "code_state",
    "config_sha256",
    "is_finished",
    "package_versions",
    "published_run",
]

RUN_FILE = "run.json"
_PACKAGES = ("torch", "monai", "numpy", "pytorch-ignite", "mlflow")


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def code_state() -> dict[str, Any]:
    """Commit and dirty flag of siamed's source; both None where it is not a git checkout of its own."""
    root = Path(siamed.__file__).resolve().parent
    unknown = {"commit": None, "dirty": None}
    # An installed copy may lie inside somebody else's repository, whose commit says nothing about it.
    if not (root / ".git").exists():
        return unknown
    try:
        commit = _git(root, "rev-parse", "HEAD")
        return {"commit": commit.strip(), "dirty": bool(_git(root, "status", "--porcelain").strip())}
    except (OSError, subprocess.SubprocessError):
        return unknown


def _git(root: Path, *words: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(root), *words], capture_output=True, text=True, timeout=20, check=True
    )
    return done.stdout


def is_finished(run: Path) -> bool:
    """Whether a folder holds a training that has all its epochs."""
    record = read_json(run / RUN_FILE)
    return record is not None and record["status"] == "FINISHED"


def package_versions(*packages: str) -> dict[str, str]:
    """Versions of Python, siamed and those packages that are installed; default: what trainings depend on."""
    found = {"python": platform.python_version(), "siamed": siamed.__version__}
    for name in packages or _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def circumstances(*packages: str) -> dict[str, Any]:
    """What a measurement's figures depend on: code, machine, its load, versions.

    Args:
        packages: what is measured, beside Python and siamed; by default as :func:`package_versions`.
    """
    return {
        **code_state(),
        "machine": {"cpu": platform.processor() or platform.machine(), "cores": os.cpu_count()},
        "load_average": os.getloadavg() if hasattr(os, "getloadavg") else None,
        "versions": package_versions(*packages),
    }


def config_sha256(config: Mapping[str, Any] | None) -> str | None:
    """SHA-256 of a configuration's JSON with sorted keys: equal configurations have equal hashes."""
    if config is None:
        return None
    text = json.dumps(config, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()


_PUBLISHED = (
    "commit",
    "dirty",
    "device",
    "seed",
    "epochs",
    "best_metric",
    "versions",
    "data",
    "config_sha256",
    "pretraining",
)


def published_run(record: Mapping[str, Any]) -> dict[str, Any]:
    """What of a ``run.json`` goes with the weights to other people.

    Hashes and figures; no configuration, whose paths are of the machine that trained.
    """
    kept = {key: record[key] for key in _PUBLISHED if record.get(key) is not None}
    if "fold" in (record.get("config") or {}):
        fold = record["config"]["fold"]
        kept["fold_left_out"] = "none, best_metric is of subjects in the training" if fold is None else fold
    return {"run": record["name"], **kept}


class RunRecord:
    """The file run.json of one training and of its earlier attempts in the same folder.

    Status is RUNNING from :meth:`start` to :meth:`end`, then FINISHED, FAILED or KILLED. A process that was
    killed outright leaves RUNNING behind; the next one in the folder finds it as :attr:`stale` [D-0032].

    Args:
        output_dir: folder of the training.
    """

    def __init__(self, output_dir: str | Path) -> None:
        self.path = Path(output_dir).absolute() / RUN_FILE
        previous = read_json(self.path) or {}
        self.earlier: list[dict[str, Any]] = previous.pop("earlier", [])
        self.previous: dict[str, Any] = previous
        self.content: dict[str, Any] = {}

    @property
    def stale(self) -> dict[str, Any] | None:
        """The folder's previous run where it never said how it ended."""
        return self.previous if self.previous.get("status") == "RUNNING" else None

    def start(
        self,
        name: str,
        *,
        kind: str,
        config: Mapping[str, Any] | None,
        hparams: Mapping[str, Any],
        data_files: Mapping[str, str | Path],
        device: str,
        **more: Any,
    ) -> str:
        """Write the record of a run that begins.

        Args:
            name: of the experiment; the run's name adds the time and six random characters.
            kind: ``training`` or ``evaluation``.
            config: the configuration with its overrides.
            hparams: hyper-parameters.
            data_files: manifest, split and other files that say which data, by role; each is hashed.
            device: where it runs.
            more: further entries: parent run, where it was resumed from, the tracking store.

        Returns:
            The run's unique name.

        Raises:
            FileNotFoundError: if a data file is missing.
        """
        unique = f"{name}_{datetime.now(timezone.utc):%Y%m%dT%H%M%SZ}_{uuid.uuid4().hex[:6]}"
        files = {role: {"file": Path(p).name, "sha256": sha256_of(p)} for role, p in data_files.items()}
        if self.previous:
            kept = ("name", "status", "started", "ended", "mlflow_run_id", "epochs", "error")
            self.earlier.append({key: self.previous.get(key) for key in kept})
        self.content = {
            "schema": "siamed/run/1",
            "name": unique,
            "kind": kind,
            "status": "RUNNING",
            "started": _now(),
            "ended": None,
            **code_state(),
            "versions": package_versions(),
            "platform": f"{sys.platform} {platform.machine()}",
            "device": device,
            "seed": hparams.get("seed"),
            "hparams": dict(hparams),
            "data": files,
            "config_sha256": config_sha256(config),
            **more,
            "config": config,
            "earlier": self.earlier,
        }
        self.save()
        return unique

    def update(self, **entries: Any) -> None:
        """Change entries and write the file."""
        self.content.update(entries)
        self.save()

    def end(self, status: str, error: str | None = None) -> None:
        """Write how the run ended: FINISHED, FAILED or KILLED."""
        self.update(status=status, ended=_now(), error=error)

    def close_stale(self) -> None:
        """Write into the earlier attempts that the previous one was killed."""
        if self.stale is not None:
            self.previous["status"] = "KILLED"

    def save(self) -> None:
        """Write the file, whole or not at all."""
        write_json(self.path, self.content)
