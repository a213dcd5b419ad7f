"""What a file of weights would run if it were loaded, found without loading it.

PyTorch's files are zip archives with pickles in them, and a pickle names whatever it wants called. A file of
plain tensors names a handful of things of torch and ``OrderedDict``; TorchScript adds its own classes
(``__torch__...``), whose code is run by PyTorch's interpreter alone.
"""

from __future__ import annotations

import io
import pickletools
import zipfile
from pathlib import Path

__all__ = ["weights_faults"]

_TENSORS = frozenset(
    {
        "collections OrderedDict",
        "torch Size",
        "torch device",
        "torch._utils _rebuild_parameter",
        "torch._utils _rebuild_tensor",
        "torch._utils _rebuild_tensor_v2",
        "torch.jit._pickle build_boollist",
        "torch.jit._pickle build_doublelist",
        "torch.jit._pickle build_intlist",
        "torch.jit._pickle build_tensorlist",
        "torch.jit._pickle restore_type_tag",
        "torch.serialization _get_layout",
    }
)
_MAX_PICKLE = 64 * 2**20
_SUFFIXES = (".pt", ".ts", ".pt2", ".pth")


def weights_faults(path: str | Path) -> list[str]:
    """What a file of weights names beside tensors.

    Args:
        path: of the kinds ``.pt`` (state dictionary), ``.ts`` (TorchScript), ``.pt2`` (torch.export). Others,
            such as ``.onnx``, hold no pickles and have no faults.

    Returns:
        One line a fault; empty if nothing but tensors would be made.
    """
    path = Path(path)
    if path.suffix not in _SUFFIXES:
        return []
    if not zipfile.is_zipfile(path):
        return [f"{path.name} must be an archive as torch.save writes it, not a bare pickle"]
    with zipfile.ZipFile(path) as archive:
        return _archive_faults(archive, path.name)


def _archive_faults(archive: zipfile.ZipFile, where: str) -> list[str]:
    faults: list[str] = []
    for entry in archive.infolist():
        with archive.open(entry) as handle:
            start = handle.read(4)
        name = f"{where}:{entry.filename.split('/', 1)[-1]}"
        # By content as well as by name: nothing obliges a pickle to be called .pkl.
        if (
            start[:1] == b"\x80" and start[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05")
        ) or entry.filename.endswith(".pkl"):
            if entry.file_size > _MAX_PICKLE:
                faults.append(f"{name} is a pickle of {entry.file_size} bytes")
            else:
                faults += _pickle_faults(archive.read(entry), name)
        elif start == b"PK\x03\x04":
            with zipfile.ZipFile(io.BytesIO(archive.read(entry))) as inner:
                faults += _archive_faults(inner, name)
    return faults


def _pickle_faults(content: bytes, where: str) -> list[str]:
    names, strings = set(), [""]
    try:
        for opcode, argument, _ in pickletools.genops(content):
            if opcode.name in ("GLOBAL", "INST"):
                names.add(str(argument))
            elif opcode.name == "STACK_GLOBAL":
                names.add(" ".join(strings[-2:]))
            elif opcode.name.startswith("EXT"):
                names.add("copyreg extension")
            elif isinstance(argument, str):
                strings.append(argument)
    except Exception as error:  # pickletools raises whatever a broken stream leads to
        return [f"{where} must be a whole pickle: {error}"]
    return [f"{where} would call {name.replace(' ', '.')}" for name in sorted(names) if not _is_tensor(name)]


def _is_tensor(name: str) -> bool:
    if name in _TENSORS or name.startswith("__torch__."):
        return True
    module, _, attribute = name.partition(" ")
    return module == "torch" and (attribute.endswith("Storage") or attribute.endswith("Tensor"))
