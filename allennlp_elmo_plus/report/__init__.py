"""Show a training run as one self-contained HTML page, without network and JavaScript.

Files of a serialization directory (`run`, `events`) -> curves and bars as SVG (`chart`) -> the page (`page`).
"""
