"""Time and memory of one ``siamed grade`` as a whole process on a DICOM study of 15 x 512 x 512.

Claim: a scan is graded in seconds on a desktop's processor, start of Python, imports and report included.
The study is a phantom's; nothing is said about how right the grades are. The child runs once a repeat. Where
the time goes is told by two more runs that are not among the seconds: the same road with a clock read after
each step, and one under ``-X importtime`` for the share of each package's import.

Run: ``SIAMED_ID_KEY=... python benchmarks/grade_end_to_end.py --out grade_end_to_end.json``. With
``--looks 54`` the discs are graded by a network of the shipped width that takes nine slices and gives them
SpineNet's 54 looks, with ``--looks 54 --width 1`` by one of the paper's width; their weights are random.
"""

from __future__ import annotations

import argparse
import json
import logging
import re
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

logger = logging.getLogger("grade_end_to_end")

_IMPORT = re.compile(r"import time:\s+(\d+) \|\s+(\d+) \| (\s*)(\S+)")


STEPS = """
import json, sys, time
from pathlib import Path
marks = [("", time.perf_counter())]
def done(step): marks.append((step, time.perf_counter()))
from siamed.pipeline.startup import import_monai_lean
import_monai_lean()
from siamed.pipeline.case_files import SpineFiles
from siamed.pipeline.cases import Outcome, Output
from siamed.pipeline.detection import VertebraDetector
from siamed.pipeline.grading import DiscGrader
from siamed.pipeline.scans import find_cases, read_scan, sagittal_view
from siamed.pipeline.cuts import cut_discs
from siamed.pipeline.spine import SpineReader
from siamed.transforms.extract_volume import VIEW_MARGIN_PX
import torch
done("import")
reader = SpineReader.from_bundles(grading=sys.argv[3], device="cpu")
done("load the networks")
case = find_cases(sys.argv[1])[0]
scan = read_scan(case)
done("read the scan")
column = reader.detector(sagittal_view(scan))
done("detect")
discs = cut_discs(sagittal_view(scan), column, VIEW_MARGIN_PX, max(9, reader.grader.depth))
done("extract discs")
reader.grader(torch.stack([image.as_tensor() for image in discs.images]))
done("grade")
reading = reader.grade(scan)
done("again: detect, extract, grade")
Output(Path(sys.argv[2]), True, SpineFiles()).add(Outcome(case.case_id, case.path, reading))
done("write the report")
print(json.dumps({b[0]: round(b[1] - a[1], 3) for a, b in zip(marks, marks[1:])}))
"""
"""The road of ``siamed grade``, step by step; the second reading is without first-use costs."""

BUNDLE = """
import shutil, sys
from pathlib import Path
import torch
from siamed.pipeline.build_bundle import export_weights
from siamed.pipeline.bundles import bundle_parser, bundle_path
from monai.bundle import ConfigParser
folder, width = Path(sys.argv[1]), float(sys.argv[2])
shutil.copytree(bundle_path("spine_mr_disc_grading"), folder)
(folder / "configs" / "calibration.json").unlink()
parser = bundle_parser(folder, "train")
hparams = dict(parser.get("hparams"))
hparams |= {"slices": 9, "windows": [-1, 0, 1], "reflected": [False, True], "width": width}
if width == 1:
    hparams |= {"input_size": [112, 224], "conv2_stride": 2, "hidden": 1024}
config = dict(parser.get())
config["hparams"] = hparams
for file in (folder / "configs").glob("train.*"):
    file.unlink()
ConfigParser.export_config_file(config, str(folder / "configs" / "train.json"), fmt="json")
parser = bundle_parser(folder, "inference")
parser["bundle_root"] = str(folder)
export_weights(parser.get_parsed_content("network_def").state_dict(), folder / "models" / "model.pt", 10000)
"""
"""A grading bundle of nine slices that takes all of SpineNet's looks, with random weights."""


def child(command: list[str]) -> tuple[float, str, str]:
    """Wall seconds, standard output and standard error of a process that must end well."""
    start = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - start
    if done.returncode:
        raise RuntimeError(f"{command[3:]} ended with {done.returncode}: {done.stderr[-2000:]}")
    return seconds, done.stdout, done.stderr


def import_seconds(stderr: str, count: int = 10) -> dict[str, float]:
    """Seconds of the slowest packages by their own modules' time (not cumulative), and of all."""
    total: dict[str, float] = {}
    for own, _, _, name in _IMPORT.findall(stderr):
        package = name.split(".")[0]
        total[package] = total.get(package, 0.0) + int(own) / 1e6
    slowest = sorted(total.items(), key=lambda item: -item[1])[:count]
    return {"all": round(sum(total.values()), 3)} | {name: round(value, 3) for name, value in slowest}


def main() -> None:
    """Write a study, grade it, and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("grade_end_to_end.json"))
    parser.add_argument("--command", choices=["grade", "detect"], default="grade")
    parser.add_argument("--hotspots", type=int, default=0, help="views of evidence hotspots")
    parser.add_argument("--looks", type=int, choices=[9, 54], default=9)
    parser.add_argument("--width", type=float, default=0.25, help="of the network of 54 looks")
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    with tempfile.TemporaryDirectory() as temporary:
        study = Path(temporary) / "study"
        # The parent stays small: memory is asked of the children alone, and the writer is a child of its own.
        writer = "import sys; from siamed.pipeline.phantoms import write_study as write; write(sys.argv[1])"
        writing, *_ = child([sys.executable, "-c", writer, str(study)])
        peak_writing = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss

        bundle = Path(temporary) / "bundle"
        if args.looks == 54:
            child([sys.executable, "-c", BUNDLE, str(bundle), str(args.width)])

        def command(number: int, *options: str) -> list[str]:
            out = str(Path(temporary) / f"report{number}")
            run = "from siamed.pipeline.cli import main; main()"
            python = [sys.executable, *options, "-c", run]
            asked = ["--hotspots", str(args.hotspots)] if args.hotspots else []
            asked += ["--grading-bundle", str(bundle)] if args.looks == 54 else []
            return [*python, args.command, str(study), "--out", out, "--device", "cpu", "--quiet", *asked]

        seconds = [round(child(command(k))[0], 2) for k in range(args.repeats)]
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
        imports = import_seconds(child(command(args.repeats, "-X", "importtime"))[2])
        grading = str(bundle) if args.looks == 54 else "spine_mr_disc_grading"
        steps = child([sys.executable, "-c", STEPS, str(study), str(Path(temporary) / "steps"), grading])[1]
    # Not before the children ran: a child's peak counts what its parent held when it was started.
    from siamed.pipeline.experiments.record import circumstances

    result = {
        "command": args.command,
        "hotspots": args.hotspots,
        "looks": args.looks,
        "width": args.width,
        "wall_seconds": seconds,
        "peak_mb": round(peak / 1024, 1),
        "peak_mb_is_the_writer's": peak == peak_writing,
        "writing_the_study_seconds": round(writing, 2),
        "step_seconds": json.loads(steps.splitlines()[-1]),
        "import_seconds": imports,
        **circumstances("torch", "monai", "numpy", "pydicom"),
    }
    args.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    logger.info("%s", json.dumps(result))


if __name__ == "__main__":
    main()
