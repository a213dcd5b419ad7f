"""MONAI transforms and the geometry under them, each with its array class and its dictionary class (`...d`) in one file.

This room imports neither `siamed.networks` nor `siamed.pipeline`.
"""
