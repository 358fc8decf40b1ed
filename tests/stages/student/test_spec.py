from __future__ import annotations

import sys

import children
from distillery.stages.identity import recipe_of
from distillery.stages.student.spec import STUDENT, StudentParams
from stages.student.conftest import make_params


def test_the_stage_reads_the_filter_and_nothing_else() -> None:
    assert (STUDENT.name, STUDENT.consumes, STUDENT.driver) == (
        "student",
        ("filter",),
        "distillery.stages.student.driver:run",
    )


def test_parameters_survive_the_way_through_a_stage_run() -> None:
    params = make_params()
    assert StudentParams.model_validate(params.model_dump(mode="json", by_alias=True)) == params


def test_every_parameter_matters_to_the_recipe() -> None:
    params = make_params()
    changed = [
        make_params(epochs=4),
        make_params(seed=18),
        make_params(loss={"hard": 1.0}),
        make_params(output={"format": "label", "labels": ["billing", "login"]}),
        params.model_copy(update={"system_prompt": "Route it."}),
    ]
    recipes = {recipe_of(STUDENT, one) for one in [params, *changed]}
    assert len(recipes) == 1 + len(changed)


def test_workers_do_not_name_a_student_but_reach_its_driver() -> None:
    workers = {"replicas": 4, "resources": {"nvidia.com/gpu": 1}}
    params = make_params(workers=workers)
    assert recipe_of(STUDENT, params) == recipe_of(STUDENT, make_params())
    assert params.to_wire()["student"]["workers"] == {"replicas": 4, "resources": {"nvidia.com/gpu": "1"}}


def test_the_declaration_needs_no_torch() -> None:
    code = (
        f"import sys; sys.path[:0] = {[entry for entry in sys.path if entry]!r}\n"
        "import distillery.stages.student.spec\n"
        "print(sorted({'torch', 'transformers', 'ray', 'pyarrow', 'numpy'} & set(sys.modules)))"
    )
    done = children.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
