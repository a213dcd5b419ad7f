"""The command line answers before the heavy libraries are loaded."""

from __future__ import annotations

import json
import subprocess
import sys

HEAVY = (
    "torch",
    "monai",
    "mlflow",
    "numpy",
    "pandas",
    "matplotlib",
    "itk",
    "pydicom",
    "sklearn",
    "skimage",
    "scipy",
    "onnx",
)
SCRIPT = f"""
import json, sys
from siamed.pipeline.cli import main
sys.argv = ["siamed", "--help"]
code = None
try:
    main()
except SystemExit as stop:
    code = stop.code
print(json.dumps({{"code": code, "heavy": sorted(set({HEAVY!r}) & set(sys.modules))}}))
"""


def test_help_answers_without_loading_a_heavy_library() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=60, check=False
    )
    assert ran.returncode == 0, ran.stderr
    *shown, answer = ran.stdout.strip().splitlines()
    assert json.loads(answer) == {"code": 0, "heavy": []}
    assert any("grade" in line for line in shown)
