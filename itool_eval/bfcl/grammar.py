"""The tree-sitter parsers of Java and JavaScript (docs/bfcl.md §4.2).

Error recovery decides which broken replies are accepted, and it differs between releases: the project pins the
official wheel's grammars, on the newest tree-sitter that recovers as the official one does.
"""

import warnings

from tree_sitter import Language, Node, Parser

from itool_eval.bfcl.decoded import DecodeError


class Grammar:
    """Parses one language's replies."""

    def __init__(self, name: str, pointer: object) -> None:
        """Make a parser.

        Args:
            name: the language, for messages.
            pointer: what the grammar package's `language()` gives.
        """
        self._name = name
        with warnings.catch_warnings():
            # Grammars of that age hand over an int, which tree-sitter takes but calls deprecated.
            warnings.simplefilter("ignore", DeprecationWarning)
            self._parser = Parser(Language(pointer))

    def parse(self, source: str) -> Node:
        """The tree's root node.

        Raises:
            DecodeError: the parser had to leave something out ("MISSING" tokens are accepted, officially so).
        """
        try:
            root = self._parser.parse(source.encode()).root_node
        except UnicodeEncodeError as error:
            raise DecodeError(f"not {self._name}: {error}") from error
        # Printing the tree costs more than parsing it; it is the way to tell missing tokens from errors.
        if root.has_error and "ERROR" in str(root):
            raise DecodeError(f"not {self._name}: the parser finds an error")
        return root
