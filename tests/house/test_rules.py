"""Each house rule fails when its breach is planted in a small clean tree, and only then."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from house import rules
from house.tree import report

RECORD = """# 0001 Title

## Question

q

## Options

o

## Choice

c

## What would change our mind

w
"""
SETUP = """[options]
packages =
    siamed
    siamed.bundles
    siamed.networks
    siamed.pipeline
    siamed.pipeline.cli
    siamed.pipeline.experiments
    siamed.pipeline.scans
    siamed.transforms
install_requires =
    highdicom>=0.2
    mlflow>=3
    numpy>=2.0,<3
    pydicom>=3
    torch>=2.6

[options.extras_require]
dev =
    types-PyYAML>=6.0

[options.package_data]
* = py.typed
siamed.bundles =
    */LICENSE
    */configs/**
    */models/*
"""
TRAIN = """hparams:
  lr: 1.0e-3  # [smith2020net, Sec. 3]
  nested:
    width: 24  # why this width [D-0001]
    spacing_mm: [0.9, 0.5]  # [data spider]
  name: sgd
max_epochs: 20
"""
LOCK = """# exact
highdicom==0.28.2
mlflow==3.17.2
numpy==2.2.6 ; python_full_version < '3.11'
numpy==2.4.6 ; python_full_version >= '3.11'
pydicom==3.0.2
torch==2.13.0
types-pyyaml==6.0.12
"""
CLEAN = {
    "__init__.py": '"""Package."""\n',
    "py.typed": "",
    "transforms/__init__.py": '"""Room."""\n',
    "transforms/py.typed": "",
    "transforms/crop.py": '"""Crop [smith2020net, Eq. 1]."""\nfrom siamed.transforms import geometry\n',
    "networks/__init__.py": '"""Room."""\n',
    "networks/py.typed": "",
    "networks/vggm.py": '"""VGG-M."""\nfrom . import blocks\n',
    "pipeline/__init__.py": '"""Room."""\n',
    "pipeline/py.typed": "",
    "pipeline/experiments/__init__.py": '"""Experiments."""\n',
    "pipeline/experiments/mlflow_store.py": '"""Runs."""\nimport mlflow\n',
    "pipeline/cli/__init__.py": '"""Console."""\nprint("hello")\n',
    "pipeline/scans/__init__.py": '"""Scans."""\nimport pydicom\nfrom siamed import networks, transforms\n',
    "bundles/__init__.py": '"""Room."""\n',
    "bundles/py.typed": "",
    "bundles/spine/LICENSE": "text",
    "bundles/spine/models/model.pt": "weights",
    "bundles/spine/configs/train.yaml": TRAIN,
    "bundles/spine/configs/splits/fold_0.json": "{}",
    "tests/test_crop.py": "import pytest\nwith pytest.raises(ValueError, match='spacing'):\n    pass\n",
    "requirements.lock": LOCK,
    "setup.cfg": SETUP,
    "docs/references.bib": "@article{smith2020net,\n  title = {Net},\n}\n",
    "docs/data.md": "# Data sets\n\n## spider\n\nText.\n",
    "docs/decisions/0001-title.md": RECORD,
}
VGGM = "networks/vggm.py"
CROP = "transforms/crop.py"
CLI = "pipeline/cli/__init__.py"
TEST = "tests/test_crop.py"
TRAIN_YAML = "bundles/spine/configs/train.yaml"
RECORD_MD = "docs/decisions/0001-title.md"
# Rule, file to write, its text ("+": appended), and a word of the breach expected.
PLANTED = [
    ("room_directions", CROP, "+from siamed.networks import vggm\n", "transforms imports networks"),
    ("room_directions", CROP, "+import siamed.pipeline.scans as s\n", "transforms imports pipeline"),
    ("room_directions", VGGM, "+from siamed import transforms\n", "networks imports transforms"),
    ("room_directions", VGGM, "+from ..pipeline import cli\n", "networks imports pipeline"),
    ("room_directions", VGGM, "+def f():\n    from .. import transforms\n", "networks imports transforms"),
    (
        "room_directions",
        VGGM,
        "+importlib.import_module('siamed.pipeline.cli')\n",
        "networks imports pipeline",
    ),
    ("bare_room_imports", CLI, "+import transforms\n", "bare import of transforms"),
    ("bare_room_imports", CLI, "+import networks.vggm\n", "bare import of networks.vggm"),
    ("bare_room_imports", TEST, "+from pipeline import cli\n", "bare import of pipeline.cli"),
    (
        "bare_room_imports",
        "benchmarks/speed.py",
        "from bundles import spine\n",
        "bare import of bundles.spine",
    ),
    ("star_imports", CROP, "+from numpy import *\n", "import * from numpy"),
    (
        "strayed_dependencies",
        CLI,
        "+from mlflow.tracking import MlflowClient\n",
        "mlflow is imported outside",
    ),
    ("strayed_dependencies", CLI, "+import pydicom\n", "pydicom is imported outside"),
    (
        "strayed_dependencies",
        "pipeline/experiments/mlflow_store.py",
        "+import highdicom.sr\n",
        "highdicom is imported outside",
    ),
    ("strayed_dependencies", CLI, "+mlflow, _ = optional_import('mlflow')\n", "mlflow is imported outside"),
    ("utils_modules", "transforms/utils.py", '"""All sorts."""\n', "a utils module"),
    ("utils_modules", "pipeline/utils/__init__.py", '"""All sorts."""\n', "a utils module"),
    ("bundle_code", "bundles/spine/scripts/net.py", '"""Code."""\n', "Python inside a bundle"),
    ("prints", VGGM, "+print('shape')\n", "use logging"),
    ("asserts", VGGM, "+assert 1 == 1\n", "assert in library code"),
    ("missing_docstrings", VGGM, "+class VGGM:\n    pass\n", "VGGM has no docstring"),
    ("missing_docstrings", "pipeline/scans/read.py", "x = 1\n", "the module has no docstring"),
    ("raises_without_match", TEST, "+with pytest.raises(ValueError):\n    pass\n", "without match="),
    (
        "unlisted_packages",
        "networks/losses/__init__.py",
        '"""Losses."""\n',
        "siamed.networks.losses has an __init__.py",
    ),
    ("unlisted_packages", "networks/losses/margin.py", '"""Loss."""\n', "its folder has no __init__.py"),
    (
        "unlisted_packages",
        "setup.cfg",
        SETUP.replace("bundles\n", "bundles\n    siamed.extra\n"),
        "siamed.extra is listed",
    ),
    ("unpackaged_data", "bundles/spine/large_files.yml", "x: 1\n", "no package_data pattern"),
    (
        "unpackaged_data",
        "pipeline/scans/names.json",
        "{}",
        "no package_data pattern of siamed.pipeline.scans",
    ),
    ("undeclared_dependencies", VGGM, "+import sklearn.metrics\n", "sklearn comes from a distribution"),
    ("undeclared_dependencies", CLI, "+def f():\n    import rich\n", "rich comes from a distribution"),
    ("unlocked_requirements", "requirements.lock", LOCK.replace("torch==2.13.0\n", ""), "torch>=2.6: not"),
    ("unlocked_requirements", "requirements.lock", LOCK.replace("2.4.6", "3.0.0"), "['3.0.0'] locked"),
    ("unlocked_requirements", "requirements.lock", LOCK.replace("types-pyyaml", "yaml"), "types-PyYAML"),
    ("open_pins", "requirements.lock", "+numpy>=2\n", "numpy>=2"),
    ("open_pins", "requirements.lock", "+--extra-index-url https://example.org/simple\n", "not an exact pin"),
    ("open_pins", "requirements.lock", "+siamed @ file:///somewhere\n", "not an exact pin"),
    ("uncited_numbers", TRAIN_YAML, TRAIN.replace("  # [smith2020net, Sec. 3]", ""), "0 citation tags"),
    ("uncited_numbers", TRAIN_YAML, TRAIN.replace("smith2020net", "smith2021net"), "references.bib"),
    ("uncited_numbers", TRAIN_YAML, TRAIN.replace(", Sec. 3", ""), "is no citation"),
    ("uncited_numbers", TRAIN_YAML, TRAIN.replace("D-0001", "D-0002"), "docs/decisions/"),
    ("uncited_numbers", TRAIN_YAML, TRAIN.replace("data spider", "data kits"), "docs/data.md"),
    ("uncited_numbers", TRAIN_YAML, TRAIN.replace("[D-0001]", "[D-0001] [data spider]"), "2 citation tags"),
    ("uncited_numbers", TRAIN_YAML, TRAIN.replace("sgd", "1e-4"), "0 citation tags"),
    ("dangling_citations", VGGM, '+"""As [jones1999art, Fig. 2]."""\n', "[jones1999art, Fig. 2]"),
    ("dangling_citations", "docs/data.md", "+As chosen in [D-0042].\n", "[D-0042]"),
    ("incomplete_decisions", RECORD_MD, RECORD.replace("## Options", "## Ways"), "sections"),
    ("incomplete_decisions", RECORD_MD, RECORD.replace("\nc\n", ""), "section Choice is empty"),
    ("incomplete_decisions", "docs/decisions/0001-other.md", RECORD, "shares its number"),
    ("incomplete_decisions", "docs/decisions/Two.md", RECORD, "NNNN-title.md"),
    ("machine_paths", "docs/data.md", "+See /" + "work/shared/data.\n", "a machine's path"),
    ("machine_paths", CLI, "+OUT = '/" + "tmp/out'\n", "a machine's path"),
    ("machine_paths", CLI, "+HOME = '/" + "home/ann/scans'\n", "a machine's path"),
]


def plant(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(path.read_text() + text[1:] if text.startswith("+") else text)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    plant(tmp_path, CLEAN)
    return tmp_path


@pytest.mark.parametrize("rule", rules.RULES, ids=lambda rule: rule.__name__)
def test_a_clean_tree_keeps_every_rule(tree: Path, rule) -> None:
    assert rule(tree) == []


@pytest.mark.parametrize(("rule", "name", "text", "expected"), PLANTED)
def test_a_planted_breach_is_seen_by_its_rule(
    tree: Path, rule: str, name: str, text: str, expected: str
) -> None:
    plant(tree, {name: text})
    breaches = getattr(rules, rule)(tree)
    assert len(breaches) == 1, report(breaches)
    assert expected in str(breaches[0])


def test_every_rule_has_a_planted_breach() -> None:
    untried = {rule.__name__ for rule in rules.RULES} - {planted[0] for planted in PLANTED}
    assert untried == {"missing_type_markers"}


def test_a_missing_type_marker_is_seen(tree: Path) -> None:
    (tree / "networks/py.typed").unlink()
    assert [breach.path for breach in rules.missing_type_markers(tree)] == ["networks/py.typed"]


def test_a_breach_names_the_file_and_the_line(tree: Path) -> None:
    plant(tree, {"networks/vggm.py": "+\nimport siamed.transforms\n"})
    (breach,) = rules.room_directions(tree)
    assert (breach.path, breach.line) == ("networks/vggm.py", 4)


def test_addresses_and_placeholders_are_no_machine_paths(tree: Path) -> None:
    # In pieces, for those who search these files for such paths.
    work, tmp = ("/" + name for name in ("work", "tmp"))
    words = [f"https://example.org{work}/a", "../" + "shared/data", f"$HOME{tmp}/b", f"path/to{work}/c"]
    plant(tree, {"docs/data.md": "+" + " ".join(words) + "\n"})
    assert rules.machine_paths(tree) == []


def test_files_that_git_ignores_are_not_the_projects(tree: Path) -> None:
    subprocess.run(["git", "init", "-q", str(tree)], check=True)
    plant(tree, {".gitignore": "/runs/\n", "runs/log.md": "/" + "tmp/x\n", "notes.md": "/" + "tmp/x\n"})
    assert [breach.path for breach in rules.machine_paths(tree)] == ["notes.md"]
