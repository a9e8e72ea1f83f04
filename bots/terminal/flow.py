"""Widgets side by side, going on in the next row where one is full."""

from textual.geometry import Offset, Size
from textual.layout import ArrangeResult, Layout, WidgetPlacement
from textual.layouts.horizontal import HorizontalLayout
from textual.widget import Widget


class _Rows(HorizontalLayout):
    """Like words in a paragraph; every widget is one line high."""

    name = "rows"

    def arrange(
        self, parent: Widget, children: list[Widget], size: Size, greedy: bool = True
    ) -> ArrangeResult:
        """Where each child goes."""
        placed: list[WidgetPlacement] = []
        row = left = 0
        for one in super().arrange(parent, children, size, greedy):
            if one.region.right - left > size.width and one.region.x > left:
                row, left = row + 1, one.region.x
            placed.append(one._replace(region=one.region.translate(Offset(-left, row))))
        return placed


class Flow(Widget):
    """Its children flow."""

    DEFAULT_CSS = "Flow { height: auto; }"

    @property
    def layout(self) -> Layout:
        """Not one that a style sheet could name."""
        return _ROWS


_ROWS = _Rows()
