"""What several tabs share: look, docking, notices, class colours, the choice of model and device."""
