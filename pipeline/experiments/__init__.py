"""What a training needs around MONAI's trainer: seeds, checkpoints and resuming, the run's record, figures.

The handlers are named by their modules in a bundle's ``train.yaml`` (docs/bundles.md). Nothing is imported
here, so that reading weights costs neither ignite nor matplotlib.
"""
