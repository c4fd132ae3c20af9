"""The colors of the labs, and of the figures beside them."""

CONTENT, STYLE, INK = "#2a6f97", "#d1495b", "#22223b"
