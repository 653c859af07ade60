"""Python clients for each protocol, and the pfserver command."""
