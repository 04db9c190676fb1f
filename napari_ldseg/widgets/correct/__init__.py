"""The Correct tab: tools that change labels, and the classes of a layer."""
