"""Self-supervised learning on medical images with MONAI bundles."""
