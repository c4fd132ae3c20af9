"""Live labs for notebooks: pictures that change while a slider moves.

``StyleLab`` paints in a thread of its own, so that the kernel stays free for other cells. ``ColorizeLab``, and ``HintLab``,
which paints a drawing from dabs of color, answer within the control's own message and need none. ``Explorer`` is a picture
with sliders, for one knob in the middle of a lesson. Made of ipywidgets 7.7 or 8: JupyterLab, Notebook, VS Code, Colab.
"""

from nstlib.widgets.colorize import ColorizeLab
from nstlib.widgets.explorer import Explorer
from nstlib.widgets.hints import HintLab
from nstlib.widgets.style import StyleLab

__all__ = ["ColorizeLab", "Explorer", "HintLab", "StyleLab"]
