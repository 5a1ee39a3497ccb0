"""Formulas become MathML, and one that is not understood is a warning, so an error."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "book" / "_ext"))

import mathml


@pytest.fixture
def warnings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    seen: list[str] = []
    monkeypatch.setattr(
        mathml.logger, "warning", lambda text, *values, **_: seen.append(text % values)
    )
    return seen


@pytest.mark.parametrize(
    "latex",
    [
        r"\mathcal{L}(\theta) = -\frac{1}{N}\sum_{i=1}^{N} \log p_\theta(y_i \mid x_i)",
        r"\hat y = \operatorname*{arg\,max}_k p_k",
        r"\hat y = \arg\max_k p_k",
        r"\begin{aligned} a &= b \\ c &= d \end{aligned}",
        r"a &= b \\ c &= d",
        r"\operatorname{softmax}(z / T), \quad z \in \mathbb{R}^{K}",
    ],
)
def test_formula_is_understood(latex: str, warnings: list[str]) -> None:
    text = mathml.to_mathml(mathml.as_one_formula(latex), "block")
    assert warnings == []
    assert text.startswith("<math ") and 'display="block"' in text and "alttext=" in text


@pytest.mark.parametrize("latex", [r"\nosuchcommand x", r"\frac{1}{"])
def test_formula_that_is_not_understood_warns(latex: str, warnings: list[str]) -> None:
    mathml.to_mathml(latex, "inline")
    assert len(warnings) == 1
