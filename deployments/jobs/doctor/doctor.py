"""The doctor: checks everything in one run, reports damage and, on request, mends it."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from loguru import logger

from deployments.jobs.doctor.documents import Grace
from deployments.jobs.doctor.examination import Examination
from deployments.jobs.doctor.mending import Mender
from deployments.jobs.doctor.report import Report
from deployments.jobs.job_rows import open_rows

if TYPE_CHECKING:
    from deployments.catalogue.catalogue import Catalogue
    from deployments.file_store import FileStore
    from deployments.jobs.doctor.findings import Finding
    from deployments.jobs.doctor.mending import Submit
    from deployments.jobs.reconciliation import Backend

_CLOCKS_S = 60.0  # by which those of two nodes may differ
RUNNING, STOPPED = Grace(), Grace(pause_s=0.0, look_s=0.0)
"""Where a service runs, other work must come in between, and things change."""


class Doctor:
    """Compares catalogue, vectors and files of all owners.

    Without `submit`, no service runs: nothing changes meanwhile, and nothing can be embedded.
    """

    def __init__(  # noqa: PLR0913 - the stores that it compares
        self,
        catalogue: Catalogue,
        retriever: Backend,
        files: FileStore,
        database_url: str,
        *,
        submit: Submit | None,
        grace: Grace | None = None,
    ) -> None:
        self._catalogue = catalogue
        self._retriever = retriever
        self._files = files
        self._database_url = database_url
        self._mender = Mender(catalogue, retriever, files, submit)
        self._grace = grace or (RUNNING if submit else STOPPED)

    async def run(self, *, mend: bool, thorough: bool) -> Report:
        """Look at everything, and mend what may be mended; raise a ServiceError if it cannot look.

        With `thorough`, kept files are read to compare their digests.
        """
        report = Report()
        began = time.monotonic()
        async with open_rows(self._database_url) as rows:
            examination = Examination(
                self._catalogue,
                self._retriever,
                self._files,
                rows,
                grace=self._grace,
                thorough=thorough,
            )
            report.looked_at = examination.looked_at
            async for found in examination.findings():
                finding = found
                if mend:
                    finding = replace(found, mended=await self._mender.mend(found))
                if report.add(finding):
                    _log(finding)
        # An erasure deletes the reports of runs that have ended. This one may name what it erases.
        if await self._catalogue.erasures.any_since(int((report.began_at - _CLOCKS_S) * 1000)):
            report.examples.clear()
        report.took_s = time.monotonic() - began
        return report


def _log(finding: Finding) -> None:
    mended = ", mended" if finding.mended else ""
    about = f"{finding.kind} {finding.subject} {finding.detail}".rstrip()
    logger.warning("doctor: {}{}", about, mended)
