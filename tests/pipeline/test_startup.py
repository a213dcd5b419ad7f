"""The program loads MONAI without its heavy optional parts, and nobody else does."""

from __future__ import annotations

import json
import subprocess
import sys

from siamed.pipeline.startup import UNUSED_BY_COMMANDS, import_monai_lean

SCRIPT = """
import json, sys
from siamed.pipeline.startup import UNUSED_BY_COMMANDS, import_monai_lean
import_monai_lean()
import monai.bundle, monai.data, monai.transforms
import siamed.pipeline.bundles, siamed.pipeline.cases, siamed.pipeline.spine, siamed.transforms.extract_disc
import siamed.pipeline.detection.detector
loaded = sorted(set(UNUSED_BY_COMMANDS) & set(sys.modules))
import pandas, matplotlib
print(json.dumps({"loaded": loaded, "afterwards": pandas.DataFrame([1]).size}))
"""


def test_the_optional_parts_stay_out_and_can_be_imported_afterwards() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=120, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout.splitlines()[-1]) == {"loaded": [], "afterwards": 1}


def test_a_monai_that_is_loaded_is_left_as_it_is() -> None:
    import monai

    before = {name: sys.modules.get(name) for name in UNUSED_BY_COMMANDS}
    import_monai_lean()
    assert sys.modules["monai"] is monai
    assert {name: sys.modules.get(name) for name in UNUSED_BY_COMMANDS} == before
