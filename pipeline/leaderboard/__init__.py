"""Which self-supervised task saves labels on these data: every task of a bundle on one backbone, one command.

A thin layer over :mod:`siamed.pipeline.label_efficiency`: it derives an experiment from the tasks that a
bundle has, runs it, and says in words what the numbers show and no more.
"""
