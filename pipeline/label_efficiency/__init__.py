"""Does a pretraining help, and how many labels does it save: arms, label budgets and seeds in one command."""
