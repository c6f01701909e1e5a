"""``pepbench leaderboard --replicate``."""

import re
import shutil
import tomllib

import pandas as pd
import pytest
from run_helpers import records

from pepbench.errors import PlanError
from pepbench.leaderboards.record_packing import unpacked
from pepbench.leaderboards.replication import replication_plan
from pepbench.plan import Plan

PLAN = """\
methods = ["uniform", "random-mask", "full"]
datasets = ["synthetic:rows=2000:features=60:fields=4"]
backbones = ["fm"]
budgets = ["50%", "20%"]
dim = 4
trials = 1
folds = 3
epochs = 2
batch_size = 256

[[contrast]]
methods = ["uniform", "full"]
budgets = ["50%"]
"""


def contrasts(*named):
    return [{"methods": list(methods), "budgets": list(budgets)} for *methods, budgets in named]


def cells(plan):
    return {(m, b) for m in plan.methods for b in plan.budgets if plan.of_cell("d", "fm", m, b)}


def plan_of(**keys):
    plan = {"methods": ["pep", "pep:granularity=feature", "mde", "full"], "folds": 5}
    return Plan.load(None, plan | {"budgets": ["50%", "10%", "1%"]} | keys)


def test_a_method_under_another_name_is_replicated():
    named = contrasts(("mine", "full", ["50%"]), ("mde", "full", ["10%"]))
    plan = plan_of(methods=["mine=pep:init=-8", "hash", "mde", "full"], contrast=named)
    again = replication_plan(plan, "board")
    assert again.methods == ("mine=pep:init=-8", "mde", "full")
    assert again.of_cell("d", "fm", "mine", "10%") is None
    assert again.of_cell("d", "fm", "mine", "50%") is not None


def test_a_replication_has_the_cells_that_contrasts_name_and_other_draws():
    plan = plan_of(contrast=contrasts(("mde", "full", ["50%", "10%"]), ("pep", "mde", ["10%"])))
    again = replication_plan(plan, "board")
    assert (again.split_seed, again.seed) == (plan.split_seed + 1, plan.seed + 1)
    assert cells(again) == {
        *[("mde", "50%"), ("mde", "10%"), ("full", "50%"), ("full", "10%"), ("pep", "10%")]
    }
    kept = {"split_seed", "seed", "methods", "budgets", "exceptions"}
    assert again.model_dump(exclude=kept) == plan.model_dump(exclude=kept)
    assert Plan.load(None, tomllib.loads(again.to_toml())) == again


@pytest.mark.parametrize("only", [(), (2, 3, 5, 7)])
def test_fewer_folds_are_the_first_of_those_that_ran(only):
    plan = plan_of(contrast=contrasts(("mde", "full", ["50%"])), folds=8, only_folds=only)
    assert replication_plan(plan, "board", 3).only_folds == ((2, 3, 5) if only else (1, 2, 3))
    assert replication_plan(plan, "board", 4 if only else 8) == replication_plan(plan, "board")


@pytest.mark.parametrize("n_folds", [-1, 0, 2, 6])
def test_too_few_or_too_many_folds_are_refused(n_folds):
    plan = plan_of(contrast=contrasts(("mde", "full", ["50%"])))
    with pytest.raises(PlanError, match=rf"--folds {n_folds} must be between 3 and 5, .* of board"):
        replication_plan(plan, "board", n_folds)


def test_some_backbones_are_run_again():
    named = contrasts(("mde", "full", ["50%"]))
    plan = plan_of(contrast=named, backbones=["fm", "deepfm", "dcnv2"])
    again = replication_plan(plan, "board", backbones=("dcnv2", "fm"))
    assert again.backbones == ("fm", "dcnv2")
    assert replication_plan(plan, "board", backbones=plan.backbones) == replication_plan(plan, "b")
    with pytest.raises(PlanError, match="board: unknown backbone 'lr'"):
        replication_plan(plan, "board", backbones=("lr",))


def test_leaving_out_a_method_keeps_the_named_cells_of_its_variants():
    named = contrasts(("pep", "mde", ["10%"]), ("pep:granularity=feature", "mde", ["50%"]))
    found = cells(replication_plan(plan_of(contrast=named), "board"))
    assert found >= {("pep", "10%"), ("pep:granularity=feature", "50%"), ("mde", "50%")}


def test_seeds_at_the_upper_limit_wrap_around():
    named = contrasts(("pep", "mde", ["10%"]))
    again = replication_plan(plan_of(contrast=named, seed=2**63 - 1), "board")
    assert again.seed == 0


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"contrast": []}, r"board: its plan has no \[\[contrast\]\]"),
        ({"contrast": contrasts(("pep", "mde", ["10%"])), "folds": 2}, "2 of 2 folds; .* need 3"),
        (
            {"contrast": contrasts(("pep", "mde", ["10%"])), "only_folds": [1, 2]},
            "2 of 5 folds; .* need 3",
        ),
    ],
)
def test_plans_that_cannot_replicate_are_refused_with_the_reason(keys, words):
    with pytest.raises(PlanError, match=words):
        replication_plan(plan_of(**keys), "board")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--replicate"], "--replicate needs one NAME"),
        (["a", "b", "--replicate"], "--replicate needs one NAME"),
        (["a", "--replicate", "--verify"], "exclude each other"),
        (["a", "--dry-run"], "go with --replicate"),
        (["a", "--folds=3"], "go with --replicate"),
        (["bord", "--replicate"], "did you mean 'board'?"),
        (["board", "--replicate"], "no such file; run: pepbench leaderboard board"),
    ],
)
def test_mistakes_are_one_line(pepbench, tmp_path, arguments, words):
    (tmp_path / "results" / "board").mkdir(parents=True)
    (tmp_path / "results" / "board" / "plan.toml").write_text(PLAN)
    ran = pepbench("leaderboard", *arguments)
    assert (ran.code, ran.err.count("\n")) == (2, 1)
    assert words in ran.err
    assert not (tmp_path / "results" / "board" / "replication").exists()


@pytest.mark.slow
@pytest.mark.usefixtures("nothing_drawn")
def test_a_replicated_board_is_compared_linked_and_verified(pepbench, tmp_path):
    folder = tmp_path / "results" / "board"
    folder.mkdir(parents=True)
    (folder / "plan.toml").write_text(PLAN.replace("folds = 3", "folds = 4"))
    made = "--jobs=1", "--work=work", "--quiet"
    assert pepbench("leaderboard", "board", *made).code == 0
    readme = (folder / "README.md").read_text()
    again = "board", "--replicate", "--folds=3"
    dry = pepbench("leaderboard", *again, "--dry-run", *made)
    assert (dry.code, "6 cells, " in dry.out) == (0, True)
    assert not (folder / "replication").exists()

    part = pepbench("leaderboard", *again, "--shard=1/6", *made)
    command = "pepbench leaderboard --replicate board --folds 3"
    assert f"part 1/6 is run; after all parts: {command}" in part.err
    assert not (folder / "replication.md").exists()
    ran = pepbench("leaderboard", *again, "--work=work", "--jobs=1")
    assert ran.code == 0, ran.err
    assert " 0 reused" not in ran.err
    page = (folder / "replication.md").read_text()
    first, second = (
        pd.read_csv(where / "contrasts.csv").query("primary").iloc[0]
        for where in (folder, folder / "replication")
    )
    figures = re.findall(r"[+-]0\.\d+", page)
    for run in (first, second):
        assert any(f"{run['difference']:+.{len(figure) - 3}f}" == figure for figure in figures)
    assert "split seed 1 instead of 0 and seed 1 instead of 0" in page
    assert "The second run has 3 of 4 folds, so wider intervals." in page
    assert f"Made by `{command}`" in page
    second_run = unpacked(folder / "replication" / "records.parquet")
    assert {record.spec.method.name for record in second_run} == {"uniform", "full"}
    assert {record.spec.data.split_seed for record in second_run} == {1}
    splits = [
        {record.spec.data.split_fingerprint for record in unpacked(where / "records.parquet")}
        for where in (folder, folder / "replication")
    ]
    assert not splits[0] & splits[1]
    assert "(replication.md)" in (folder / "README.md").read_text()
    assert "(replication.md)" not in readme

    verified = pepbench("leaderboard", "board", "--verify", "--jobs=1")
    assert verified.code == 0, verified.out
    assert "replication.md: as the records give it" in verified.out
    overall = pepbench("leaderboard", "--overall")
    assert "replication" not in (tmp_path / "results" / "README.md").read_text(), overall.out
    rerun = pepbench("leaderboard", "board", "--tables-only", "--work=work")
    assert rerun.code == 0
    assert (folder / "replication.md").read_text() == page

    (folder / "replication.md").write_text(page.replace("| uniform", "| unifurm"))
    plan = folder / "replication" / "plan.toml"
    plan.write_text(plan.read_text().replace("seed = 1", "seed = 2"))
    broken = pepbench("leaderboard", "board", "--verify", "--jobs=1")
    assert broken.code == 1
    for words in ("replication.md: line", "not the replication of", "not follow from the plan"):
        assert words in broken.out


@pytest.mark.slow
@pytest.mark.usefixtures("nothing_drawn")
def test_a_runs_folder_is_replicated_beside_its_records(pepbench, tmp_path):
    (tmp_path / "plan.toml").write_text(PLAN)
    assert pepbench("run", "plan.toml", "--out=run", "--jobs=1", "--quiet").code == 0
    before = records(tmp_path / "run")
    ran = pepbench("leaderboard", "--replicate", "run", "--jobs=1", "--quiet")
    assert ran.code == 0, ran.err
    assert ran.out.endswith("run/replication.md: written\n")
    page = (tmp_path / "run" / "replication.md").read_text()
    assert page.count("\n| synthetic") == 1
    assert records(tmp_path / "run") == before
    again = pepbench("leaderboard", "--replicate", "run", "--jobs=1")
    assert "\n0 trials run" in again.err
    assert (tmp_path / "run" / "replication.md").read_text() == page
    shutil.rmtree(tmp_path / "run" / "replication")
    (tmp_path / "run" / "plan.toml").write_text(PLAN.split("[[")[0])
    refused = pepbench("leaderboard", "--replicate", "run")
    assert (refused.code, refused.err.count("\n")) == (2, 1)
    assert not (tmp_path / "run" / "replication").exists()
