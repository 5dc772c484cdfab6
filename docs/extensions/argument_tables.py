"""A directive that lists the arguments of a parser of argparse: the reference is never stale.

``.. argument-table:: module:function`` calls a function that returns the parser.
"""

from __future__ import annotations

import argparse
from importlib import import_module
from typing import TYPE_CHECKING, Any

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

if TYPE_CHECKING:
    from sphinx.application import Sphinx


class ArgumentTable(SphinxDirective):
    """Show the usage of a parser, and each argument with its help."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Return the nodes of the usage and of a list for each group of arguments."""
        module, _, function = self.arguments[0].partition(":")
        parser: argparse.ArgumentParser = getattr(import_module(module), function)()
        parser.formatter_class = lambda prog: argparse.HelpFormatter(prog, width=72)
        usage = parser.format_usage().removeprefix("usage: ")
        found: list[nodes.Node] = [
            nodes.paragraph("", parser.description or ""),
            nodes.literal_block(usage, usage, language="none"),
        ]
        for group in parser._action_groups:
            actions = [action for action in group._group_actions if action.help]
            if actions:
                found.append(nodes.rubric("", str(group.title).capitalize()))
                found.append(self._list_of(parser, actions))
        return found

    def _list_of(
        self, parser: argparse.ArgumentParser, actions: list[argparse.Action]
    ) -> nodes.definition_list:
        items = nodes.definition_list(classes=["arguments"])
        formatter = parser._get_formatter()
        for action in actions:
            term = nodes.term(
                "", "", nodes.literal("", formatter._format_action_invocation(action))
            )
            text = formatter._expand_help(action)
            items += nodes.definition_list_item(
                "", term, nodes.definition("", nodes.paragraph("", text))
            )
        return items


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directive."""
    app.add_directive("argument-table", ArgumentTable)
    return {"parallel_read_safe": True}
