"""Every example is short and runs, and so does every chapter of the guide.

`spend_per_user` runs against Kafka in its tests; here it is only planned.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from tests.kafka.broker import free_ports
from tests.unit.cli_kit import ROOT, cli, python
from tests.unit.job_kit import lines

EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
GUIDE = sorted((ROOT / "examples" / "guide").glob("*.py"))


def test_there_are_examples() -> None:
    assert {"quickstart.py", "spend_per_user.py", "click_sessions.py", "top_products.py"} <= {
        path.name for path in EXAMPLES
    }


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_has_at_most_60_lines(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 60


def test_the_chapters_of_the_guide_are_numbered_without_a_gap() -> None:
    assert [path.stem[:3] for path in GUIDE] == [f"{number:02}-" for number in range(1, len(GUIDE) + 1)]
    assert len(GUIDE) >= 11


@pytest.mark.outside
@pytest.mark.parametrize("path", [*EXAMPLES, *GUIDE], ids=lambda path: path.stem)
def test_an_example_builds_a_plan_without_warnings_or_running(path: Path, tmp_path: Path) -> None:
    done = cli(tmp_path, "plan", str(path))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("task ")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.outside
def test_the_event_time_chapter_finds_the_late_records(tmp_path: Path) -> None:
    done = python(tmp_path, str(ROOT / "examples" / "guide" / "04-event-time.py"))
    assert done.returncode == 0, done.stderr
    late, watermark = [], -1
    for one in range(50):
        at = 1000 * (10 + one - one * one % 9)
        if at <= watermark:
            late.append(f"late: Click(page='/{one % 3}', at={at})")
        watermark = max(watermark, at - 2001)
    assert late
    assert [line for line in done.stdout.splitlines() if line.startswith("late: ")] == late
    assert sum(line.startswith("Click(") for line in done.stdout.splitlines()) == 50 - len(late)


@pytest.mark.outside
@pytest.mark.parametrize("path", GUIDE, ids=lambda path: path.stem)
def test_every_chapter_of_the_guide_runs_and_each_of_its_sinks_prints(path: Path, tmp_path: Path) -> None:
    text = path.read_text()
    # The command's exit code says whether the job ended well only if the chapter hands it on.
    assert text.endswith("    raise SystemExit(job.run())\n")
    done = python(tmp_path, str(path))
    assert done.returncode == 0, done.stderr
    prefixes = set(re.findall(r'Print\("?(.*?)"?\)', text))
    printed = Counter(
        max((one for one in prefixes if line.startswith(one)), key=len) for line in done.stdout.splitlines()
    )
    assert printed.keys() == prefixes


@pytest.mark.outside
def test_the_deduplicating_example_lets_each_event_through_once(tmp_path: Path) -> None:
    (tmp_path / "deduplicate.py").write_text((ROOT / "examples" / "deduplicate.py").read_text())
    done = python(tmp_path, "deduplicate.py")
    assert done.returncode == 0, done.stderr
    first: dict[str, int] = {}
    for number in range(3000):
        if number % 500 != 499:
            first.setdefault(f"event-{max(number // 3 - (0, 33, 333)[number % 3], 0)}", number * 1000)
    passed = lines(tmp_path / "out")
    assert {one["id"]: one["at"] for one in passed} == first
    assert len(passed) == len(first) == 1000
    assert [letter["value"]["at"] for letter in lines(tmp_path / "dead")] == [n * 1000 for n in range(499, 3000, 500)]


def _quick(path: Path) -> str:
    """The text of the quickstart with fewer clicks, as fast as they come."""
    text = path.read_text()
    quick = text.replace("count=300_000, rate_per_second=50_000", "count=30_000")
    assert quick != text
    return quick


@pytest.mark.outside
@pytest.mark.parametrize("arguments", [["-m", "streamlet", "run", "quickstart.py"], ["quickstart.py"]], ids=" ".join)
def test_the_quickstart_counts_every_click_exactly_once(arguments: list[str], tmp_path: Path) -> None:
    (tmp_path / "quickstart.py").write_text(_quick(ROOT / "examples" / "quickstart.py"))
    done = python(tmp_path, *arguments)
    assert done.returncode == 0, done.stderr
    expected, counts = [], Counter[str]()
    for number in range(30_000):
        page = f"/page/{number * number % 7}"
        counts[page] += 1
        expected.append({"page": page, "count": counts[page]})
    assert lines(tmp_path / "out") == expected


@pytest.mark.outside
def test_click_sessions_are_those_that_sorting_finds(tmp_path: Path) -> None:
    done = python(tmp_path, str(ROOT / "examples" / "click_sessions.py"))
    assert done.returncode == 0, done.stderr
    times = defaultdict(list)
    for number in range(20_000):
        jitter = number * 7919 % 5000
        times[f"user-{number * number % 101}"].append((1_700_000_000_000 + 1500 * number - jitter, number % 13))
    expected = []
    for user, clicks in times.items():
        session: list[tuple[int, int]] = []
        for at, page in [*sorted(clicks), (1 << 62, 0)]:
            if session and at >= session[-1][0] + 30_000:
                pages = [one for _, one in session]
                ends = session[0][0], session[-1][0] + 30_000
                expected.append((user, *ends, len(session), [min(pages), max(pages)]))
                session = []
            session.append((at, page))
    found = [(one["user"], one["start"], one["end"], one["clicks"], one["pages"]) for one in lines(tmp_path / "out")]
    assert sorted(found) == sorted(expected)
    assert not lines(tmp_path / "late")


@pytest.mark.outside
def test_the_unpaid_orders_are_those_that_were_paid_too_late(tmp_path: Path) -> None:
    done = python(tmp_path, str(ROOT / "examples" / "orders_with_payments.py"))
    assert done.returncode == 0, done.stderr
    found = {one["order"]: one["paid_by"] for one in lines(tmp_path / "out")}
    assert len(lines(tmp_path / "out")) == len(found)
    assert found == {
        f"order-{number}": ("card", "cash")[number % 2] if number % 20 <= 15 else None for number in range(10_000)
    }


@pytest.mark.outside
def test_the_top_products_of_each_minute_are_those_that_sorting_finds(tmp_path: Path) -> None:
    done = python(tmp_path, str(ROOT / "examples" / "top_products.py"))
    assert done.returncode == 0, done.stderr
    sold: defaultdict[int, Counter[int]] = defaultdict(Counter)
    for number in range(30_000):
        at = 1_700_000_040_000 + 20 * number - number * 7919 % 2000
        sold[at - at % 60_000][number * number % 97] += 1
    assert len(sold) > 5
    assert lines(tmp_path / "out") == [
        {
            "minute": minute,
            "products": [[one, count] for one, count in sorted(counts.items(), key=lambda one: (-one[1], one[0]))[:3]],
        }
        for minute, counts in sorted(sold.items())
    ]


@pytest.mark.outside
def test_the_fraud_rule_alarms_are_those_that_walking_through_each_card_finds(tmp_path: Path) -> None:
    done = python(tmp_path, str(ROOT / "examples" / "fraud_rule.py"))
    assert done.returncode == 0, done.stderr
    cards: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
    for number in range(20_000):
        amount = 0 if number % 7 < 3 else number * 331 % 1000
        cards[f"card-{number // 6 % 50}"].append((10_000 * number, amount))
    expected = []
    for card, events in cards.items():
        following = [at for at, _ in events[1:]] + [1 << 62]
        large = -(1 << 62)
        for (at, amount), after in zip(events, following, strict=True):
            if amount > 900:
                if at - large < 60_000:
                    expected.append((card, at, "two large payments within a minute"))
                large = at
            if amount and at + 300_000 < after:
                expected.append((card, at + 300_000, "not confirmed within five minutes"))
    assert len({why for _, _, why in expected}) == 2
    assert sorted((one["card"], one["at"], one["why"]) for one in lines(tmp_path / "out")) == sorted(expected)


@pytest.mark.outside
def test_the_http_example_writes_every_click_once_and_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (port,) = free_ports(1)
    monkeypatch.setenv("PROFILES_PORT", str(port))
    done = python(tmp_path, str(ROOT / "examples" / "enrich_over_http.py"))
    assert done.returncode == 0, done.stderr
    assert lines(tmp_path / "out") == [{"number": one, "name": f"user {one * one % 11}"} for one in range(500)]
