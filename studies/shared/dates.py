"""Time expressions: small programs, calendar arithmetic, and sentences to learn from.

A program such as "the month before this one" and a document's date give a value that needs no
model and no annotator, so a sentence that a teacher wrote around an expression gets a label that
is right by construction. Taught in chapter 7; the guidelines and the annotated test set are in
`studies/data/README.md`.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date as Date  # noqa: N812
from typing import Literal

from reptune.checks import check_random_state, check_whole_number, seed_of
from reptune.prompt2model.task import Sample

Tense = Literal["past", "future", "any"]

WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
MONTHS = (
    "january", "february", "march", "april", "may", "june",
    "july", "august", "september", "october", "november", "december",
)  # fmt: skip
SEASONS = ("spring", "summer", "autumn", "winter")
SEASON_CODES = ("SP", "SU", "FA", "WI")
PARTS = {"morning": "MO", "afternoon": "AF", "evening": "EV", "night": "NI"}
HOLIDAYS = {"christmas": (12, 25), "christmas eve": (12, 24), "halloween": (10, 31)}
ORDINALS = ("first", "second", "third", "fourth")
NUMBERS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")

# What has a name and comes again: the unit that is counted, and after how many it comes again.
_CYCLES = {
    "weekday": ("day", 7),
    "month": ("month", 12),
    "quarter": ("quarter", 4),
    "half": ("half", 2),
    "season": ("season", 4),
}
_UNITS = ("day", "week", "weekend", "month", "quarter", "half", "season", "year", "decade",
          "century")  # fmt: skip
_WITH_PARTS = ("day", "weekday", "date")


# --- programs ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Program:
    """What a time expression means, before it is known when it was written.

    Without a name it is a unit counted from the one that holds the document's date: `day` −1 is
    yesterday, `month` 0 this month. With a name (a weekday, a month, a day of a month) it is one
    of those that bear the name: 0 the latest that has begun, today's included; 1 the first after
    today's, −1 the last before it. With a year it is absolute.

    Attributes:
        unit: `day`, `week`, `weekend`, `month`, `quarter`, `half`, `season`, `year`, `decade`,
            `century`; `weekday`, which needs a name; `date`, a day of a month.
        shift: Which one, counted as above. An absolute program has none.
        name: 1 to 7 from Monday, 1 to 12 from January, 1 to 4 (2) for quarters (halves), 1 to 4
            from spring; a winter has the year in which it begins.
        day: Of the month; of a `date` only.
        year: Of a decade or a century, its first year, such as 1970 or 1900.
        years: Of something with a name, its year counted from the document's: "May next year".
        part: Of the day: `MO`, `AF`, `EV` or `NI`.

    >>> resolve(Program("weekday", -1, name=5), "1996-12-06")  # "last Friday", said on a Friday
    '1996-11-29'
    """

    unit: str
    shift: int = 0
    name: int | None = None
    day: int | None = None
    year: int | None = None
    years: int | None = None
    part: str = ""

    def __post_init__(self) -> None:
        """Refuse what means nothing, so that a wrong program is no wrong value later."""
        if self.unit not in (*_UNITS, "weekday", "date"):
            raise ValueError(
                f"unit {self.unit!r} is unknown; use one of {', '.join(_UNITS)}, weekday, date."
            )
        self._check_name()
        if (self.unit == "date") != (self.day is not None):
            raise ValueError(f"a day of the month belongs to a date and to nothing else: {self!r}")
        if self.unit == "date" and not _exists(2000, self.name or 0, self.day or 0):
            raise ValueError(f"no year has the day {self.day} in month {self.name}.")
        if (self.year is not None) + (self.years is not None) + (self.shift != 0) > 1:
            raise ValueError(f"shift, year and years say the same thing; give one: {self!r}")
        if self.year is not None and not 0 < self.year < 10000:
            raise ValueError(f"year is {self.year}; use 1 to 9999.")
        if self.years is not None and (self.name is None or self.unit == "weekday"):
            raise ValueError(f"years needs a month, a season, … with a name: {self!r}")
        if self.part and (self.part not in PARTS.values() or self.unit not in _WITH_PARTS):
            raise ValueError(f"part {self.part!r} of a {self.unit} is unknown; use {PARTS}.")

    def _check_name(self) -> None:
        most = 12 if self.unit == "date" else _CYCLES.get(self.unit, ("", 0))[1]
        if self.name is None:
            absolute = self.year is not None and self.unit not in ("year", "decade", "century")
            if absolute or self.unit in ("weekday", "date"):
                raise ValueError(f"which {self.unit}? Give it a name, a number from 1.")
        elif not 1 <= self.name <= most:
            raise ValueError(f"name is {self.name} for a {self.unit}; use 1 to {most}, or None.")
        elif self.unit == "weekday" and self.year is not None:
            raise ValueError("a weekday of a year is no day; use a date.")


def resolve(program: Program, date: str | Date) -> str:
    """Return the value of a program for a document of a date, after the conventions of TIMEX3.

    Args:
        program: What the expression means.
        date: The document's, as `YYYY-MM-DD` or a `datetime.date`.

    Returns:
        `YYYY-MM-DD`, `YYYY-MM`, `YYYY`, `YYYY-Www` (ISO 8601's weeks), `YYYY-Www-WE` for a
        weekend, `YYYY-Qn`, `YYYY-Hn`, `YYYY-SP` (`SU`, `FA`, `WI`), `YYY` for a decade, `YY` for
        a century; a day with a part has `TMO`, `TAF`, `TEV` or `TNI` behind it.

    Raises:
        ValueError: If the date is none, that year has no such day, or the result is outside the
            years 1 to 9999.

    >>> resolve(Program("week", 1), "1996-12-30"), resolve(Program("month", -2), "1997-01-31")
    ('1997-W02', '1996-11')
    """
    today = _as_date(date)
    if program.years is not None:
        program = replace(program, year=today.year + program.years, years=None)
    try:
        value = _value(program, today)
    except (OverflowError, IndexError) as error:
        raise ValueError(
            f"{program} from {today} is outside the years 1 to 9999; use another shift or year."
        ) from error
    return value + (f"T{program.part}" if program.part else "")


def _value(program: Program, today: Date) -> str:
    if program.unit == "date":
        return _day_of_month(program, today).isoformat()
    unit, period = _CYCLES.get(program.unit, (program.unit, 0))
    if program.year is not None:
        # A year's seasons are counted from March.
        first = _index(unit, Date(program.year, 3 if unit == "season" else 1, 1))
        return _written(unit, first + (program.name or 1) - 1)
    now = _index(unit, today)
    if program.name is None:
        return _written(unit, now + program.shift)
    latest = now - (now - (program.name - 1)) % period
    # One that has only just begun is today's: the last before it is a whole period earlier.
    back = program.shift < 0 and latest != now
    return _written(unit, latest + period * (program.shift + back))


def _day_of_month(program: Program, today: Date) -> Date:
    month, day = program.name or 0, program.day or 0
    if program.year is not None:
        if not _exists(program.year, month, day):
            raise ValueError(f"{program.year:04}-{month:02} has no day {day}.")
        return Date(program.year, month, day)
    # February 29 is up to eight years away.
    reach = 8 * (abs(program.shift) + 1)
    years = range(max(1, today.year - reach), min(9999, today.year + reach) + 1)
    days = [Date(year, month, day) for year in years if _exists(year, month, day)]
    if program.shift > 0:
        return [one for one in days if one > today][program.shift - 1]
    if program.shift < 0:
        return [one for one in days if one < today][program.shift]
    return [one for one in days if one <= today][-1]


def _index(unit: str, day: Date) -> int:
    """Return which day, week, month … it is, counted without gaps; 0 is the first of a cycle."""
    months = day.year * 12 + day.month - 1
    return {
        "day": day.toordinal() - 1,  # 0001-01-01 was a Monday
        "week": (day.toordinal() - 1) // 7,
        "weekend": (day.toordinal() - 1) // 7,
        "month": months,
        "quarter": months // 3,
        "half": months // 6,
        "season": (months - 2) // 3,  # from March; January belongs to the winter before
        "year": day.year,
        "decade": day.year // 10,
        "century": day.year // 100,
    }[unit]


def _written(unit: str, index: int) -> str:
    if unit in ("day", "week", "weekend"):
        ordinal = index + 1 if unit == "day" else index * 7 + 1
        if not 0 < ordinal <= Date.max.toordinal():
            raise OverflowError
        if unit == "day":
            return Date.fromordinal(ordinal).isoformat()
        year, week, _ = Date.fromordinal(ordinal).isocalendar()
        return f"{year:04}-W{week:02}" + ("-WE" if unit == "weekend" else "")
    if unit in ("year", "decade", "century"):
        digits = {"year": 4, "decade": 3, "century": 2}[unit]
        if not 0 < index < 10**digits:
            raise OverflowError
        return f"{index:0{digits}}"
    per_year = {"month": 12, "quarter": 4, "half": 2, "season": 4}[unit]
    year, rest = divmod(index, per_year)
    if not 0 < year < 10000:
        raise OverflowError
    names = {"month": f"{rest + 1:02}", "quarter": f"Q{rest + 1}", "half": f"H{rest + 1}"}
    return f"{year:04}-" + names.get(unit, SEASON_CODES[rest % 4])


def _exists(year: int, month: int, day: int) -> bool:
    try:
        Date(year, month, day)
    except ValueError:
        return False
    return True


def _as_date(date: str | Date) -> Date:
    if isinstance(date, Date):
        return date
    if isinstance(date, str) and re.fullmatch(r"\d{4}-\d\d-\d\d", date):
        try:
            return Date.fromisoformat(date)
        except ValueError:
            pass
    raise ValueError(f"date is {date!r}, which is no day; write it as YYYY-MM-DD.")


# --- reading by rules ----------------------------------------------------------------------------

# Not "this season", which may be a sport's, nor "the next day", which is another's.
_UNIT = "(?P<unit>week|weekend|month|quarter|year|decade|century)"
_COUNTED = "(?P<unit>day|week|weekend|month|quarter|year|decade)"
_WEEKDAY = rf"(?P<weekday>{'|'.join(WEEKDAYS)})"
_MONTH = "(?P<month>" + "|".join(f"{m}|{m[:3]}|{m[:4]}" for m in MONTHS) + r")\.?"
_SEASON = rf"(?P<season>{'|'.join(SEASONS)}|fall)"
_PART = rf"(?: (?P<part>{'|'.join(PARTS)}))?"
_NUMBER = rf"(?P<number>\d+|an?|{'|'.join(NUMBERS)})"
_ORDINAL = rf"(?P<ordinal>{'|'.join(ORDINALS)})"
_WHICH = r"(?:(?P<which>this|last|next) )"
_DAY = r"(?P<day>\d{1,2})(?:st|nd|rd|th)?"
_YEAR = r"(?P<year>\d{4})"
_SHIFTS = {"this": 0, "last": -1, "next": 1}
_FIXED = {
    "today": Program("day"),
    "yesterday": Program("day", -1),
    "tomorrow": Program("day", 1),
    "tonight": Program("day", part="NI"),
    "last night": Program("day", -1, part="NI"),
}
_Groups = dict[str, str]


def _named(unit: str, name: int, found: _Groups, day: int | None = None) -> Program:
    """Return a named program; `last` and `next` before the name are its shift."""
    return Program(unit, _SHIFTS[found["which"] or "this"], name, day)


def _month_of(found: _Groups) -> int:
    return next(i for i, m in enumerate(MONTHS, 1) if m.startswith(found["month"][:3]))


def _season_of(found: _Groups) -> int:
    return SEASONS.index(found["season"].replace("fall", "autumn")) + 1


def _date_of(found: _Groups) -> Program:
    year = int(found["year"]) if found.get("year") else None
    return Program("date", 0, _month_of(found), int(found["day"]), year)


def _count(word: str) -> int:
    return int(word) if word.isdigit() else NUMBERS.index(word) + 1 if word in NUMBERS else 1


# The first pattern that fits the whole expression gives its program.
_RULES: tuple[tuple[str, Callable[[_Groups], Program]], ...] = (
    (
        rf"{_NUMBER} {_COUNTED}s? ago",
        lambda found: Program(found["unit"], -_count(found["number"])),
    ),
    (rf"{_WHICH}{_UNIT}", lambda found: Program(found["unit"], _SHIFTS[found["which"]])),
    (
        rf"{_WEEKDAY} week",  # British: a week after the coming one
        lambda found: Program("weekday", 2, WEEKDAYS.index(found["weekday"]) + 1),
    ),
    (
        rf"{_WHICH}?{_WEEKDAY}{_PART}",
        lambda found: replace(
            _named("weekday", WEEKDAYS.index(found["weekday"]) + 1, found),
            part=PARTS.get(found["part"], ""),
        ),
    ),
    (rf"(?:{_WEEKDAY} )?{_MONTH} {_DAY}(?: {_YEAR})?", _date_of),
    (rf"(?:{_WEEKDAY} )?{_DAY} {_MONTH}(?: {_YEAR})?", _date_of),
    (
        r"(?P<year>\d{4})-(?P<number>\d\d)-(?P<day>\d\d)",
        lambda found: Program(
            "date", 0, int(found["number"]), int(found["day"]), int(found["year"])
        ),
    ),
    (
        rf"{_MONTH} {_YEAR}",
        lambda found: Program("month", 0, _month_of(found), year=int(found["year"])),
    ),
    (rf"{_WHICH}?{_MONTH}", lambda found: _named("month", _month_of(found), found)),
    (
        rf"{_MONTH} {_WHICH}year",
        lambda found: Program("month", name=_month_of(found), years=_SHIFTS[found["which"]]),
    ),
    (
        rf"{_WHICH}?(?P<holiday>{'|'.join(HOLIDAYS)})(?: day)?",
        lambda found: _named(
            "date", HOLIDAYS[found["holiday"]][0], found, HOLIDAYS[found["holiday"]][1]
        ),
    ),
    (
        rf"{_SEASON} (?:of )?{_YEAR}",
        lambda found: Program("season", 0, _season_of(found), year=int(found["year"])),
    ),
    (
        rf"this (?:\w+ )?(?!winter){_SEASON}",  # a winter belongs to two years
        lambda found: Program("season", name=_season_of(found), years=0),
    ),
    (rf"{_WHICH}?{_SEASON}", lambda found: _named("season", _season_of(found), found)),
    (
        rf"{_ORDINAL} (?P<unit>half|quarter)(?: of {_YEAR})?",
        lambda found: Program(
            found["unit"],
            0,
            ORDINALS.index(found["ordinal"]) + 1,
            year=int(found["year"]) if found["year"] else None,
        ),
    ),
    (r"(?P<year>\d{3}0)s", lambda found: Program("decade", year=int(found["year"]))),
    (
        r"(?P<number>\d{1,2})(?:st|nd|rd|th) century",
        lambda found: Program("century", year=(int(found["number"]) - 1) * 100),
    ),
    (_YEAR, lambda found: Program("year", year=int(found["year"]))),
)


def read(expression: str) -> Program | None:
    """Read an expression by rules; a bare name, such as "Friday", is read as the latest one.

    Whether "in May" is past or to come is not in the expression but in its sentence; see
    `looks_forward` and `forward`.

    Returns:
        The program, or `None` if no rule fits the whole expression.

    >>> read("three weeks ago") == Program("week", -3), read("soon")
    (True, None)
    """
    words = " ".join(expression.lower().replace(",", " ").split())
    words = re.sub(r"^(?:(?:on|in|at|by|the|early|late|mid) )+", "", words)
    if words in _FIXED:
        return _FIXED[words]
    for pattern, make in _RULES:
        found = re.fullmatch(pattern, words)
        if found:
            try:
                return make(found.groupdict(default=""))
            except ValueError:  # such as "February 31"
                return None
    return None


def has_open_direction(program: Program) -> bool:
    """Say whether a program is a bare name, which may be past or to come."""
    return (
        program.name is not None
        and program.year is None
        and program.years is None
        and program.shift == 0
    )


def forward(program: Program, date: str | Date) -> Program:
    """Return a bare name's program for a document that looks ahead: the next one, or today's.

    >>> forward(read("Friday"), "1996-12-06").shift, forward(read("Monday"), "1996-12-06").shift
    (0, 1)
    """
    if not has_open_direction(program):
        return program
    unit = _CYCLES.get(program.unit, ("day", 0))[0]
    running = resolve(program, date).startswith(resolve(Program(unit), date))
    return program if running else replace(program, shift=1)


# Rough, as chapter 7 counts: "would" stands in past sentences too.
_AHEAD = re.compile(
    r"\b(?:will|shall|'ll|would|to be|(?:due|scheduled|set|likely|expected|planned) (?:to|for)|"
    r"plan(?:s|ned|ning)?|expects?|expected|aims?|hopes?|upcoming)\b|"
    r"\b(?:by|until|before|ahead of|from) (?:\w+ )?\[",
    re.IGNORECASE,
)


def mark(sentence: str, start: int, end: int) -> str:
    """Return a sentence with brackets around the expression at characters `start` to `end`.

    Raises:
        ValueError: If there is nothing between the two.

    >>> mark("It opens in May .", 12, 15)
    'It opens in [May] .'
    """
    if not 0 <= start < end <= len(sentence):
        raise ValueError(f"characters {start} to {end} are not in a text of {len(sentence)}.")
    return f"{sentence[:start]}[{sentence[start:end]}]{sentence[end:]}"


def looks_forward(marked: str) -> bool:
    """Say whether a marked sentence looks ahead, judged by cues such as "will" and "by [May]".

    >>> looks_forward("It will meet on [Monday] ."), looks_forward("It met on [Monday] .")
    (True, False)
    """
    return _AHEAD.search(marked) is not None


def as_input(marked: str, date: str | Date) -> str:
    """Return what a student reads: the document's day and date, then the marked sentence.

    >>> as_input("It met on [Monday] .", "1996-12-06")
    'Friday 1996-12-06: It met on [Monday] .'
    """
    today = _as_date(date)
    return f"{WEEKDAYS[today.weekday()].capitalize()} {today}: {marked}"


# --- sentences to learn from ---------------------------------------------------------------------

FIRST, LAST = Date(1975, 1, 1), Date(2024, 12, 31)
UNSEEN = "1996-12"  # the month of the test set's documents

# How often, the tense of the sentence, and what stands in it; the expression is in brackets.
_FORMS: tuple[tuple[int, Tense, str], ...] = (
    (10, "past", "on [{weekday}]"),
    (10, "future", "on [{weekday}]"),
    (2, "past", "[last {weekday}]"),
    (2, "future", "[next {weekday}]"),
    (1, "future", "on [{weekday} week]"),
    (2, "past", "on [{weekday} {part}]"),
    (2, "future", "on [{weekday} {part}]"),
    (1, "past", "[yesterday]"),
    (1, "future", "[tomorrow]"),
    (2, "any", "[today]"),
    (4, "past", "[last {unit}]"),
    (4, "future", "[next {unit}]"),
    (4, "any", "[this {unit}]"),
    (4, "past", "[{number} {counted} ago]"),
    (8, "past", "in [{month}]"),
    (8, "future", "in [{month}]"),
    (2, "future", "by [{month}]"),
    (1, "past", "[last {month}]"),
    (1, "future", "[next {month}]"),
    (1, "future", "in [{month} next year]"),
    (8, "past", "on [{month} {day}]"),
    (8, "future", "on [{month} {day}]"),
    (1, "past", "on [{short} {day}]"),
    (1, "future", "on [{short} {day}]"),
    (3, "past", "on [{month} {day} , {before}]"),
    (2, "future", "on [{month} {day} , {after}]"),
    (3, "past", "in [{month} {before}]"),
    (2, "future", "in [{month} {after}]"),
    (5, "past", "in [{before}]"),
    (2, "future", "in [{after}]"),
    (1, "past", "in the [{decade}s]"),
    (1, "past", "in the [{ordinal} half of {before}]"),
    (1, "future", "in the [{ordinal} half of {after}]"),
    (1, "past", "[last {season}]"),
    (1, "past", "[last Christmas]"),
)


@dataclass(frozen=True)
class Case:
    """An expression, a document's date, and the value that arithmetic gives.

    Attributes:
        phrase: What is to stand in a sentence, such as "on Friday".
        expression: The part of it that is a time expression, such as "Friday".
        date: The document's, `YYYY-MM-DD`.
        value: `resolve(program, date)`.
        program: What the expression means there.
        tense: Of the sentence; `"any"` if both fit.

    >>> case = cases(1, random_state=0)[0]
    >>> case.value == resolve(case.program, case.date)
    True
    """

    phrase: str
    expression: str
    date: str
    value: str
    program: Program
    tense: Tense


def cases(num: int, random_state: int = 42) -> list[Case]:
    """Draw expressions with their documents' dates and values, forms and tenses mixed.

    No document is of the month that the test set's documents are of.

    Args:
        num: How many.
        random_state: Seed.

    Raises:
        ValueError: If `num` is no whole number from 1, or the seed is none.
    """
    check_whole_number("num", num)
    check_random_state(random_state)
    generator = random.Random(seed_of(random_state))
    days = range(FIRST.toordinal(), LAST.toordinal() + 1)
    weights = [weight for weight, _, _ in _FORMS]
    drawn: list[Case] = []
    while len(drawn) < num:
        today = Date.fromordinal(generator.choice(days))
        if not today.isoformat().startswith(UNSEEN):
            _, tense, form = generator.choices(_FORMS, weights)[0]
            drawn.append(_case(_filled(form, today, generator), today, tense))
    return drawn


def _filled(form: str, today: Date, generator: random.Random) -> str:
    month = generator.randrange(12)
    words = {
        "weekday": generator.choice(WEEKDAYS).capitalize(),
        "part": generator.choice(tuple(PARTS)),
        "unit": generator.choice(("week", "week", "weekend", "month", "month", "year", "year")),
        "number": generator.choice((*NUMBERS[1:], *map(str, range(11, 21)))),
        "counted": generator.choice(("days", "weeks", "months", "years")),
        "month": MONTHS[month].capitalize(),
        "short": MONTHS[month][:3].capitalize() + ("." if month != 4 else ""),
        "day": generator.randint(1, 28 if month == 1 else 30),
        "before": today.year - generator.randint(1, 40),
        "after": today.year + generator.randint(1, 15),
        "decade": today.year // 10 * 10 - 10 * generator.randint(1, 4),
        "ordinal": generator.choice(ORDINALS[:2]),
        "season": generator.choice(SEASONS),
    }
    return form.format(**words)


def _case(form: str, today: Date, tense: Tense) -> Case:
    expression = form[form.index("[") + 1 : form.index("]")]
    program = read(expression)
    if program is None:
        raise RuntimeError(f"no rule reads {expression!r}, which a form here wrote")
    if tense == "future":  # a bare name's direction is the sentence's
        program = forward(program, today)
    phrase = form.replace("[", "").replace("]", "")
    value = resolve(program, today)
    return Case(phrase, expression, today.isoformat(), value, program, tense)


_TIME_WORD = re.compile(
    rf"\b(?:{'|'.join((*WEEKDAYS, *(m for m in MONTHS if m not in ('march', 'may'))))}|"
    r"today|tomorrow|yesterday|tonight|ago|(?:day|week|weekend|month|year|decade|centur)\w*|"
    r"(?:1[5-9]|20)\d\d)\b",
    re.IGNORECASE,
)
MAX_WORDS = 40


def problem_of(sentence: str, case: Case) -> str | None:
    """Say why a sentence that a teacher wrote for a case cannot be learned from.

    Returns:
        `None` if nothing is wrong; else `"phrase missing"`, `"phrase repeated"`,
        `"another time"`, `"wrong tense"`, `"several lines"` or `"too long"`.

    >>> case = cases(1)[0]
    >>> problem_of("Nothing happened .", case)
    'phrase missing'
    """
    found = _places(sentence, case)
    if len(found) != 1:
        return "phrase repeated" if found else "phrase missing"
    if len(sentence.strip().splitlines()) > 1:
        return "several lines"
    if len(sentence.split()) > MAX_WORDS:
        return "too long"
    start, end = found[0]
    if _TIME_WORD.search(sentence[:start] + " " + sentence[end:]):
        return "another time"
    ahead = looks_forward(mark(sentence, start, end))
    if case.tense != "any" and ahead != (case.tense == "future"):
        return "wrong tense"
    return None


def _places(sentence: str, case: Case) -> list[tuple[int, int]]:
    """Return where the expression stands, in characters, each time with all of the phrase."""
    pattern = re.escape(case.phrase).replace(re.escape(case.expression), "(X)", 1)
    pattern = pattern.replace("(X)", f"({re.escape(case.expression)})")
    return [m.span(1) for m in re.finditer(rf"(?<!\w){pattern}(?!\w)", sentence, re.IGNORECASE)]


def sample_of(sentence: str, case: Case, **origin: str | int | float) -> Sample:
    """Return what a student learns from: the marked sentence with its date, and the value.

    Args:
        sentence: As a teacher or a template wrote it.
        case: What it was written for.
        origin: What made it, such as `teacher="…"`.

    Raises:
        ValueError: If `problem_of` has an objection.
    """
    problem = problem_of(sentence, case)
    if problem is not None:
        raise ValueError(f"{sentence!r} cannot stand for {case.phrase!r}: {problem}.")
    marked = mark(sentence, *_places(sentence, case)[0])
    return Sample(
        as_input(marked, case.date),
        case.value,
        origin={"by": "generated", "date": case.date, **origin},
    )


_SUBJECTS = (
    "The company", "The city council", "The home side", "The finance ministry", "A spokesman",
    "The band", "The rail operator", "The court", "The museum", "The new coach", "The airline",
    "The trade union", "Her publisher", "The opposition party", "The regional bank",
)  # fmt: skip
_PAST = (
    "opened an office in Leeds", "won the first match", "signed the agreement",
    "lost the appeal", "released new figures", "met the visitors", "sold most of its shares",
    "raised the price of tickets", "moved to a smaller building", "rejected the offer",
    "had no comment on the report", "was fined for the delay", "began the talks in Oslo",
)  # fmt: skip
_FUTURE = (
    "will open an office in Leeds", "will play the first match", "is due to sign the agreement",
    "plans to appeal", "is expected to release new figures", "will meet the visitors",
    "hopes to sell most of its shares", "will raise the price of tickets",
    "is likely to move to a smaller building", "will decide on the offer",
    "is scheduled to publish the report", "aims to end the delay", "will begin the talks in Oslo",
)  # fmt: skip


def template_sentence(case: Case, random_state: int = 42) -> str:
    """Return a plain sentence for a case: the rival of what a teacher writes.

    >>> case = cases(1)[0]
    >>> problem_of(template_sentence(case), case) is None
    True
    """
    generator = random.Random(f"{seed_of(random_state)} {case.phrase} {case.date}")
    ahead = case.tense == "future" or (case.tense == "any" and generator.random() < 0.5)
    subject = generator.choice(_SUBJECTS)
    clause = generator.choice(_FUTURE if ahead else _PAST)
    if generator.random() < 0.25:
        phrase = case.phrase[0].upper() + case.phrase[1:]
        return f"{phrase} , {subject[0].lower()}{subject[1:]} {clause} ."
    return f"{subject} {clause} {case.phrase} ."


def instruction_for(case: Case) -> str:
    """Return what to ask a teacher for, so that it writes a sentence that `problem_of` accepts.

    >>> instruction_for(cases(1)[0]).startswith("Write one sentence of a news report")
    True
    """
    kind = {
        "past": "about something that has happened",
        "future": 'about something that will happen, with the word "will"',
        "any": "",
    }[case.tense]
    return (
        f"Write one sentence of a news report {kind}".rstrip()
        + f'. It contains the words "{case.phrase}" once and no other date or time.'
    )
