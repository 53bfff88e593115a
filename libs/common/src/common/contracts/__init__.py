"""Messages between services: values with units, tick and market frames, order messages, views, topics.

Nothing here opens a connection, reads a clock or depends on another package of this repository.
"""
