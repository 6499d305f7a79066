"""What a deploy asks, waits for, puts back and saves: on the local runtime, through the command."""

from __future__ import annotations

import json
import signal
import stat
import subprocess

import pytest
from support.failing import failed
from support.project import ECHO_SMOKE as SMOKE
from support.project import Project, ended
from support.runtime import until


def break_worker(project):
    """A new version whose worker cannot start."""
    handler = project.root / "workers" / "echo" / "handler.py"
    good = handler.read_text()
    handler.write_text("raise SystemExit('the weights are not where they should be')\n")
    return lambda: handler.write_text(good)


def live(project):
    (endpoint,) = project.run("list", "--json").document
    return endpoint


def test_a_change_is_asked_for(echo):
    """Without a terminal and without --yes nothing that exists is changed: exit code 2, and how to say yes."""
    echo.run("deploy", "echo")
    echo.spec("echo", worker="echo", smoke=SMOKE, workers={"min": 0, "max": 5})
    asked = echo.run("deploy", "echo", "--json")

    failed(asked, "usage_error", "echo: ", "--yes")
    assert live(echo)["workers_max"] == 3
    assert echo.run("deploy", "echo", "--yes").status == 0
    assert live(echo)["workers_max"] == 5


def test_a_price_that_stays_is_told_once(echo):
    """What it costs before and after; one price where that is the same."""
    echo.run("deploy", "echo")
    echo.spec("echo", worker="echo", smoke=SMOKE, env={"LOUD": "yes"})
    same = echo.run("plan", "echo")
    echo.spec("echo", worker="echo", smoke=SMOKE, workers={"min": 0, "max": 1})
    cheaper = echo.run("plan", "echo")

    assert "at RunPod: $0.00/h idle, $2.05/h at most (3 workers of $0.68/h), as before (prices: " in same.stdout
    assert "$2.05/h at most (3 workers of $0.68/h) → $0.00/h idle, $0.68/h at most (1 worker" in cheaper.stdout


def test_quiet_leaves_results(echo):
    """What a plan is for, and whether a deploy is done; nothing of the way there."""
    planned = echo.run("plan", "echo", "-q")
    done = echo.run("deploy", "echo", "-q")

    assert (0, "") == (planned.status, planned.stderr)
    assert "at RunPod: $" in planned.stdout
    assert planned.stdout.endswith("; nothing was changed\n")
    assert (0, "", 1) == (done.status, done.stderr, len(done.stdout.splitlines()))


def test_a_version_that_does_not_work_is_put_back(echo):
    """The smoke test fails: the image that was there is there again, the exit code says so, and it still answers.

    The journal then knows what is live, without the value of a variable that looks like a secret.
    """
    echo.spec("echo", worker="echo", smoke=SMOKE, env={"DB_PASSWORD": "c5b4a39d8f7e6"})
    echo.run("deploy", "echo")
    before = live(echo)["image"]
    mend = break_worker(echo)
    outcome = echo.run("deploy", "echo", "--yes", "--json", "--timeout", "60")

    failed(outcome, "rolled_back", "the weights are not where they should be", before, "--no-rollback", varies=True)
    assert live(echo)["image"] == before
    assert not [path for path in (echo.root / ".vidctl").glob("journal*") if b"c5b4a39d8f7e6" in path.read_bytes()]
    mend()
    assert echo.run("plan", "echo", "--json").document["up_to_date"]


def test_without_rollback_the_new_version_stays(echo):
    echo.run("deploy", "echo")
    before = live(echo)["image"]
    break_worker(echo)
    outcome = echo.run("deploy", "echo", "--yes", "--json", "--no-rollback", "--timeout", "60")

    failed(outcome, "job_failed", "vidctl destroy echo", varies=True)
    assert live(echo)["image"] != before


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        ('return {"echo": {"question": 2}}', "smoke.contains: output.echo.question is 2, not 1"),
        ('raise ValueError("no such image")', "ValueError: no such image"),
    ],
)
def test_what_was_waited_for_is_no_reason_of_a_wrong_answer(echo, answers, said):
    """The worker did start: that it was starting, or loading its model, has nothing to do with it."""
    worker = f"import runpod\ndef handler(job):\n    {answers}\nrunpod.serverless.start({{'handler': handler}})\n"
    (echo.root / "workers" / "echo" / "handler.py").write_text(worker)
    outcome = echo.run("deploy", "echo", "--json")
    first_line, hint = outcome.error["error"].splitlines()[0], outcome.error["hint"]

    failed(outcome, "job_failed", varies=True)
    assert first_line.endswith(said)
    assert hint.startswith(f"endpoint {outcome.error['endpoint']} ")  # and nothing about the start before it
    assert ("0 to 3 workers" in hint, "vidctl destroy echo" in hint) == (True, True)


def test_what_never_worked_is_not_put_back(echo):
    """The first version failed too: there is no good one, and nobody pretends."""
    mend = break_worker(echo)
    echo.run("deploy", "echo", "--timeout", "60")
    first = live(echo)["image"]
    (echo.root / "workers" / "echo" / "handler.py").write_text("raise SystemExit('still broken')\n")
    outcome = echo.run("deploy", "echo", "--yes", "--json", "--timeout", "60")

    failed(outcome, "job_failed", "still broken", varies=True)
    assert live(echo)["image"] != first
    mend()
    assert echo.run("deploy", "echo", "--yes").status == 0


def test_after_two_bad_versions_the_good_one_comes_back(echo):
    """--no-rollback left a bad version live; the next bad one gives way to the last that was proved, not to it."""
    echo.run("deploy", "echo")
    good = live(echo)["image"]
    break_worker(echo)
    echo.run("deploy", "echo", "--yes", "--no-rollback", "--timeout", "60")
    (echo.root / "workers" / "echo" / "handler.py").write_text("raise SystemExit('worse')\n")
    outcome = echo.run("deploy", "echo", "--yes", "--json", "--timeout", "60")

    failed(outcome, "rolled_back", "worse", good, varies=True)
    assert live(echo)["image"] == good


def test_what_an_earlier_name_of_a_spec_left_is_told(echo):
    """A spec that gets another name is another endpoint; the one before stays, and is named until it goes."""
    before = echo.run("deploy", "echo", "--json").document["endpoint_id"]
    echo.spec("echo", worker="echo", smoke=SMOKE, name="renamed")
    outcome = echo.run("deploy", "echo")
    told = f"test-echo ({before}), the endpoint of renamed under its former name, still exists: vidctl destroy {before}"

    assert f"warning: {told}" in outcome.stderr.splitlines()
    assert echo.run("plan", "echo", "--json").document["warnings"] == [told]
    assert echo.run("destroy", before, "--yes").status == 0
    assert echo.run("plan", "echo", "--json").document["warnings"] == []


def test_nobody_needs_to_wait(echo):
    """--no-wait saves and reads back; the next deploy, and plan, know that nothing was proved."""
    outcome = echo.run("deploy", "echo", "--no-wait", "--json")

    assert (outcome.status, outcome.document["is_proven"], echo.jobs()) == (0, False, [])
    assert echo.run("plan", "echo", "--detailed-exitcode").status == 10
    assert echo.run("deploy", "echo").status == 0
    assert [job["status"] for job in echo.jobs()] == ["COMPLETED"]
    assert echo.run("plan", "echo", "--detailed-exitcode").status == 0


def test_a_saved_plan_is_what_is_done(echo):
    """plan -o, then deploy FILE: no question; out of date once the spec or the endpoint has changed."""
    echo.run("deploy", "echo")
    echo.spec("echo", worker="echo", smoke=SMOKE, workers={"min": 0, "max": 5})
    echo.run("plan", "echo", "-o", "plan.json")
    done = echo.run("deploy", "plan.json", "--json")
    stale = echo.run("deploy", "plan.json", "--json")

    assert (done.status, live(echo)["workers_max"]) == (0, 5)
    failed(stale, "usage_error", "plan.json", "echo", "vidctl plan echo -o plan.json")


@pytest.mark.parametrize(
    ("name", "code", "facts"),
    [
        (".", "usage_error", [".: ", "folder", "-o"]),
        ("plan.txt", "usage_error", ["-o plan.txt: ", ".json"]),
        ("plan", "usage_error", ["-o plan: ", ".json"]),
        ("-", "usage_error", ["--json", "-o -", "-o FILE.json"]),
        ("/proc/plan.json", "failure", ["/proc/plan.json: ", "No such file or directory"]),
    ],
)
def test_a_plan_is_saved_in_a_file_that_deploy_knows(echo, name, code, facts):
    outcome = echo.run("plan", "echo", "--json", "-o", name)

    failed(outcome, code, *facts, varies=code == "failure")


def test_a_plan_may_be_printed(echo):
    """What was printed is what deploy takes."""
    outcome = echo.run("plan", "echo", "-o", "-")
    (echo.root / "plan.json").write_text(outcome.stdout)
    done = echo.run("deploy", "plan.json", "--yes")

    assert (0, "local", 0) == (outcome.status, outcome.document["target"], done.status), done.stderr
    assert "echo: " in outcome.stderr


@pytest.mark.parametrize("content", ["", "[]", '{"specs": {"echo": 1}, "target": "local"}', '{"target": "local"}'])
def test_what_is_no_plan_is_not_taken_for_one(echo, content):
    (echo.root / "plan.json").write_text(content)
    outcome = echo.run("deploy", "plan.json", "--json")

    failed(outcome, "usage_error", "plan.json: ", "vidctl plan NAME -o FILE")


def test_a_plan_tells_what_it_costs(echo):
    """Per hour before and after: one worker, nothing to do, everything at once."""
    echo.spec("echo", worker="echo", smoke=SMOKE, gpu="RTX 4090", workers={"min": 1, "max": 2})
    cost = echo.run("plan", "echo", "--json").document["cost"]

    assert cost["before"] is None
    assert {key: cost["after"][key] for key in ("idle_per_hour", "most_per_hour")} == {
        "idle_per_hour": pytest.approx(1.116), "most_per_hour": pytest.approx(2.232),
    }  # fmt: skip
    assert "$1.12/h idle, $2.23/h at most" in echo.run("plan", "echo").stdout


def test_everything_that_is_wrong_is_told_at_once(echo):
    """Missing secrets and a login that is not there, of three specs: one report, before anything is made."""
    echo.spec("first", worker="echo", secrets=["HF_TOKEN"])
    echo.spec("second", worker="echo", registry_auth="nobody")
    echo.spec("third", worker="echo", registry_auth={"name": "new", "username": "me", "password": "HUB_TOKEN"})
    outcome = echo.run("deploy", "first", "second", "third", "--json")

    lines = outcome.error["error"].splitlines()

    assert (outcome.status, outcome.error["code"], len(lines)) == (2, "several", 4)
    for facts in (
        ("HF_TOKEN: ", "secrets", "first"),
        ("registry login 'nobody'", "vidctl registry login nobody"),
        ("HUB_TOKEN: ", "registry_auth", "third"),
    ):
        assert [line for line in lines if all(fact in line for fact in facts)], outcome.error["error"]
    assert echo.run("list", "--json").document == []


def test_all_specs_side_by_side(echo):
    """--all deploys every spec; one that fails stops no other."""
    echo.spec("other", worker="echo", smoke=SMOKE)
    echo.spec("wrong", worker="echo", smoke={**SMOKE, "contains": {"greeting": "goodbye"}})
    outcome = echo.run("deploy", "--all", "--json")

    assert sorted(each["spec"] for each in outcome.document) == ["echo", "other"]
    failed(outcome, "job_failed", "wrong", 'output.greeting is "hello", not "goodbye"', varies=True)
    assert len(echo.run("list", "--json").document) == 3


def test_an_overlay_is_an_endpoint_of_its_own(echo):
    """-e prod: its name, its key in .env, its fields; the base is left alone."""
    (echo.root / "configs" / "echo.prod.yaml").write_text("workers: {min: 0, max: 7}\n")
    echo.run("deploy", "echo")
    outcome = echo.run("deploy", "echo", "-e", "prod", "--json")
    named = {each["name"]: (each["spec"], each["workers_max"]) for each in echo.run("list", "--json").document}

    assert (outcome.status, outcome.document["spec"]) == (0, "echo.prod")
    assert named == {"test-echo": ("echo", 3), "test-echo-prod": ("echo.prod", 7)}
    assert sorted(echo.dotenv()) == ["VIDCTL_ECHO_ENDPOINT_ID_LOCAL", "VIDCTL_ECHO_PROD_ENDPOINT_ID_LOCAL"]


def test_an_endpoint_of_somebody_elses_is_not_touched(echo):
    """Same name, no stamp: exit code 2 and --adopt named; with it, it becomes ours."""
    echo.run("deploy", "echo")
    echo.spec("twin", worker="echo", name="test-echo", workers={"min": 0, "max": 9})
    refused = echo.run("deploy", "twin", "--yes", "--json")

    failed(refused, "not_owned", "twin: ", "'test-echo'", live(echo)["id"], "spec 'echo'", "--adopt", varies=True)
    assert live(echo)["workers_max"] == 3
    assert echo.run("destroy", "twin", "--yes").status == 2
    assert echo.run("deploy", "twin", "--yes", "--adopt").status == 0
    assert (live(echo)["spec"], live(echo)["workers_max"]) == ("twin", 9)


def test_what_is_destroyed_is_gone(echo):
    """The endpoint, its template and its line in .env; a second time there is nothing: exit code 5."""
    echo.run("deploy", "echo")
    refused = echo.run("destroy", "echo")
    gone = echo.run("destroy", "configs/echo.yaml", "--yes")
    again = echo.run("destroy", "echo", "--yes", "--json")

    assert (refused.status, gone.status, again.status) == (2, 0, 5)
    assert echo.run("list", "--json").document == []
    assert echo.dotenv() == {}
    assert echo.run("deploy", "echo").status == 0


def test_another_projects_endpoint_is_destroyed_by_its_id_only(echo, tmp_path):
    """Two projects, each with a spec of this name: destroying it leaves the other's, and says how it would go too."""
    other = Project(tmp_path / "other")
    other.environ = echo.environ
    other.worker("echo")
    other.spec("echo", worker="echo", name="test-theirs", smoke=SMOKE)
    theirs = other.run("deploy", "echo", "--json").document["endpoint_id"]
    refused = echo.run("destroy", "echo", "--yes", "--json")
    ours = echo.run("deploy", "echo", "--json").document["endpoint_id"]
    other.spec("echo", worker="echo", name="test-renamed", smoke=SMOKE)

    failed(refused, "not_deployed", "echo", "local", theirs, varies=True)
    assert echo.run("destroy", "echo", "--yes", "--json").document[0]["endpoint_id"] == ours
    assert live(echo)["id"] == theirs
    assert other.run("destroy", "echo", "--yes", "--json").document[0]["endpoint_id"] == theirs


def test_what_a_lost_spec_made_is_destroyed_by_its_name(echo):
    """The spec's file is wrong, or gone: the journal knows the endpoint."""
    echo.run("deploy", "echo")
    path = echo.root / "configs" / "echo.yaml"
    path.write_text("name: x\n")
    wrong = echo.run("destroy", "echo", "--yes")
    mistake = echo.run("destroy", "echo", "--yes", "--json")
    path.unlink()
    gone = echo.run("destroy", "echo", "--yes")

    assert (wrong.status, mistake.error["code"], gone.status) == (0, "spec_error", 5)
    assert "VIDCTL_ECHO_ENDPOINT_ID_LOCAL" not in echo.dotenv()


def test_a_second_deploy_waits_and_says_for_whom(echo):
    """One endpoint, two deploys at once: the second names the process that it waits for, and then finds all done."""
    gate = slow_spec(echo)
    first = echo.start("deploy", "slow")
    until(echo.jobs)
    second = echo.start("deploy", "slow")
    said = waiting(second)
    gate.touch()

    assert f"waiting for vidctl (process {first.pid}, since " in said
    assert (first.wait(60), second.wait(60)) == (0, 0)
    assert b"up to date" in second.stdout.read()
    assert len(echo.jobs()) == 1


def test_what_is_being_deployed_is_not_destroyed_by_its_id_either(echo):
    """An endpoint's id says which spec is at work on it: destroy waits until that is proved."""
    gate = slow_spec(echo)
    deploying = echo.start("deploy", "slow")
    until(echo.jobs)
    destroying = echo.start("destroy", live(echo)["id"], "--yes")
    said = waiting(destroying)
    gate.touch()

    assert f"waiting for vidctl (process {deploying.pid}, since " in said
    assert (deploying.wait(60), destroying.wait(60)) == (0, 0)
    assert echo.run("list", "--json").document == []


def slow_spec(project):
    """A worker that answers once the file that this returns is there."""
    gate = project.root / "gate"
    project.worker("slow")
    project.spec("slow", worker="slow", env={"GATE": str(gate)}, smoke={"input": "workers/slow/job.json"})
    return gate


def waiting(process):
    """What a command has said by the time that it waits for another."""
    said = line = process.stderr.readline().decode()
    while line and "waiting for" not in line:
        line = process.stderr.readline().decode()
        said += line
    return said


def test_ctrl_c_says_what_became_of_every_job(echo):
    """Two smoke tests were out: both are cancelled, and both are named; the next deploy tries again."""
    gate = slow_spec(echo)
    base = json.loads((echo.root / "configs" / "slow.yaml").read_text())
    (echo.root / "configs" / "other.yaml").write_text(json.dumps({**base, "name": "test-other"}))
    process = echo.start("deploy", "slow", "other")
    until(lambda: len(echo.jobs()) == 2)
    status, _, stderr = ended(process, signal.SIGINT)

    assert (status, {job["status"] for job in echo.jobs()}) == (130, {"CANCELLED"})
    assert all(f"cancelled 1 job ({job['id']})" in stderr for job in echo.jobs())
    assert all(f"still exists (0 to 3 workers): vidctl destroy {key} removes it" in stderr for key in ("slow", "other"))
    gate.touch()
    assert echo.run("deploy", "slow").status == 0


def test_nothing_secret_is_anywhere(echo):
    """Not in plans, logs, --debug, the journal or a saved plan; what may hold more than others should read is 0600."""
    secret = "hf_9d8f7e6c5b4a"
    echo.spec("echo", worker="echo", smoke=SMOKE, secrets=["HF_TOKEN"], env={"DB_PASSWORD": secret[::-1]})
    (echo.root / ".env").touch(mode=0o600)  # as its owner made it: vidctl leaves the mode of a .env that is there
    (echo.root / ".env").write_text(f"HF_TOKEN={secret}\n")
    shown = ""
    for arguments in (
        ["plan", "echo", "-o", "plan.json", "-v", "--debug"], ["plan", "echo", "--json"],
        ["deploy", "echo", "-v", "--debug"], ["list", "--json"], ["list"], ["local", "logs"],
        ["local", "logs", "test-echo"],
    ):  # fmt: skip
        outcome = echo.run(*arguments)
        assert outcome.status == 0, outcome.stderr
        shown += outcome.stdout + outcome.stderr
    files = [path for path in (echo.root / ".vidctl").rglob("*") if path.is_file()] + [echo.root / "plan.json"]
    shown += "".join(path.read_bytes().decode("latin-1") for path in files)

    assert secret not in shown
    assert secret[::-1] not in shown
    assert stat.S_IMODE((echo.root / ".env").stat().st_mode) == 0o600
    assert stat.S_IMODE((echo.root / ".vidctl" / "journal.db").stat().st_mode) == 0o600
    processes = subprocess.run(["ps", "axww", "-o", "args"], capture_output=True, text=True, check=True).stdout
    assert secret not in processes


def test_a_login_is_made_once_and_its_password_is_read_from_stdin(echo):
    """`vidctl registry login`: created, then found; a spec may name it; the password is shown nowhere."""
    made = echo.run("registry", "login", "hub", "-u", "me", "--password-stdin", "--json", stdin=b"dckr_secret\n")
    again = echo.run("registry", "login", "hub", "-u", "me", "--password-stdin", "--json", stdin=b"dckr_secret\n")
    adopted = echo.run(
        "registry", "login", "hub", "-u", "me", "--adopt", "--json", VIDCTL_REGISTRY_PASSWORD="dckr_secret"
    )
    echo.spec("echo", worker="echo", smoke=SMOKE, registry_auth="hub")
    deployed = echo.run("deploy", "echo", "--json")

    assert (made.status, made.document["name"]) == (0, "hub")
    failed(again, "not_owned", "--adopt", varies=True)
    assert adopted.document["id"] == made.document["id"]
    assert echo.run("registry", "list", "--json").document == [made.document]
    assert [c["new"] for c in deployed.document["changes"] if c["field"] == "registry_auth_id"] == [made.document["id"]]
    assert "dckr_secret" not in json.dumps([made.stdout, made.stderr, again.stderr, adopted.stderr, deployed.stdout])


def test_specs_side_by_side_make_the_login_that_they_share_once(echo):
    """Two specs name one login that RunPod does not have: it is made once, and then nothing is left to do."""
    login = {"name": "hub", "username": "me", "password": "HUB_PASSWORD"}
    (echo.root / ".env").write_text("HUB_PASSWORD=dckr_secret\n")
    for key in ("one", "two"):
        echo.spec(key, worker="echo", smoke=SMOKE, registry_auth=login)
    deployed = echo.run("deploy", "one", "two", "--json")

    assert deployed.status == 0, deployed.stderr
    assert [each["name"] for each in echo.run("registry", "list", "--json").document] == ["hub"]
    assert echo.run("plan", "one", "two", "--detailed-exitcode").status == 0
