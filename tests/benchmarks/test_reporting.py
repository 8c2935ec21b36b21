"""What becomes of figures: the table, the JSON, the page, and the suite that asks for them."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import command, suite
from benchmarks.measuring import Bar, Case, Row, missing, take
from benchmarks.plotting import plot
from benchmarks.reporting import figure, lines, machine, markdown, report, versions

ROW_KEYS = {"what", "system", "size", "unit", "cores"}
MEASURED_KEYS = ROW_KEYS | {"median", "low", "high", "samples", "ratios", "unmeasured_peers"}
RATIO_KEYS = {"peer", "limit", "median", "low", "high", "met"}


def rows() -> list[Row]:
    return take(
        [
            Case(
                what="children",
                system="ours",
                size=1000,
                unit="us",
                measure=lambda: 3.0,
                bars=(Bar(peer="peer", limit=2.0), Bar(peer="absent", limit=1.0)),
            ),
            Case(what="children", system="peer", size=1000, unit="us", measure=lambda: 2.0),
            Case(
                what="children",
                system="absent",
                size=1000,
                unit="us",
                measure=lambda: 1.0,
                needs=("nobody_has_this",),
            ),
        ],
        rounds=2,
    )


TAKEN: dict[str, Any] = {
    "at": "2026-01-02T03:04:05Z",
    "revision": "abc",
    "load": [0.5],
    "arguments": ["--quick"],
}


def answer(name: str = "calls") -> dict[str, Any]:
    found = report("What does it cost?", [row.data() for row in rows()])
    return {"benchmark": name, **found, "taken": TAKEN}


def whole() -> dict[str, Any]:
    return {
        "machine": machine(),
        "versions": {"pykka": "4.5", "ray": None},
        "questions": [answer()],
    }


def test_the_json_of_an_answer_has_a_row_for_every_case() -> None:
    found = json.loads(json.dumps(answer()))
    assert found["question"] == "What does it cost?"
    ours, peer, absent = found["rows"]
    assert set(ours) == set(peer) == MEASURED_KEYS
    assert set(absent) == ROW_KEYS | {"not_measured"}
    assert [set(ratio) for ratio in ours["ratios"]] == [RATIO_KEYS]
    assert ours["ratios"][0] == {
        "peer": "peer", "limit": 2.0, "median": 1.5, "low": 1.5, "high": 1.5, "met": True,
    }  # fmt: skip


def test_the_table_names_what_was_not_measured() -> None:
    text = "\n".join(lines(answer()))
    assert "not measured: not installed: nobody_has_this" in text
    assert "not measured: absent" in text
    assert "1.50 x peer, bar 2.00: met" in text


def test_a_spread_is_shown_where_there_is_one() -> None:
    figures = iter([1.0, 2.0, 4.0])
    (row,) = take(
        [Case(system="ours", unit="us", measure=lambda: next(figures), warm=True)], rounds=3
    )
    suite_of_one = {**whole(), "questions": [{**report("?", [row.data()]), "taken": TAKEN}]}
    assert "| ours |  | 2.00 (1.00 to 4.00) us |  |" in markdown(suite_of_one)


def test_a_bar_that_is_missed_stands_out() -> None:
    (row,) = take(
        [Case(system="ours", unit="us", measure=lambda: 3.0, bars=(Bar(limit=2.0),))], rounds=1
    )
    assert "bar 2.00: MISSED" in "\n".join(lines(report("?", [row.data()])))


def test_the_page_has_a_table_for_each_question_and_names_who_is_absent() -> None:
    text = markdown(whole())
    assert "Not installed, so not measured: ray." in text
    assert "### What does it cost?\n\n2026-01-02, revision abc, load average 0.5 before" in text
    assert text.count("| **children** | | | |") == 1
    assert "| absent | 1,000 | not measured | not installed: nobody_has_this |" in text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (0.01234, "0.0123"),
        (0.5, "0.50"),
        (9.876, "9.88"),
        (12.34, "12.3"),
        (1_234_567.0, "1,234,567"),
    ],
)
def test_a_figure_has_about_three_digits(value: float, text: str) -> None:
    assert figure(value) == text


def test_the_machine_and_the_versions_are_recorded() -> None:
    assert {"python", "processors", "processor", "system", "taken_at", "revision"} <= set(machine())
    assert versions(["pykka", "nobody-has-this"]) == {
        "pykka": versions(["pykka"])["pykka"],
        "nobody-has-this": None,
    }
    assert versions(["pykka"])["pykka"]


def test_a_command_prints_the_table_and_writes_the_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "answer.json"

    def measure(options: argparse.Namespace) -> list[Row]:
        assert (options.rounds, options.full, options.wide) == (3, True, 7)
        return rows()

    command.main(
        "What does it cost?",
        measure,
        lambda parser: parser.add_argument("--wide", type=int),
        arguments=["--rounds", "3", "--full", "--wide", "7", "--json", str(path)],
    )
    assert "What does it cost?" in capsys.readouterr().out
    assert len(json.loads(path.read_text(encoding="utf-8"))["rows"]) == 3


def test_no_rounds_at_all_is_a_wrong_use(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command.main("?", lambda _options: [], arguments=["--rounds", "0"])
    assert "--rounds must be at least 1" in capsys.readouterr().err


# The suite


def test_the_suite_writes_a_table_json_and_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[tuple[str, list[str]]] = []

    def ask(name: str, arguments: list[str], _limit: float) -> dict[str, Any]:
        asked.append((name, list(arguments)))
        return {**answer(), "benchmark": name}

    monkeypatch.setattr(suite, "ask", ask)
    assert suite.main(["calls", "memory"], ["--full"], tmp_path) is True
    assert asked == [("calls", ["--full"]), ("memory", ["--full"])]
    assert capsys.readouterr().out.count("What does it cost?") == 2
    written = json.loads((tmp_path / "latest.json").read_text(encoding="utf-8"))
    assert set(written) == {"machine", "versions", "questions"}
    assert [each["benchmark"] for each in written["questions"]] == ["calls", "memory"]

    page, readme = tmp_path / "page.md", tmp_path / "readme.md"
    for path in (page, readme):
        marked = "a\n<!-- figures: begin -->\nold\n<!-- figures: end -->\nz\n"
        path.write_text(marked, encoding="utf-8")
    suite.refresh(page, readme, tmp_path)
    for path in (page, readme):
        text = path.read_text(encoding="utf-8")
        assert text.startswith("a\n<!-- figures: begin -->")
        assert text.endswith("<!-- figures: end -->\nz\n")
        assert "old" not in text
    assert "What does it cost?" in page.read_text(encoding="utf-8")
    assert "| 1,000 × children | 3.00 us | 1.50 × peer |" in readme.read_text(encoding="utf-8")  # noqa: RUF001


def test_what_is_not_asked_again_keeps_its_answer_on_the_same_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(suite, "ask", lambda name, *_: answer(name))
    suite.main(["calls", "memory"], ["--full"], tmp_path)
    suite.main(["memory"], ["--quick"], tmp_path)
    latest = tmp_path / "latest.json"
    written = json.loads(latest.read_text(encoding="utf-8"))
    taken = {each["benchmark"]: each["taken"]["arguments"] for each in written["questions"]}
    assert taken == {"calls": ["--full"], "memory": ["--quick"]}

    written["machine"]["processors"] += 1
    latest.write_text(json.dumps(written), encoding="utf-8")
    suite.main(["memory"], ["--quick"], tmp_path)
    written = json.loads(latest.read_text(encoding="utf-8"))
    assert [each["benchmark"] for each in written["questions"]] == ["memory"]


def test_without_what_draws_it_there_is_no_plot_and_all_else_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def plot(*_: object) -> None:
        raise ImportError

    monkeypatch.setattr(suite, "plot", plot)
    monkeypatch.setattr(suite, "ask", lambda name, *_: {**answer(), "benchmark": name})
    assert suite.main(["fan_out"], [], tmp_path) is True
    assert "no plot: matplotlib is not installed" in capsys.readouterr().out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["latest.json", "latest.md"]


def test_an_unanswered_question_is_told_and_the_others_are_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    failed = {"benchmark": "calls", "question": "calls", "rows": [], "not_measured": "no room"}
    answers = {"calls": failed, "memory": answer()}
    monkeypatch.setattr(suite, "ask", lambda name, *_: answers[name])
    assert suite.main(["calls", "memory"], [], tmp_path) is False
    printed = capsys.readouterr().out
    assert "not measured: no room" in printed
    assert "What does it cost?" in printed
    assert "Not measured: no room." in (tmp_path / "latest.md").read_text(encoding="utf-8")


def test_a_plot_has_a_line_for_every_system_that_was_measured(tmp_path: Path) -> None:
    children = {"what": "blocking children", "unit": "us/child", "cores": None}
    drawn = [
        {**children, "system": system, "size": size, "median": 3.0, "low": 2.0, "high": 4.0}
        for system in ("actor-orchestrator", "a pool")
        for size in (10, 100)
    ]
    absent = {**children, "system": "absent", "size": 10, "not_measured": "not installed: absent"}
    path = tmp_path / "plot.svg"
    if missing(["matplotlib"]):
        with pytest.raises(ImportError):
            plot({"rows": [*drawn, absent]}, "here", path)
        return
    plot({"rows": [*drawn, absent]}, "here", path)
    text = path.read_text(encoding="utf-8")
    assert ">a pool</text>" in text
    assert "absent" not in text


def test_a_page_without_a_place_for_figures_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "latest.json").write_text(json.dumps(whole()), encoding="utf-8")
    page = tmp_path / "page.md"
    page.write_text("nothing here", encoding="utf-8")
    with pytest.raises(ValueError, match="between which figures belong"):
        suite.refresh(page, page, tmp_path)
    assert page.read_text(encoding="utf-8") == "nothing here"


def test_a_question_that_fails_is_an_answer_that_says_so() -> None:
    found = suite.ask("fan_out", ["--no-such-option"])
    assert found["rows"] == []
    assert "unrecognized arguments" in found["not_measured"]


def test_a_question_that_takes_too_long_is_an_answer_that_says_so() -> None:
    found = suite.ask("fan_out", [], limit=0.001)
    assert found["not_measured"] == "not done after 0.001 s"


def test_the_suite_asks_every_benchmark_that_there_is() -> None:
    folder = Path(suite.__file__).parent
    programs = {
        path.stem
        for path in folder.glob("*.py")
        if "QUESTION =" in path.read_text(encoding="utf-8")
    }
    assert programs == set(suite.QUESTIONS)


def test_a_small_fan_out_is_measured_beside_every_peer_or_told_why_not() -> None:
    found = suite.ask("fan_out", ["--children", "20", "--rounds", "1", "--kind", "async"])
    assert "not_measured" not in found, found
    systems = {row["system"]: row for row in found["rows"]}
    assert {"actor-orchestrator", "asyncio.gather", "asyncio.TaskGroup", "Trio nursery"} <= set(
        systems
    )
    for row in systems.values():
        reason = row.get("not_measured", "")
        assert row.get("median") or reason.startswith("not installed: "), row


def test_the_figures_of_the_documentation_have_their_place() -> None:
    for page in (suite.PAGE, suite.README):
        text = page.read_text(encoding="utf-8")
        assert text.count("<!-- figures: begin -->") == text.count("<!-- figures: end -->") == 1
