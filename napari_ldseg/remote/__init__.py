"""A server as seen by its client: the messages between both, and the client; imports no torch."""
