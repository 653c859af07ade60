"""What a server process needs around the rooms: configuration, plugins, logs, the state folder, a clock, its ports.

Nothing here knows jobs or protocols; :mod:`pfserver.tap` brings the rooms and this together.
"""
