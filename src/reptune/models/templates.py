"""The language of templates: a pattern with slots for the input and for the word that answers.

`Template("{text} It was {mask} .")` makes "A fun ride. It was [MASK] ." of a review. Nothing here
needs a model or a tokenizer. `reptune.cloze` fills masks of such prompts, `reptune.incontext`
continues those that end with the mask.
"""

from __future__ import annotations

import string
from dataclasses import dataclass
from functools import cached_property

from reptune.checks import check_unicode, nearest
from reptune.models.prompts import check_text

SLOTS = ("text", "text2", "mask")


@dataclass(frozen=True)
class Template:
    """A pattern with a slot for the input and a mask for the word that names its label.

    `{text}` is the input, `{text2}` the second sentence of a pair, `{mask}` the mask; `{{` and `}}`
    are braces; all else stands as it is.

    Attributes:
        pattern: Such as `"{text} It was {mask} ."`.

    Raises:
        ValueError: If the pattern is no string of valid Unicode, a brace is unbalanced, a slot is
            unknown, `{text}` or `{mask}` does not occur exactly once, or `{text2}` occurs more than
            once.

    Source: Gao et al., *Making Pre-trained Language Models Better Few-shot Learners* (2021),
    section 4; chapter 6.

    >>> template = Template("{text} It was {mask} .")
    >>> template.render("A fun ride.", mask_token="[MASK]")
    'A fun ride. It was [MASK] .'
    >>> template.render("A fun ride.", word="great")
    'A fun ride. It was great .'
    """

    pattern: str

    def __post_init__(self) -> None:
        if not isinstance(self.pattern, str):
            raise ValueError(
                f"template={self.pattern!r}; use a string such as '{{text}} It was {{mask}} .'."
            )
        check_unicode(self.pattern, "template")
        slots = [slot for _, slot in self.parts if slot is not None]
        for slot in ("text", "mask"):
            if slots.count(slot) != 1:
                raise ValueError(
                    f"template={self.pattern!r} holds {{{slot}}} {slots.count(slot)} times; "
                    "write it once."
                )
        if slots.count("text2") > 1:
            raise ValueError(
                f"template={self.pattern!r} holds {{text2}} {slots.count('text2')} times; "
                "write it once, or leave it out."
            )

    def __str__(self) -> str:
        return self.pattern

    @classmethod
    def of(cls, template: str | Template) -> Template:
        """Return a template as it is, or make one of a pattern."""
        return template if isinstance(template, Template) else cls(template)

    @cached_property
    def parts(self) -> tuple[tuple[str, str | None], ...]:
        """The pattern in order: literal text, and the slot after it or `None`."""
        try:
            parsed = list(string.Formatter().parse(self.pattern))
        except ValueError as error:
            raise ValueError(
                f"template={self.pattern!r} has an unbalanced brace ({error}); write {{{{ and }}}} "
                "for braces that are no slot."
            ) from error
        for _, slot, extra, conversion in parsed:
            if slot is not None and (slot not in SLOTS or extra or conversion):
                near = None if slot in SLOTS else nearest(slot, SLOTS)
                hint = f"did you mean {{{near}}}?" if near else "use {text}, {text2} and {mask}."
                written = slot + (f"!{conversion}" if conversion else "")
                written += f":{extra}" if extra else ""
                raise ValueError(
                    f"template={self.pattern!r} holds the unknown slot {{{written}}}; {hint}"
                )
        return tuple((literal, slot) for literal, slot, _, _ in parsed)

    @property
    def pair(self) -> bool:
        """Whether it takes a second sentence."""
        return any(slot == "text2" for _, slot in self.parts)

    @property
    def mask_last(self) -> bool:
        """Whether nothing but spaces follows the mask, as a causal model needs it."""
        return not self.halves("x", "x")[1].strip(" ")

    @property
    def spaced(self) -> bool:
        """Whether a space stands before the mask."""
        return self.halves("x", "x")[0].endswith(" ")

    def halves(self, text: str, text2: str | None = None) -> tuple[str, str]:
        """Return what stands before the mask, and what after it.

        Raises:
            ValueError: If a text is no string of valid Unicode.
        """
        check_text("text", text)
        if text2 is not None:
            check_text("text2", text2)
        filled = {"text": text, "text2": text2 or "", "mask": ""}
        sides = ["", ""]
        side = 0
        for literal, slot in self.parts:
            sides[side] += literal + filled.get(slot, "")
            side += slot == "mask"
        return sides[0], sides[1]

    def render(
        self,
        text: str,
        text2: str | None = None,
        word: str | None = None,
        mask_token: str | None = None,
    ) -> str:
        """Return the prompt as a string, for people to read.

        Args:
            text: The input.
            text2: The second sentence, for a template of pairs only.
            word: What to write at the mask, or
            mask_token: the tokenizer's mask token.

        Raises:
            ValueError: If `text2` is missing or one too many, not exactly one of `word` and
                `mask_token` is given, or one of them all is no string.
        """
        self.check_pair(text2)
        if (word is None) == (mask_token is None):
            raise ValueError(
                f"word={word!r} and mask_token={mask_token!r}; give one of them for the mask."
            )
        name, filling = ("word", word) if mask_token is None else ("mask_token", mask_token)
        check_text(name, filling)
        before, after = self.halves(text, text2)
        return before + filling + after

    def check_pair(self, text2: str | None) -> None:
        """Raise a `ValueError` unless `text2` is given exactly where the pattern has a slot."""
        if self.pair and text2 is None:
            raise ValueError(
                f"template={self.pattern!r} takes pairs, but text2 is None; give a second text, or "
                "leave {text2} out."
            )
        if text2 is not None:
            check_text("text2", text2)
        if not self.pair and text2 is not None:
            raise ValueError(
                f"text2={text2[:40]!r}, but template={self.pattern!r} has no {{text2}}; add it, or "
                "give one text."
            )
