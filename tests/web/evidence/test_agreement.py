"""Model against readers, counted in the database."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from mammolens.web.access import ROLES, Actor
from mammolens.web.app import Services
from mammolens.web.cases.disagreements import compared
from mammolens.web.database.columns import new_id
from mammolens.web.database.tables import Assessment, Case, Image, ImageState, Result
from mammolens.web.evidence.agreement import agreement

SHA = "a" * 64


def test_breasts_are_counted_by_what_is_in_force_and_only_where_one_sees_them(
    services: Services, people: Callable[..., Any]
) -> None:
    nurse, other = people("nurse"), people("other")
    written = [  # owner, BI-RADS one after the other, model's probability at a threshold of 0.5, agrees with the marks
        (nurse, (1, 5), 0.9, True),
        (nurse, (4,), 0.5, None),
        (nurse, (5, 2), 0.8, False),
        (nurse, (0,), 0.1, None),
        (nurse, (3,), 0.2, True),
        (nurse, (1,), None, None),
        (other, (5,), 0.9, True),
    ]
    with services.database.session() as session:
        for number, (owner, categories, probability, agrees) in enumerate(written):
            case = Case(number=1001 + number, owner_id=owner.id, examination=new_id())
            session.add(case)
            session.flush()
            image = Image(case_id=case.id, sha256=new_id() * 2, bytes=1, kind="png", state=ImageState.ANSWERED)
            session.add(image)
            session.flush()
            if probability is not None:
                session.add(
                    Result(
                        image_id=image.id,
                        model_name="m",
                        model_version="1",
                        model_sha256=SHA,
                        probability=probability,
                        logit=math.log(probability / (1 - probability)),
                        threshold=0.5,
                        label="benign",
                        confidence=0.5,
                        regions=[],
                        notices=[],
                        geometry={},
                        timing_ms={},
                    )
                )
            for birads in categories:
                row = Assessment(case_id=case.id, laterality="L", reader_id=owner.id, birads=birads, agrees=agrees)
                row.probability, row.model_sha256 = probability, None if probability is None else SHA
                session.add(row)
                session.flush()
    asking = Actor(nurse.id, nurse.name, nurse.role, None, ROLES[nurse.role])
    with services.database.reading() as session:
        found = agreement(session, asking)
        one_by_one = [row.suspicious for row in compared(session, asking, True)]
    assert (found.both, found.model_only, found.reader_only, found.neither) == (2, 1, 1, 1)
    assert found.without_answer == 1
    assert (found.marks_right, found.marks_wrong) == (2, 1)
    assert found.by_category[5] == (5, 0, 1)
    assert found.by_category[3] == (3, 1, 0)
    assert one_by_one.count(True) == found.both + found.model_only
