"""The Worklist tab: cases by expected error, what is done with each, and the next one."""
