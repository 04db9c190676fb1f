"""The Correct tab: tools that change the labels."""
