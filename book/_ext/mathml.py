"""Render formulas to MathML while the book is built.

Sphinx's own renderer loads MathJax from a remote host each time a page with a formula
is opened. Browsers draw MathML by themselves, so a book that is built with this one
shows its formulas from the disk, with no network.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.util import logging
from sphinx.util.math import get_node_equation_number

if TYPE_CHECKING:
    from sphinx.application import Sphinx
    from sphinx.writers.html5 import HTML5Translator

logger = logging.getLogger(__name__)

NAMESPACE = "http://www.w3.org/1998/Math/MathML"
ElementTree.register_namespace("", NAMESPACE)

# LaTeX that latex2mathml 3.81 does not know or gets wrong, in words that it does know.
SPELLINGS = (
    (r"\\operatorname\*", r"\\operatorname"),
    (r"\\operatorname\{(\w+)\\,\s*(\w+)\}", r"\\operatorname{\1}\\,\\operatorname{\2}"),
    (r"\\arg(?![a-zA-Z])\s*", r"\\operatorname{arg}\\,"),
    (r"\\(begin|end)\{(aligned|alignedat|gathered|split)\}", r"\\\1{align*}"),
)


def to_mathml(latex: str, display: str, where: nodes.Node | None = None) -> str:
    """Return `latex` as a MathML element.

    Args:
        latex: The formula, without its dollar signs.
        display: "inline" or "block".
        where: The node that holds the formula, for the warning's place.

    Returns:
        A `math` element that carries its LaTeX source as alternative text.
    """
    known = latex
    for pattern, replacement in SPELLINGS:
        known = re.sub(pattern, replacement, known)
    try:
        root = ElementTree.fromstring(convert(known, display=display))
    except Exception as error:  # latex2mathml raises a dozen kinds; all mean the same here
        logger.warning("formula not understood: %s (%r)", latex, error, location=where)
        return ""
    # An unknown command does not fail: it is written out, backslash and all.
    leftovers = [text for text in root.itertext() if re.match(r"\\\w", text)]
    if leftovers:
        logger.warning("%s in the formula %s is unknown", leftovers[0], latex, location=where)
    align_columns(root)
    root.set("alttext", " ".join(latex.split()))
    return ElementTree.tostring(root, encoding="unicode")


def align_columns(root: ElementTree.Element) -> None:
    """Repeat each cell's alignment as a style: browsers no longer read the attribute."""
    for table in root.iter(f"{{{NAMESPACE}}}mtable"):
        tight = " padding-inline: 0;" if table.get("columnspacing", "").startswith("0em") else ""
        for cell in table.iter(f"{{{NAMESPACE}}}mtd"):
            side = cell.get("columnalign", "center")
            cell.set("style", f"text-align: {side};{tight}")


def visit_math(self: HTML5Translator, node: nodes.math) -> None:
    """Write an inline formula."""
    self.body.append(to_mathml(node.astext(), "inline", node))
    raise nodes.SkipNode


def visit_displaymath(self: HTML5Translator, node: nodes.math_block) -> None:
    """Write a displayed formula, with its number and link where it has a label."""
    self.body.append(self.starttag(node, "div", CLASS="math notranslate nohighlight"))
    if node["number"]:
        number = get_node_equation_number(self, node)
        self.body.append(f'<span class="eqno">({number})')
        self.add_permalink_ref(node, "Link to this equation")
        self.body.append("</span>")
    self.body.append(to_mathml(as_one_formula(node.astext()), "block", node))
    self.body.append("</div>\n")
    raise nodes.SkipNode


def as_one_formula(latex: str) -> str:
    """Wrap a formula of several lines in `align*`, as Sphinx's own renderer does."""
    if r"\\" in latex and r"\begin" not in latex:
        return rf"\begin{{align*}}{latex}\end{{align*}}"
    return latex


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the renderer under the name `mathml`."""
    app.add_html_math_renderer("mathml", (visit_math, None), (visit_displaymath, None))
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
