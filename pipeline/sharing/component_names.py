"""Which components a bundle's configuration may name: a list, and the walk that no other name leads around
it.

Prefixes alone would let ``torch.os.system`` pass, and functions of whole packages unpickle bytes: a name must
lead, through modules under their own names, to a class or a listed function that was defined there [D-0078].
"""

from __future__ import annotations

import importlib
import re
from functools import lru_cache
from types import ModuleType
from typing import Any

__all__ = ["PACKAGES", "may_be_imported", "name_fault"]

PACKAGES = ("ignite", "monai", "numpy", "siamed", "torch")
_OPEN = (
    "ignite.engine",
    "ignite.handlers",
    "ignite.metrics",
    "monai.data",
    "monai.engines",
    "monai.handlers",
    "monai.inferers",
    "monai.losses",
    "monai.metrics",
    "monai.networks",
    "monai.optimizers",
    "monai.transforms",
    "monai.utils.enums",
    "monai.utils.misc.set_determinism",
    "monai.utils.set_determinism",
    "monai.visualize",
    "siamed.networks",
    "siamed.pipeline",
    "siamed.transforms",
    "torch.Generator",
    "torch.Size",
    "torch.as_tensor",
    "torch.cuda.current_device",
    "torch.cuda.device_count",
    "torch.cuda.is_available",
    "torch.cuda.set_device",
    "torch.device",
    "torch.distributed.barrier",
    "torch.distributed.destroy_process_group",
    "torch.distributed.get_rank",
    "torch.distributed.get_world_size",
    "torch.distributed.init_process_group",
    "torch.distributed.is_initialized",
    "torch.nn",
    "torch.ones",
    "torch.optim",
    "torch.tensor",
    "torch.utils.data.BatchSampler",
    "torch.utils.data.ConcatDataset",
    "torch.utils.data.DataLoader",
    "torch.utils.data.Dataset",
    "torch.utils.data.DistributedSampler",
    "torch.utils.data.RandomSampler",
    "torch.utils.data.SequentialSampler",
    "torch.utils.data.Subset",
    "torch.utils.data.SubsetRandomSampler",
    "torch.utils.data.TensorDataset",
    "torch.utils.data.WeightedRandomSampler",
    "torch.utils.data.distributed.DistributedSampler",
    "torch.zeros",
    *(
        f"numpy.{name}"
        for name in (
            "abs arange array asarray bool_ concatenate cos deg2rad e eye float16 float32 float64 full inf "
            "int16 int32 int64 int8 isfinite linspace max mean min nan ones pi prod rad2deg sin sqrt stack "
            "sum uint16 uint32 uint64 uint8 where zeros"
        ).split()
    ),
)
# Of these packages classes alone, and these functions; of the others functions too.
_CLASSES_OF = ("ignite.", "monai.", "torch.nn.", "torch.optim.")
_FUNCTIONS_OF = ("torch.nn.functional.", "torch.nn.init.")
_FUNCTIONS = (
    "monai.data.decollate_batch",
    "monai.data.list_data_collate",
    "monai.data.load_decathlon_datalist",
    "monai.data.pad_list_data_collate",
    "monai.data.partition_dataset",
    "monai.data.partition_dataset_classes",
    "monai.handlers.from_engine",
    "monai.utils.misc.set_determinism",
    "monai.utils.set_determinism",
)
# Inside of what is open: readers of pickles, writers of any file, runners of programs.
_CLOSED = (
    "monai.data.CacheNTransDataset",
    "monai.data.GDSDataset",
    "monai.data.LMDBDataset",
    "monai.data.PersistentDataset",
    "monai.data.dataset.CacheNTransDataset",
    "monai.data.dataset.GDSDataset",
    "monai.data.dataset.LMDBDataset",
    "monai.data.dataset.PersistentDataset",
    "monai.networks.trt_compiler",
    "monai.networks.utils",
    "siamed.pipeline.build_bundle",
    "siamed.pipeline.cli",
    "siamed.pipeline.experiments.files",
    "siamed.pipeline.experiments.mlflow_registry",
    "siamed.pipeline.experiments.mlflow_store",
    "siamed.pipeline.experiments.train_fold",
    "siamed.pipeline.label_efficiency",
    "siamed.pipeline.sharing",
)


def may_be_imported(path: str) -> bool:
    """Whether an import statement of a configuration may name this module or member."""
    if path in PACKAGES:
        return True
    around = any(f"{name}.".startswith(f"{path}.") or f"{path}.".startswith(f"{name}.") for name in _OPEN)
    closed = any(f"{path}.".startswith(f"{name}.") for name in _CLOSED)
    return around and not closed and not re.search(r"(^|\.)_", path)


@lru_cache(maxsize=4096)
def name_fault(name: str) -> str | None:
    """Why a configuration may not name a component; None if it may.

    Args:
        name: a dotted path, or the bare name of one of MONAI's components.
    """
    if not re.fullmatch(r"[A-Za-z]\w*(\.[A-Za-z]\w*)*", name):
        return f"a component must be named by a dotted path of public names, got {name!r}"
    if "." not in name:
        module = _components().get_component_module_name(name)
        if module is None:
            return f"no component of MONAI is named {name!r}"
        name = f"{module if isinstance(module, str) else module[0]}.{name}"
    within = [prefix for prefix in (*_OPEN, *_CLOSED) if name == prefix or name.startswith(prefix + ".")]
    if not set(within) & set(_OPEN) and not _is_dtype(name):
        return f"{name} is not on the list of components that a bundle may name"
    if set(within) & set(_CLOSED) or name.rsplit(".", 1)[-1] == "main":
        return f"{name} is on the list of components that a bundle may not name"
    return _resolved_fault(name)


@lru_cache(maxsize=1)
def _components() -> Any:
    from monai.bundle import ComponentLocator

    return ComponentLocator()


def _is_dtype(name: str) -> bool:
    return bool(re.fullmatch(r"torch\.(float|bfloat|int|uint)\d+|torch\.(bool|long|double|half)", name))


def _resolved_fault(name: str) -> str | None:
    """Walk the path: a module reached under another name than its own is somebody else's."""
    parts = name.split(".")
    node: Any = importlib.import_module(parts[0])
    for number, part in enumerate(parts[1:], start=2):
        path = ".".join(parts[:number])
        if isinstance(node, ModuleType) and not hasattr(node, part):
            try:
                importlib.import_module(path)
            except ImportError:
                return f"{path} does not exist"
        if not hasattr(node, part):
            return f"{path} does not exist"
        within_class = isinstance(node, type)
        node = getattr(node, part)
        if isinstance(node, ModuleType) and node.__name__ != path:
            return f"{path} is another package's module, {node.__name__}"
        if within_class and callable(node):
            return f"{path} is a method, not a component"
    return _object_fault(name, node)


def _object_fault(name: str, node: Any) -> str | None:
    if isinstance(node, ModuleType):
        return f"{name} is a module, not a component"
    # Constants and scalar types have no module of their own; they call nothing.
    home = str(getattr(node, "__module__", None) or name.split(".")[0])
    if not callable(node):
        return None
    if home.split(".")[0] not in (*PACKAGES, "builtins"):
        return f"{name} was defined in {home}, not in {', '.join(PACKAGES)}"
    if home == "builtins" and not name.startswith(("torch.", "numpy.")):
        return f"{name} is a builtin of Python"
    listed = name in _FUNCTIONS or name.startswith(_FUNCTIONS_OF)
    if name.startswith(_CLASSES_OF) and not isinstance(node, type) and not listed:
        return f"{name} is a function that is not on the list of those that a bundle may name"
    return None
