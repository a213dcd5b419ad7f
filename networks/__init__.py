"""Networks and losses, each in a file of its own.

This room imports neither `siamed.transforms` nor `siamed.pipeline`.
"""
