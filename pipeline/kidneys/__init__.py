"""Kidneys: their sides, the proxy task made of them, and what a segmentation of them says."""
