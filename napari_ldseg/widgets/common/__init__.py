"""What several tabs use: style, docking, notices, class colours, the choice of a model."""
