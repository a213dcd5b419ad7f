"""How work gets done: scans in, detection, grading, tracking, report, phantoms, bundle tools, command line.

This room may import `siamed.transforms` and `siamed.networks`; neither imports it. mlflow is imported in
`tracking.py` alone, pydicom and highdicom in `scans/` alone.
"""
