"""Self-supervised tasks: on what they are trained, how well they are solved, what they look like.

The tasks themselves are parts of elsewhere, put together by a block of a bundle's configuration: a transform
makes the input and the free label, a head of :mod:`siamed.networks.pretext_net` the answer, a loss compares.
"""
