"""Bundles on their way to other people: archived, checked, published, fetched, exported, registered.

A bundle's source is read by :mod:`siamed.pipeline.bundles` and written by
:mod:`siamed.pipeline.build_bundle`; what happens to it afterwards is here. ``docs/sharing.md`` says how it is
used.
"""
