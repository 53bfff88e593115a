"""A service's process: the app, its pages for operators, its web server."""
