"""The short version of `make bench-cluster`: the documented configuration on a real Ray's nodes.

One cluster for all tests, which change it one after the other: the worker is killed last.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from alembic.script import ScriptDirectory

from deployments.catalogue import migrate
from deployments.databases import create_engine
from tests.support import cluster_config
from tests.support.cluster_scenarios import ScalingLoad, placement, scaling, update
from tests.support.cluster_site import Site, documented_site
from tests.support.node_removal import removal
from tests.support.paths import ROOT
from tests.support.ray_exposure import interfaces, public, reachable_from_elsewhere

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with documented_site(tmp_path_factory.mktemp("cluster")) as running:
        yield running


def test_the_launch_is_the_documented_one(site: Site) -> None:
    assert cluster_config.environment()["RAY_AUTH_MODE"] == "token"
    assert sorted(site.nodes.names().values()) == sorted(
        node.name for node in cluster_config.nodes()
    )
    assert len(site.nodes.running) >= 4


def test_every_deployment_is_where_the_plan_says(site: Site) -> None:
    found = placement(site)
    assert {name: found.planned[name] for name in found.planned if not found.agrees(name)} == {}
    assert set(found.planned) == set(found.real)


def test_ray_lets_nobody_in_without_the_token(site: Site) -> None:
    called = list(interfaces(site.nodes))
    assert [one for one in called if not one.protected] == []
    kinds = {one.where.split()[0].rpartition(":")[0] or one.where.split()[0] for one in called}
    assert kinds == {"dashboard", "agent", "gcs_server", "raylet", "ray::ServeReplica:genserve"}
    assert not reachable_from_elsewhere(site.nodes.dashboard_port)
    # What Ray shows to everybody says nothing of the cluster.
    assert set(public(site.nodes).values()) == {"200"}


def test_more_replicas_come_with_the_load_and_go_with_it(site: Site) -> None:
    wanted = ["LLM", "Scraper"]
    found = scaling(site, [ScalingLoad({"chat": 24}, wanted)])
    assert sorted(found.up_s) == sorted(wanted)
    assert sorted(found.down_s) == sorted(wanted)
    assert {status for asked, status in pairs(found.statuses)} <= {"200", "429", "0"}


def test_no_request_fails_while_every_deployment_is_replaced(site: Site) -> None:
    found = update(site, per_second=2.0, requests=60, rollback=False)
    assert found.replaced
    assert found.traffic["errors"] == {}
    assert found.traffic["requests"] >= 60


def test_no_request_fails_while_other_code_migrates_the_schema_and_is_taken_back(
    site: Site, tmp_path: Path
) -> None:
    """As the documentation says: the next version lies beside this one, on every node."""
    code, revision = next_version(tmp_path)
    seen = []
    found = update(
        site,
        per_second=2.0,
        requests=60,
        document=cluster_config.with_code(site.document, code),
        updated=lambda: seen.append(revision_of(site)),
    )
    assert found.replaced
    # The older code has left the newer schema as it was, and works with it.
    assert (seen, revision_of(site)) == ([revision], revision)
    site.upload()
    assert site.answers()
    assert found.traffic["errors"] == {}


def next_version(folder: Path) -> tuple[Path, str]:
    """Copy the code, with a further migration; return the folder and the revision."""
    for name in ("serve_app", "deployments", "tests"):
        ignored = shutil.ignore_patterns("__pycache__", "data")
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    head = ScriptDirectory.from_config(migrate.config()).get_current_head()
    script = (
        "import sqlalchemy as sa\nfrom alembic import op\n\n"
        f'revision = "9999"\ndown_revision = "{head}"\n\n\n'
        "def upgrade() -> None:\n"
        '    op.add_column("genserve_documents", sa.Column("next", sa.Text))\n'
    )
    migrations = folder / "deployments" / "catalogue" / "migrations" / "versions"
    (migrations / "r9999_next.py").write_text(script)
    return folder, "9999"


def revision_of(site: Site) -> str | None:
    engine = create_engine(site.database, connections=1, sqlite_timeout_s=5.0)
    with engine.connect() as connection:
        found = migrate.revision_of(connection)
    engine.dispose()
    return found


def test_a_lost_worker_takes_only_what_was_in_flight(site: Site) -> None:
    found = removal(site, site.worker_of("LLM").name, per_second=2.0, lead_s=5.0)
    assert found.held["LLM"] == 1
    assert found.whole_s is not None
    assert found.late == []
    assert found.failed_in_flight <= found.in_flight


def pairs(statuses: dict[str, Any]) -> list[tuple[str, str]]:
    return [(asked, status) for asked, status in (key.split() for key in statuses)]
