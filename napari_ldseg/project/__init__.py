"""The project folder on disk: cases, their labels and masks, the journal, exchange with other layouts."""
