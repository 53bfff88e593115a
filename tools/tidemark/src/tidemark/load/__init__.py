"""Client accounts that trade: a seeded plan of what they do and when, and an open-loop driver that sends it over
HTTP.
"""
