"""MONAI bundles as package data, reached with `importlib.resources.files("siamed.bundles")`.

A bundle's folder holds LICENSE, configs/, docs/ and models/, and no Python: its configurations name
components of siamed and MONAI.
"""
