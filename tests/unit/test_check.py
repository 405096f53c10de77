"""Whole files: order and places of problems, broken files, and the command itself."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from serve_app.check import Problem, check
from serve_app.check.command import main
from serve_app.settings import DEPLOYMENT_NAMES
from tests.support.shipped import CPU, edited, shipped

TEXT = shipped(CPU)
APPLICATION = "applications.genserve"
DEPLOYMENTS = f"{APPLICATION}.deployments"


def only_problem(text: str) -> Problem:
    found = check(text, "x.yaml").problems
    assert len(found) == 1, "\n".join(map(str, found))
    return found[0]


@pytest.mark.parametrize("bound", ["", "        max_queued_requests: -1\n"])
def test_every_queue_is_bounded(bound: str) -> None:
    text = re.sub(r" +max_queued_requests: .*\n", bound, TEXT)

    found = check(text, "x.yaml").problems

    assert [p.path for p in found] == [
        f"{DEPLOYMENTS}.{name}.max_queued_requests" for name in DEPLOYMENT_NAMES
    ]
    assert all("1 or more" in p.message for p in found)


@pytest.mark.parametrize(
    "wrong",
    [
        "        num_replicas: 2\n",
        (
            "        autoscaling_config:\n"
            "          {min_replicas: 1, max_replicas: 3, target_ongoing_requests: 64}\n"
        ),
        "        num_replicas: auto\n",
    ],
)
def test_jobs_in_sqlite_have_one_replica(wrong: str) -> None:
    before, jobs = TEXT.split("      - name: Jobs\n")
    jobs = jobs.replace("        num_replicas: 1\n", wrong)
    found = check(f"{before}      - name: Jobs\n{jobs}", "x.yaml").problems
    assert "SQLite allows one replica" in "\n".join(problem.message for problem in found)


def test_a_password_in_the_settings_is_sent_to_the_environment() -> None:
    url = "postgresql://me:secret@db:5432/jobs"
    text = edited(TEXT, "    args:\n", f"    args:\n      database_url: {url}\n")
    (found,) = check(text, "x.yaml").problems
    assert "GENSERVE_DATABASE_URL" in found.message
    assert "secret" not in found.message


def test_a_deployment_left_out_would_run_unbounded() -> None:
    start = TEXT.index("      - name: Parser")
    text = TEXT[:start] + TEXT[TEXT.index("      - name: Retriever") :]

    problem = only_problem(text)

    assert "`Parser` is not listed" in problem.message
    assert problem.line == text.splitlines().index("    deployments:") + 1


def test_a_key_given_twice_is_refused() -> None:
    text = edited(TEXT, "        device: cpu", "        device: auto\n        device: cpu")

    problem = only_problem(text)

    assert problem.path == f"{APPLICATION}.args.embedder.device"
    first = text.splitlines().index("        device: auto") + 1
    assert problem.line == first + 1
    assert f"already on line {first}" in problem.message


def test_every_problem_is_listed_in_order() -> None:
    text = TEXT
    for old, new in (
        ("port: 8000", "port: eight"),
        ("max_num_seqs: 32 ", "max_num_seqs: 32\n          model: other"),
        ("max_batch_tokens: 4096 ", "max_batch_tokens: 0 "),
        ("- name: Scraper", "- name: Skraper"),
        ("max_queued_requests: 16\n", "max_queued_requests: -1\n"),
        ("chunk_tokens: 90", "chunk_tokens: 2"),
    ):
        text = edited(text, old, new)

    found = check(text, "x.yaml").problems

    # `model` is a contradiction of settings that are each good, and these are not.
    assert [p.path.removeprefix(f"{APPLICATION}.") for p in found] == [
        "http_options.port",
        "args.embedder.max_batch_tokens",
        "args.parser.chunk_tokens",
        "deployments",
        "deployments.Skraper.name",
        "deployments.Parser.max_queued_requests",
    ]
    assert [p.line for p in found] == sorted(p.line for p in found)


@pytest.mark.parametrize(
    ("edits", "paths", "lines"),
    [
        pytest.param(
            [
                ("max_num_seqs: 32", "model: other"),
                ("max_answer_tokens: 512 ", "max_answer_tokens: 2100 "),
            ],
            ["args.llm.engine_args.model", "args.answer.max_answer_tokens"],
            2,
            id="settings at odds are listed together",
        ),
        pytest.param(
            [
                ("{num_cpus: 0.1}", "&little {num_cpu: 0.1}"),
                ("ray_actor_options: {num_cpus: 0.2}", "ray_actor_options: *little"),
            ],
            [
                "deployments.Parser.ray_actor_options.num_cpu",
                "deployments.Scraper.ray_actor_options.num_cpu",
            ],
            1,
            id="a mistake in a shared part is reported wherever it counts",
        ),
    ],
)
def test_several_problems_of_one_file(
    edits: list[tuple[str, str]], paths: list[str], lines: int
) -> None:
    text = TEXT
    for old, new in edits:
        text = edited(text, old, new)

    found = check(text, "x.yaml").problems

    assert [p.path.removeprefix(f"{APPLICATION}.") for p in found] == paths
    assert len({p.line for p in found}) == lines


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "empty"),
        ("# nothing\n", "empty"),
        ("a: [1\nb: 2\n", "not YAML"),
        ("a: 1\n---\nb: 2\n", "none of them is a RayService"),
        ("a: !!python/object:os.system {}\n", "not YAML"),
        ("? [1, 2]\n: 3\n", "not YAML"),
        ("a: 2026-99-99\n", "not YAML"),
        ("just words\n", "application"),
        ("applications: &a [{args: *a}]\n", "nested without end"),
        ("[" * 3000, "n"),
        ("applications: []\n", "must list one application"),
        ("applications: {name: genserve}\n", "must list one application"),
        ("applications: [1]\n", "must list one application"),
        ("applications: [{name: genserve, deployments: 3, args: 4}]\n", "import_path"),
        ("applications: [{deployments: [1, {}, {name: 3}], args: [4]}]\n", "import_path"),
    ],
)
def test_a_file_that_is_no_configuration_is_refused_and_not_a_crash(text: str, says: str) -> None:
    found = check(text, "x.yaml").problems

    assert says in "\n".join(map(str, found))
    assert all(p.line >= 1 for p in found)


def test_shared_parts_of_a_file_are_read_as_serve_reads_them() -> None:
    text = edited(TEXT, "{num_cpus: 0.1}", "&little {num_cpus: 0.1}")
    text = edited(text, "ray_actor_options: {num_cpus: 0.2}", "ray_actor_options: *little")

    assert check(text, "x.yaml").problems == []


def test_the_command_says_which_files_are_good_and_fails_for_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good, bad, absent = tmp_path / "good.yaml", tmp_path / "bad.yaml", tmp_path / "absent.yaml"
    good.write_text(TEXT, encoding="utf-8")
    bad.write_text(edited(TEXT, "port: 8000", "prot: 8000"), encoding="utf-8")

    assert main([str(good), "--nodes", "local"]) == 0
    assert capsys.readouterr().out == f"{good}: good\n"

    assert main([str(good), str(bad), str(absent)]) == 1
    lines = capsys.readouterr().out.splitlines()
    line = next(i for i, text in enumerate(TEXT.splitlines(), 1) if "  port: 8000" in text)
    assert lines == [
        f"{good}: good",
        f"{bad}:{line}: http_options.prot: unknown key; did you mean `port`?",
        f"{absent}:1: cannot be read: No such file or directory",
    ]


OPEN = edited(TEXT, "  host: 127.0.0.1", "  host: 0.0.0.0")


def test_a_host_that_others_reach_needs_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GENSERVE_API_KEYS", raising=False)
    problem = only_problem(OPEN)
    assert problem.path == "http_options.host"
    assert check(OPEN, "a.yaml", host="127.0.0.1").problems == []
    assert "GENSERVE_API_KEYS" in problem.message
    monkeypatch.setenv("GENSERVE_API_KEYS", "alice:0123456789abcdef")
    assert check(OPEN, "x.yaml").problems == []


def test_keys_that_cannot_be_read_are_told_without_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GENSERVE_API_KEYS", "alice:0123456")
    problem = only_problem(TEXT)
    assert "the key of `alice` has less than 16 characters" in problem.message
    assert "0123456" not in problem.message
