"""Configurations that name code are told from those that name components."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from siamed.pipeline.sharing.component_names import name_fault
from siamed.pipeline.sharing.config_safety import config_faults, logging_faults

ROOT = Path(__file__).resolve().parents[3]
CONFIGS = sorted([*ROOT.glob("bundles/*/configs/*.yaml"), *ROOT.glob("tests/data/toy_bundle/configs/*.yaml")])


@pytest.mark.parametrize("file", CONFIGS, ids=lambda file: f"{file.parts[-3]}-{file.stem}")
def test_our_own_configurations_pass(file: Path) -> None:
    assert config_faults(yaml.safe_load(file.read_text())) == []


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("os.system", "is not on the list"),
        ("builtins.eval", "is not on the list"),
        ("subprocess.run", "is not on the list"),
        ("torch.os.system", "is not on the list"),
        ("torch.load", "is not on the list"),
        ("torch.hub.load", "is not on the list"),
        ("monai.bundle.run", "is not on the list"),
        ("run_cmd", "monai.utils.misc.run_cmd is not on the list"),
        ("torch.nn.functional.torch.load", "another package's module, torch"),
        ("monai.data.utils.pickle.loads", "another package's module, pickle"),
        ("siamed.pipeline.bundles.json.loads", "another package's module, json"),
        ("siamed.pipeline.bundles.Path", "was defined in pathlib"),
        ("siamed.pipeline.experiments.files.write_json", "may not name"),
        ("siamed.pipeline.grading.prepare.main", "may not name"),
        ("monai.data.PersistentDataset", "may not name"),
        ("PersistentDataset", "may not name"),
        ("numpy.load", "is not on the list"),
        ("numpy.f2py.compile", "is not on the list"),
        ("numpy.ndarray.tofile", "is not on the list"),
        ("torch.utils.data.datapipes.utils.decoder.basichandlers", "is not on the list"),
        ("monai.data.load_net_with_metadata", "is a function that is not on the list"),
        ("monai.transforms.Compose.flatten", "is a method"),
        ("monai.transforms", "is a module"),
        ("monai.transforms.NoSuchThing", "does not exist"),
        ("NoSuchThing", "no component of MONAI"),
        ("torch.nn.Module.__init__", "public names"),
        ("torch.nn._reduction.get_enum", "public names"),
        ("$torch.nn.Linear", "public names"),
    ],
)
def test_components_that_reach_further_are_refused(name: str, why: str) -> None:
    assert why in (name_fault(name) or "nothing was found")


@pytest.mark.parametrize(
    "name",
    ["Compose", "LoadImaged", "monai.data.DataLoader", "torch.optim.AdamW", "torch.float32", "numpy.uint8"],
)
def test_components_that_configurations_need_are_taken(name: str) -> None:
    assert name_fault(name) is None


@pytest.mark.parametrize(
    "text",
    [
        "$__import__('os').system('touch pwned')",
        "$torch.os.system('x')",
        "$[torch][0].nn",
        "$(lambda: torch)().nn",
        "$open('secret').read()",
        "$eval('1')",
        "$exec('1')",
        "$getattr(@network, 'x')",
        "$''.__class__.__mro__",
        "$(x for x in [1]).gi_frame.f_back",
        "$@network.forward.__globals__",
        "$f'{@network}'",
        "$'{0.x}'.format(@network)",
        "$np.load('x', allow_pickle=True)",
        "$np.zeros(3).tofile('x')",
        "$torch.tensor(b'cos')",
        "$'' + '/etc/passwd'",
        "$str() + '/etc/passwd'",
        "$import os",
        "$import glob",
        "$from torch import os",
        "$import torch.utils.cpp_extension as c",
        "$import siamed.pipeline.cli.__main__",
        "$import torch; import os",
        "$(x := 1)",
        "$print('x')",
        "$'/etc/passwd'",
        "$@bundle_root + '/../../x'",
        "$not python",
        "/etc/passwd",
        "~/.ssh/id_rsa",
        "C:\\Windows\\x",
        "../outside",
        "https://example.org/x",
        "%/etc/x.yaml#a",
        "%../x.yaml#a",
        "%configs/evil.yaml#a",
    ],
)
def test_expressions_and_paths_that_lead_out_are_refused(text: str) -> None:
    faults = config_faults({"block": [{"entry": text}]})
    assert faults
    assert faults[0].startswith("block#0#entry: ")


@pytest.mark.parametrize(
    "text",
    [
        "$@bundle_root + '/models/model.pt'",
        "$torch.device('cuda' if torch.cuda.is_available() else 'cpu')",
        "$monai.handlers.from_engine(['pred', 'label'])",
        "$lambda items: [item['image'].meta for item in items]",
        "$len(@train#dataloader)",
        "$[@hparams#scale] * 3",
        "$import monai",
        "$import numpy as np",
        "runs/toy",
        "@network",
        "%#hparams",
    ],
)
def test_expressions_that_configurations_need_are_taken(text: str) -> None:
    assert config_faults({"entry": text}) == []


def test_aliases_are_refused_and_a_bomb_of_them_takes_no_time() -> None:
    assert "may not stand in two places" in config_faults(yaml.safe_load("a: &x {b: 1}\nc: *x\n"))[0]
    assert config_faults(yaml.safe_load("&x [*x]\n"))
    levels = [f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]" for n in range(1, 40)]
    assert config_faults(yaml.safe_load("\n".join(["l0: &l0 [x]", *levels])))


def test_names_bound_by_an_import_are_followed() -> None:
    imports = {"imports": ["$import torch.distributed as dist"]}
    assert config_faults({**imports, "run": "$dist.is_initialized()"}) == []
    (fault,) = config_faults({**imports, "run": "$dist.run.main()"})
    assert fault.startswith("run: torch.distributed.run.main is not on the list")


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        ({"_target_": ["os", "system"]}, "public names"),
        ({"_target_": "Compose", "_mode_": "debug"}, "_mode_ must be"),
    ],
)
def test_targets_and_modes_must_be_plain(entry: dict[str, Any], why: str) -> None:
    assert why in config_faults({"block": entry})[0]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[handler_a]\nclass=FileHandler\nargs=('/etc/crontab', 'w')\n", "class of [handler_a]"),
        ("[handler_a]\nclass=StreamHandler\nargs=(__import__('os').system('x'),)\n", "args of [handler_a]"),
        ("[formatter_a]\nclass=os.system\n", "class of [formatter_a]"),
        ("not a configuration", "must be a configuration"),
    ],
)
def test_a_logging_conf_may_only_write_to_the_console(text: str, why: str) -> None:
    assert why in logging_faults(text)[0]


def test_our_own_logging_conf_passes() -> None:
    files = list(ROOT.glob("bundles/*/configs/logging.conf"))
    assert len(files) == 9
    assert [fault for file in files for fault in logging_faults(file.read_text())] == []
