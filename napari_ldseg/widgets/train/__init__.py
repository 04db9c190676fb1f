"""The Train tab: training on corrected cases, its outcome, and the models of the project."""
