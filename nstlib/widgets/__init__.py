"""Live labs for notebooks: pictures that change while a slider moves.

``StyleLab`` paints in its own thread, so that the kernel stays free for other cells. ``ColorizeLab`` and ``HintLab`` (it colors
a drawing from dabs of color) need no thread: they compute the answer in the callback of the control. ``Explorer`` is a picture
with sliders, for the middle of a lesson. The labs use ipywidgets 7.7 or 8: JupyterLab, Notebook, VS Code, Colab.
"""

from nstlib.widgets.colorize import ColorizeLab
from nstlib.widgets.explorer import Explorer
from nstlib.widgets.hints import HintLab
from nstlib.widgets.style import StyleLab

__all__ = ["ColorizeLab", "Explorer", "HintLab", "StyleLab"]
