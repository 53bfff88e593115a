"""Tests of a user's stages without a broker: a log, stores and tables in memory."""
