"""The Train tab: retraining, its outcome, and the models of the project."""
