"""What the worklist asks of the database: few queries, along indices, however many cases there are."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.orm import Session

from mammolens.web.access import Actor
from mammolens.web.app import Services
from mammolens.web.cases import worklist
from mammolens.web.cases.worklist import Order, Wish


@contextmanager
def statements(services: Services) -> Iterator[list[tuple[str, Any]]]:
    """Collect what is sent to the database."""
    sent: list[tuple[str, Any]] = []

    def note(_c: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, _many: bool) -> None:
        if statement.lstrip().upper().startswith("SELECT"):
            sent.append((statement, parameters))

    event.listen(services.database.engine, "before_cursor_execute", note)
    try:
        yield sent
    finally:
        event.remove(services.database.engine, "before_cursor_execute", note)


@pytest.mark.parametrize("order", list(Order))
@pytest.mark.parametrize("name", ["anna", "dora", "root"])
def test_a_page_takes_few_queries_and_none_of_them_reads_or_sorts_all_cases(
    services: Services, ward: dict[str, Actor], ward_cases: list[str], order: Order, name: str
) -> None:
    with services.database.reading() as session:
        after = worklist.page(session, ward[name], Wish(order), size=7).after
        with statements(services) as sent:
            worklist.page(session, ward[name], Wish(order), after=after, size=7)
        # Cases, images, the model in use, answers, readers: however many rows there are.
        assert len(sent) <= 5
        paged = [(statement, values) for statement, values in sent if "FROM cases" in statement]
        assert len(paged) == 1
        plan = plan_of(session, *paged[0])
        walks = [line for line in plan if "ix_cases_" in line]
        assert len(walks) == (2 if name == "anna" else 1), plan
        assert all(line.startswith("SEARCH") or name == "root" for line in walks), plan
        assert not any(line.startswith("SCAN cases") and "INDEX" not in line for line in plan), plan
        # The last sort is that of the found rows; none is inside a walk, where it would be of all cases.
        assert sum("TEMP B-TREE FOR ORDER BY" in line for line in plan) <= 1, plan


def plan_of(session: Session, statement: str, values: Any) -> list[str]:
    """What SQLite will do, line by line."""
    rows = session.connection().exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values)
    return [row[-1] for row in rows]


def test_a_search_uses_indices_only(services: Services, ward: dict[str, Actor], ward_cases: list[str]) -> None:
    with services.database.reading() as session:
        with statements(services) as sent:
            worklist.page(session, ward["anna"], Wish(search="1042"))
        used = " ".join(line for one in sent for line in plan_of(session, *one))
        for index in (
            "ix_identifiers_patient_id",
            "ix_identifiers_accession",
            "uq_cases_number|sqlite_autoindex_cases",
        ):
            assert re.search(index, used), used
        assert not re.search(r"SCAN (identifiers|images|cases)\b", used), used
        assert "ix_cases_" not in used, "the found cases are looked up by their identifiers, not by walking the list"
