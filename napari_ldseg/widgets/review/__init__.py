"""The Review tab: from the uncertainty to the right answer."""
