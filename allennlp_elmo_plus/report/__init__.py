"""A training run as one HTML page that needs nothing else: no network, no JavaScript.

Files of a serialization directory (`run`, `events`) -> curves and bars as SVG (`chart`) -> the page (`page`).
"""
