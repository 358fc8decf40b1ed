from collections import Counter
from decimal import Decimal

import pytest

from distillery.api.v1alpha1.common import SecretKey
from distillery.api.v1alpha1.filter import ConsistencyRule, Discard, Filter, FormatRule, Rule
from distillery.api.v1alpha1.task import Output
from distillery.api.v1alpha1.teacher import Parameters, Pilot, Pricing, Samples
from distillery.errors import StageFailed, StageStopped
from distillery.querying.ledger import read_ledger
from distillery.stages.identity import recipe_of
from distillery.stages.teacher.spec import TEACHER
from fake_teacher import FakeTeacher, Fault
from querying_builders import bill_micro
from teacher_stage import World, make_params, make_rows


def test_train_and_validation_rows_are_asked_and_the_test_split_never(world):
    with FakeTeacher() as teacher:
        attempt = world.run(make_params(teacher.url))
        asked = {int(call["row"].split(":")[0]) for call in teacher.bill}
    assert asked == set(range(66))
    rows = attempt.completions
    assert [row["row_id"] for row in rows] == [f"r{number:04}" for number in range(66)]
    assert Counter(row["split"] for row in rows) == {"train": 60, "validation": 6}
    assert rows[0]["text"] == "billing"
    assert rows[0]["logprobs"][0]["token"] == "bill"
    assert attempt.result.counts == {
        "asked": 66,
        "answered": 66,
        "failed": 0,
        "extraSamples": 0,
        "extraFailed": 0,
    }
    assert attempt.result.cost.calls == 66
    assert attempt.warnings == []


def test_the_key_comes_from_the_secret_that_the_spec_names(world):
    secret = SecretKey(name="teacher", key="api-key")
    with FakeTeacher(api_key="sk-of-teacher/api-key") as teacher:
        world.run(make_params(teacher.url, teacher={"api_key_secret": secret}))
        assert len(teacher.bill) == 66


def test_the_prompt_is_the_tasks_system_prompt_and_the_row(world):
    with FakeTeacher() as teacher:
        world.run(make_params(teacher.url))
        messages = teacher.requests[0]["messages"]
    assert [message["role"] for message in messages] == ["system", "user"]
    assert messages[0]["content"] == "Route it."


def test_extra_samples_are_for_training_rows_only(world):
    with FakeTeacher() as teacher:
        attempt = world.run(make_params(teacher.url, samples=Samples(extra=2, temperature=0.7)))
        temperatures = Counter(call["temperature"] for call in teacher.bill)
    assert temperatures == {0: 66, 0.7: 120}
    samples = Counter((row["split"], row["sample_index"]) for row in attempt.completions)
    assert samples == {("train", 0): 60, ("train", 1): 60, ("train", 2): 60, ("validation", 0): 6}
    assert attempt.usage["pilot"]["selfAgreement"]["of"] == 120
    assert 0.3 < attempt.result.summary["selfAgreement"] < 1


def test_usage_tells_what_was_paid_and_whether_it_is_worth_it(world):
    with FakeTeacher() as teacher:
        params = make_params(teacher.url, noise_rows=5, monthly_requests=1000, pilot=Pilot(rows=30))
        attempt = world.run(params)
        bill = bill_micro(teacher.bill)
    usage = attempt.usage
    assert usage["version"] == 1
    assert abs(usage["cost"]["spentMicro"] - bill) <= 1
    assert (usage["models"], usage["fingerprints"]) == ({"large": 66}, {"fp_fake": 66})
    assert usage["failures"] == {}
    pilot = usage["pilot"]
    assert (pilot["rows"], pilot["accepted"]["share"], pilot["correct"]["share"]) == (30, 1.0, 1.0)
    worth = usage["worth"]
    whole = bill * 83 / 66  # 12 test rows and 5 of them twice
    assert abs(worth["expectedMicro"] - whole) < whole / 20
    assert 75 <= worth["paybackRequests"] <= 90
    assert worth["paybackMonths"] == worth["paybackRequests"] / 1000


def test_after_a_restart_the_estimate_is_still_that_of_the_whole_job(world):
    cheap = {"max_cost": Decimal("0.004")}
    with FakeTeacher() as teacher:
        whole = world.run(make_params(teacher.url)).usage["worth"]["expectedMicro"]
    world = World(world.folder / "other").with_rows(make_rows())
    with FakeTeacher() as teacher:
        with pytest.raises(StageFailed, match="budget"):
            world.run(make_params(teacher.url, pilot=Pilot(rows=20), teacher=cheap))
        assert 20 < len(teacher.bill) < 66
        resumed = world.run(make_params(teacher.url, pilot=Pilot(rows=20))).usage["worth"]["expectedMicro"]
    assert abs(resumed - whole) < whole / 10


def test_the_pilot_comes_first_and_is_not_paid_twice(world):
    with FakeTeacher() as teacher:
        world.run(make_params(teacher.url, pilot=Pilot(rows=9)))
        rows = [call["row"] for call in teacher.bill]
    first = Counter(row.split(": ")[1] for row in rows[:9])
    assert set(first.values()) == {3}
    assert len(rows) == len(set(rows)) == 66


def test_a_teacher_that_answers_nonsense_is_stopped_for_cents(world):
    with FakeTeacher(faults=[Fault("nonsense")]) as teacher:
        with pytest.raises(StageFailed) as failure:
            world.run(make_params(teacher.url, pilot=Pilot(rows=20), teacher=long_answers()))
        assert len(teacher.bill) == 20
    assert (failure.value.reason, failure.value.failure_class) == ("PilotRejected", "pilot")
    assert "0 of 20 pilot answers" in failure.value.message
    assert "not one of the labels (20" in failure.value.message
    assert "'I think it could be several things'" in failure.value.message


def long_answers():
    return {"parameters": Parameters(max_tokens=64)}


def test_a_mediocre_teacher_only_warns(world):
    with FakeTeacher(faults=[Fault("nonsense", match="invoice")]) as teacher:
        attempt = world.run(make_params(teacher.url, pilot=Pilot(rows=30), teacher=long_answers()))
    [warning] = attempt.warnings
    assert "20 of 30 pilot answers pass the filter's rules" in warning


def test_the_threshold_of_the_pilot_can_be_set(world):
    with FakeTeacher(faults=[Fault("nonsense", match="invoice")]) as teacher:
        params = make_params(teacher.url, pilot=Pilot(rows=60, min_accepted=0.9), teacher=long_answers())
        with pytest.raises(StageFailed, match="less than 90%"):
            world.run(params)


def test_the_pilot_judges_consistency_with_the_extra_samples(world):
    rules = Filter(
        rules=[Rule(format=FormatRule()), Rule(consistency=ConsistencyRule(min_agreement=1.0))],
        discard=Discard(max=0.2),
    )
    with FakeTeacher() as teacher:
        params = make_params(teacher.url, samples=Samples(extra=6, temperature=1.0), filter=rules)
        with pytest.raises(StageFailed, match="consistency"):
            world.run(params)


def test_soft_labels_without_logprobs_name_the_repair(world):
    with FakeTeacher(faults=[Fault("no-logprobs")]) as teacher:
        with pytest.raises(StageFailed, match=r"\{hard: 1, soft: 0\}") as failure:
            world.run(make_params(teacher.url, soft_labels=True, pilot=Pilot(rows=10)))
        assert len(teacher.bill) == 10
        world.run(make_params(teacher.url, soft_labels=False))
    assert failure.value.reason == "NoLogprobs"


def test_few_unanswered_rows_are_data(world):
    with FakeTeacher(faults=[Fault("400", match="7: ")]) as teacher:
        attempt = world.run(make_params(teacher.url, max_failed=0.2))
    failed = [row for row in attempt.completions if row["status"] == "failed"]
    assert len(failed) == 6
    assert failed[0]["row_id"] == "r0007"
    assert (failed[0]["reason"], failed[0]["text"], failed[0]["logprobs"]) == ("RequestRejected", None, None)
    assert attempt.result.counts["failed"] == 6
    assert attempt.usage["failures"] == {"RequestRejected": 6}


def test_too_many_unanswered_rows_fail_the_stage(world):
    with (
        FakeTeacher(faults=[Fault("400", match="7: ")]) as teacher,
        pytest.raises(StageFailed, match=r"6 of 66 rows stayed unanswered.*RequestRejected 6") as failure,
    ):
        world.run(make_params(teacher.url, max_failed=0.05, pilot=Pilot(rows=5)))
    assert (failure.value.reason, failure.value.failure_class) == ("TooManyFailed", "user")


def test_many_unanswered_pilot_rows_stop_before_the_rest_is_bought(world):
    with FakeTeacher(faults=[Fault("400", match="invoice")]) as teacher:
        with pytest.raises(StageFailed, match="TooManyFailed"):
            world.run(make_params(teacher.url, pilot=Pilot(rows=30)))
        assert len(teacher.bill) == 20


def test_failures_of_the_teacher_are_infrastructure(world):
    with FakeTeacher(faults=[Fault("500", match="7: ")]) as teacher, pytest.raises(StageFailed) as failure:
        world.run(make_params(teacher.url, pilot=Pilot(rows=5)))
    assert (failure.value.reason, failure.value.failure_class) == ("TooManyFailed", "infrastructure")


FREE_PROMPT = Pricing(prompt_per_million=Decimal(0), completion_per_million=Decimal(10))


def test_a_budget_for_half_the_rows_stops_and_resumes_with_the_rest(world):
    world.with_rows(make_rows(train=200, validation=10, test=20))
    cheap = {"pricing": FREE_PROMPT}
    with FakeTeacher() as teacher:
        params = make_params(teacher.url, teacher={**cheap, "max_cost": Decimal("0.0030")})
        with pytest.raises(StageFailed, match="set aside for the evaluation") as failure:
            world.run(params)
        spent = bill_micro(teacher.bill, FREE_PROMPT)
        assert 2000 <= spent <= 3000 - 400
        assert failure.value.failure_class == "budget"
        attempt = world.run(make_params(teacher.url, teacher={**cheap, "max_cost": Decimal("0.02")}))
        assert len({call["row"] for call in teacher.bill}) == len(teacher.bill) == 210
        assert read_ledger(world.store, "job-1").spent_micro == bill_micro(teacher.bill, FREE_PROMPT)
    assert attempt.result.cost.cached > 0


def test_a_hopeless_budget_stops_before_any_call(world):
    with FakeTeacher() as teacher:
        with pytest.raises(StageFailed, match="nothing is asked"):
            world.run(make_params(teacher.url, teacher={"max_cost": Decimal("0.000001")}))
        assert teacher.counts == {}


def test_a_stopped_attempt_is_continued_to_the_same_digest(world, tmp_path):
    with FakeTeacher(delay=0.01) as teacher:
        params = make_params(teacher.url)
        undisturbed = type(world)(tmp_path / "other").with_rows(make_rows()).run(params)
        teacher.bill.clear()
        attempt = world.attempt()
        world.stop = False
        real = attempt.context(params)
        object.__setattr__(real, "stop_requested", lambda: len(teacher.bill) > 20)
        from distillery.stages.teacher.driver import run

        with pytest.raises(StageStopped):
            run(real)
        again = world.run(params)
        assert len(teacher.bill) == 66
    assert again.result.output_digest == undisturbed.result.output_digest
    assert again.result.cost.cached > 20


def test_the_digest_is_of_the_answers_and_not_of_the_day(world, tmp_path):
    digests = set()
    for number, share in enumerate((0.0, 0.5)):
        with FakeTeacher(cached_share=share) as teacher:
            other = type(world)(tmp_path / str(number)).with_rows(make_rows())
            digests.add(other.run(make_params(teacher.url)).result.output_digest)
    assert len(digests) == 1
    with FakeTeacher(faults=[Fault("400", match="7: ")]) as teacher:
        digests.add(world.run(make_params(teacher.url, max_failed=1.0)).result.output_digest)
    assert len(digests) == 2


def test_progress_is_told_in_answers(world):
    with FakeTeacher() as teacher:
        attempt = world.run(make_params(teacher.url))
    last = attempt.progress[-1]
    assert (last.done, last.total, last.unit) == (66, 66, "answers")
    assert last.spent_micro == attempt.result.cost.spent_micro
    assert any(report.message == "pilot" for report in attempt.progress)


def test_json_answers_are_judged_by_their_schema(world):
    output = Output(format="json", schema={"type": "object", "required": ["label"]})
    with FakeTeacher(output="json") as teacher:
        attempt = world.run(make_params(teacher.url, teacher={**long_answers(), "output": output}))
    assert attempt.usage["pilot"]["accepted"]["share"] == 1.0
    assert attempt.completions[0]["text"] == '{"label": "billing"}'


def test_only_what_changes_answers_is_in_the_recipe():
    def recipe(**changes):
        return recipe_of(TEACHER, make_params("http://one/v1", **changes))

    same = [
        {"pilot": Pilot(rows=3)},
        {"max_failed": 0.5},
        {"filter": Filter(discard=Discard(max=0.1, expected=[0.0, 0.1]))},
        {"soft_labels": True},
        {"noise_rows": 9},
        {"monthly_requests": 5},
        {"teacher": {"url": "http://two/v1", "pricing": None, "max_cost": Decimal(3)}},
        {"teacher": {"output": Output(format="label", labels=["x", "y"])}},
    ]
    other = [
        {"samples": Samples(extra=1)},
        {"teacher": {"revision": "2"}},
        {"teacher": {"model": "other"}},
        {"teacher": {"parameters": Parameters(max_tokens=16, top_logprobs=6)}},
        {"teacher": {"identity": "other"}},
    ]
    assert {recipe(**change) for change in same} == {recipe()}
    assert len({recipe(**change) for change in other} | {recipe()}) == len(other) + 1
