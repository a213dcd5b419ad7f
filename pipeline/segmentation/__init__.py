"""Segmentation of volumes: what a network is shown, what it is trained on, and how it is scored."""
