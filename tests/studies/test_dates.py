import datetime
import re

import pytest
from shared import dates
from shared.dates import Program, cases, forward, looks_forward, read, resolve

FRIDAY = "1996-12-06"


@pytest.mark.parametrize(
    ("program", "date", "value"),
    [
        (Program("day", -1), "1997-01-01", "1996-12-31"),
        (Program("day", 1), "1996-02-28", "1996-02-29"),
        (Program("day", 1), "1900-02-28", "1900-03-01"),  # no leap year
        (Program("day", -1, part="NI"), "2000-03-01", "2000-02-29TNI"),
        (Program("month", -1), "1997-01-31", "1996-12"),
        (Program("month", 1), "1996-01-31", "1996-02"),  # has no 31st
        (Program("month", -14), "1997-01-15", "1995-11"),
        (Program("year", -1), "1996-02-29", "1995"),  # no such day, but such a year
        (Program("week"), "1996-12-29", "1996-W52"),  # a Sunday
        (Program("week"), "1996-12-30", "1997-W01"),  # the Monday after it
        (Program("week", 1), "1992-12-27", "1992-W53"),
        (Program("week", -1), "1999-01-03", "1998-W52"),  # itself the last day of 1998-W53
        (Program("week"), "2021-01-01", "2020-W53"),
        (Program("weekend", 1), "1996-12-06", "1996-W50-WE"),
        (Program("weekend"), "2000-01-01", "1999-W52-WE"),
        (Program("quarter", -1), "1997-03-31", "1996-Q4"),
        (Program("half", 1), "1996-07-01", "1997-H1"),
        (Program("decade"), "1996-12-06", "199"),
        (Program("decade", 1), "1996-12-06", "200"),
        (Program("century", 1), "1996-12-06", "20"),
    ],
)
def test_units_are_counted_from_the_one_that_holds_the_date(program, date, value):
    assert resolve(program, date) == value


@pytest.mark.parametrize(
    ("program", "date", "value"),
    [
        (Program("weekday", 0, name=5), FRIDAY, "1996-12-06"),
        (Program("weekday", -1, name=5), FRIDAY, "1996-11-29"),  # "last Friday" on a Friday
        (Program("weekday", 1, name=5), FRIDAY, "1996-12-13"),
        (Program("weekday", 0, name=6), FRIDAY, "1996-11-30"),
        (Program("weekday", -1, name=6), FRIDAY, "1996-11-30"),  # the last before today
        (Program("weekday", -2, name=6), FRIDAY, "1996-11-23"),
        (Program("weekday", 2, name=6), FRIDAY, "1996-12-14"),  # "Saturday week"
        (Program("weekday", 0, name=4), "1997-01-01", "1996-12-26"),
        (Program("weekday", 0, name=4, part="AF"), FRIDAY, "1996-12-05TAF"),
        (Program("month", 0, name=12), FRIDAY, "1996-12"),
        (Program("month", -1, name=12), FRIDAY, "1995-12"),
        (Program("month", 1, name=12), FRIDAY, "1997-12"),
        (Program("month", 1, name=5), FRIDAY, "1997-05"),
        (Program("month", 0, name=5), "1997-04-30", "1996-05"),
        (Program("month", name=5, years=1), "1996-03-10", "1997-05"),  # not the next May
        (Program("month", name=5, year=1990), FRIDAY, "1990-05"),
        (Program("date", 0, name=12, day=6), FRIDAY, "1996-12-06"),
        (Program("date", 0, name=12, day=7), FRIDAY, "1995-12-07"),
        (Program("date", 1, name=1, day=20), FRIDAY, "1997-01-20"),
        (Program("date", -1, name=12, day=25), FRIDAY, "1995-12-25"),
        (Program("date", 0, name=2, day=29), "1996-02-28", "1992-02-29"),
        (Program("date", 1, name=2, day=29), "1896-02-29", "1904-02-29"),  # 1900 is skipped
        (Program("date", -2, name=2, day=29), "2000-02-29", "1992-02-29"),
        (Program("season", 0, name=3), FRIDAY, "1996-FA"),
        (Program("season", 0, name=4), "1997-02-28", "1996-WI"),
        (Program("season", 0, name=1), "1997-02-28", "1996-SP"),
        (Program("season", name=2, year=1990), FRIDAY, "1990-SU"),
        (Program("season", name=4, year=1990), FRIDAY, "1990-WI"),
        (Program("half", name=2, year=1998), FRIDAY, "1998-H2"),
        (Program("quarter", 1, name=1), FRIDAY, "1997-Q1"),
        (Program("year", year=1852), FRIDAY, "1852"),
        (Program("decade", year=1970), FRIDAY, "197"),
        (Program("century", year=1900), FRIDAY, "19"),
    ],
)
def test_names_are_the_latest_the_next_or_the_last_one(program, date, value):
    assert resolve(program, date) == value


def test_named_days_agree_with_a_search_day_by_day():
    """Over four years: the latest on or before, the first after, the last before."""
    start = datetime.date(1995, 1, 1)
    for offset in range(0, 1461, 5):
        today = start + datetime.timedelta(offset)
        around = [today + datetime.timedelta(step) for step in range(-14, 15)]
        for name in range(1, 8):
            bearing = [day for day in around if day.isoweekday() == name]
            found = [resolve(Program("weekday", s, name), today) for s in (-1, 0, 1)]
            expected = [
                max(day for day in bearing if day < today),
                max(day for day in bearing if day <= today),
                min(day for day in bearing if day > today),
            ]
            assert found == [day.isoformat() for day in expected]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Program("fortnight"), "unit 'fortnight' is unknown"),
        (lambda: Program("weekday"), "which weekday"),
        (lambda: Program("weekday", name=8), "use 1 to 7"),
        (lambda: Program("month", name=0), "use 1 to 12"),
        (lambda: Program("day", name=3), "name is 3 for a day"),
        (lambda: Program("date", name=2, day=30), "no year has the day 30"),
        (lambda: Program("date", name=2), "belongs to a date"),
        (lambda: Program("month", name=2, day=3), "belongs to a date"),
        (lambda: Program("month", 1, name=2, year=1996), "say the same thing"),
        (lambda: Program("month", name=2, year=1996, years=1), "say the same thing"),
        (lambda: Program("month", years=1), "years needs a month"),
        (lambda: Program("month", year=1996), "which month"),
        (lambda: Program("weekday", name=2, year=1996), "no day; use a date"),
        (lambda: Program("day", part="XX"), "part 'XX'"),
        (lambda: Program("month", part="NI"), "part 'NI' of a month"),
        (lambda: resolve(Program("day"), "1996-13-01"), "'1996-13-01', which is no day"),
        (lambda: resolve(Program("day"), "6.12.1996"), "write it as YYYY-MM-DD"),
        (lambda: resolve(Program("date", name=2, day=29, year=1997), FRIDAY), "no day 29"),
        (lambda: resolve(Program("day", -1), "0001-01-01"), "outside the years"),
        (lambda: resolve(Program("year", 9000), FRIDAY), "outside the years"),
        (lambda: resolve(Program("year", -1996), FRIDAY), "outside the years"),
        (lambda: resolve(Program("month", -12 * 1996), FRIDAY), "outside the years"),
        (lambda: resolve(Program("date", 1, name=1, day=1), "9999-06-01"), "outside the years"),
        (lambda: Program("year", year=0), "use 1 to 9999"),
        (lambda: Program("year", year=10000), "use 1 to 9999"),
        (lambda: resolve(Program("month", name=1, years=9000), FRIDAY), "use 1 to 9999"),
        (lambda: cases(0), "num"),
        (lambda: cases(1, random_state=-1), "random_state"),
        (lambda: dates.mark("abc", 2, 2), "not in a text of 3"),
    ],
)
def test_what_means_nothing_is_refused(make, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        make()


@pytest.mark.parametrize(
    ("expression", "program"),
    [
        ("Yesterday", Program("day", -1)),
        ("last night", Program("day", -1, part="NI")),
        ("two weeks ago", Program("week", -2)),
        ("a year ago", Program("year", -1)),
        ("15 years ago", Program("year", -15)),
        ("THIS WEEKEND", Program("weekend", 0)),
        ("next century", Program("century", 1)),
        ("Thursday", Program("weekday", 0, 4)),
        ("on Thursday", Program("weekday", 0, 4)),
        ("last Sunday", Program("weekday", -1, 7)),
        ("Friday afternoon", Program("weekday", 0, 5, part="AF")),
        ("Saturday week", Program("weekday", 2, 6)),
        ("May", Program("month", 0, 5)),
        ("Sept", Program("month", 0, 9)),
        ("last April", Program("month", -1, 4)),
        ("March , 1997", Program("month", 0, 3, year=1997)),
        ("May next year", Program("month", 0, 5, years=1)),
        ("Dec. 13", Program("date", 0, 12, 13)),
        ("13 December", Program("date", 0, 12, 13)),
        ("MONDAY , DECEMBER 9", Program("date", 0, 12, 9)),
        ("July 1 , 1997", Program("date", 0, 7, 1, 1997)),
        ("1997-07-01", Program("date", 0, 7, 1, 1997)),
        ("last Christmas", Program("date", -1, 12, 25)),
        ("this summer", Program("season", 0, 2, years=0)),
        ("this cold autumn", Program("season", 0, 3, years=0)),
        ("this winter", Program("season", 0, 4)),
        ("fall of 1990", Program("season", 0, 3, year=1990)),
        ("second half of 1998", Program("half", 0, 2, year=1998)),
        ("third quarter", Program("quarter", 0, 3)),
        ("the 1970s", Program("decade", year=1970)),
        ("20th century", Program("century", year=1900)),
        ("1984", Program("year", year=1984)),
        ("soon", None),
        ("this season", None),  # a sport's, perhaps
        ("the next day", None),  # after another one
        ("this past week", None),
        ("0000", None),
        ("February 31", None),
        ("Friday and Saturday", None),
        ("", None),
    ],
)
def test_rules_read_an_expression_whole_or_not_at_all(expression, program):
    assert read(expression) == program


def test_a_bare_name_goes_ahead_unless_it_is_running():
    def ahead(expression, date=FRIDAY):
        return resolve(forward(read(expression), date), date)

    assert ahead("Saturday") == "1996-12-07"
    assert ahead("Friday") == "1996-12-06"  # "will meet on Friday", written that day
    assert ahead("Friday night") == "1996-12-06TNI"
    assert ahead("December") == "1996-12"
    assert ahead("May") == "1997-05"
    assert ahead("December 6") == "1996-12-06"
    assert ahead("December 5") == "1997-12-05"
    assert ahead("last Sunday") == "1996-12-01"  # says itself that it is past
    assert ahead("May 1990") == "1990-05"
    assert ahead("this summer") == "1996-SU"


def test_cues_are_looked_for_around_the_expression():
    assert looks_forward("The board is expected to meet on [Monday] .")
    assert looks_forward("An election must be held by [May] .")
    assert not looks_forward("It was sold by the bank in [May] .")
    assert not looks_forward("Goodwill was high on [Monday] .")


def test_cases_are_what_their_words_say_and_never_of_the_test_month():
    drawn = cases(1500, random_state=3)
    assert drawn == cases(1500, random_state=3)
    assert drawn != cases(1500, random_state=4)
    assert not any(case.date.startswith(dates.UNSEEN) for case in drawn)
    for case in drawn:
        plain = read(case.expression)
        readings = {resolve(plain, case.date), resolve(forward(plain, case.date), case.date)}
        assert case.value in readings
        assert case.value == resolve(case.program, case.date)
        assert case.expression in case.phrase
    forms = {(case.program.unit, case.program.shift > 0) for case in drawn}
    assert {("weekday", True), ("weekday", False), ("date", True), ("month", True)} <= forms


def test_the_tense_of_a_case_is_the_direction_of_its_value():
    for case in cases(800, random_state=5):
        if case.program.unit in ("weekday", "date") and case.tense != "any":
            day = case.value[:10]
            assert day >= case.date if case.tense == "future" else day <= case.date


def test_every_template_sentence_is_accepted_and_others_are_rejected_with_a_reason():
    drawn = cases(400, random_state=7)
    assert all(dates.problem_of(dates.template_sentence(c, 1), c) is None for c in drawn)
    case = next(c for c in drawn if c.phrase.startswith("on ") and c.tense == "past")
    phrase = case.phrase

    def problem(sentence):
        return dates.problem_of(sentence, case)

    assert problem(f"The plant was sold {phrase} .") is None
    assert problem(f"{phrase.capitalize()} the plant was sold.") is None
    assert problem("The plant was sold .") == "phrase missing"
    assert problem(f"The plant was sold {phrase}x .") == "phrase missing"
    assert problem(f"Sold {phrase} , paid {phrase} .") == "phrase repeated"
    assert problem(f"The plant was sold {phrase} after talks last week .") == "another time"
    assert problem(f"The plant was sold {phrase} for its 1984 value .") == "another time"
    assert problem(f"The plant will be sold {phrase} .") == "wrong tense"
    assert problem(f"Sold {phrase} .\nBought .") == "several lines"
    assert problem(f"Sold {phrase} {'very ' * 40}.") == "too long"


def test_a_sample_shows_date_and_brackets_and_where_it_comes_from():
    case = dates.Case(
        "on Tuesday", "Tuesday", FRIDAY, "1996-12-03", Program("weekday", 0, 2), "past"
    )
    sample = dates.sample_of("On Tuesday the plant was sold .", case, teacher="none")
    assert sample.input == "Friday 1996-12-06: On [Tuesday] the plant was sold ."
    assert sample.output == "1996-12-03"
    assert sample.origin == {"by": "generated", "date": FRIDAY, "teacher": "none"}
    with pytest.raises(ValueError, match="phrase missing"):
        dates.sample_of("The plant was sold .", case)
    assert '"on Tuesday"' in dates.instruction_for(case)
