"""The graph: which deployment gets which settings and which handles."""
# No `from __future__ import annotations`: Serve reads the builder's annotation as a class.

from ray.serve import Application

from deployments.embedder.deployment import Embedder
from deployments.images.deployment import Images
from deployments.jobs.deployment import Jobs
from deployments.llm.deployment import LLM
from deployments.parser.chunking.chunker import CHUNKER_VERSION, chunker_name
from deployments.parser.deployment import Parser
from deployments.renderer.deployment import Renderer
from deployments.retriever.deployment import Retriever
from deployments.scraper.deployment import Scraper
from serve_app.ingress import Ingress
from serve_app.settings import NEXT_EMBEDDER, AppSettings

_MAX_STEP_TOKENS = 2**18


def build_app(args: AppSettings) -> Application:
    """Bind every deployment. Serve makes `args` of the YAML's `args:` and so checks them."""
    shares = args.limits.shares
    embedder = Embedder.bind(args.embedder, args.data_dir)
    following = args.embedder.next
    next_embedder = None
    if following is not None:
        next_embedder = Embedder.options(name=NEXT_EMBEDDER).bind(following.embedder, args.data_dir)
    max_file_bytes = max(args.limits.max_upload_bytes, args.scraper.max_pdf_bytes)
    parser = Parser.bind(
        args.parser,
        args.embedder.model,
        args.data_dir,
        args.files,
        max_file_bytes,
        shares=shares,
    )
    renderer = None
    if args.renderer is not None:
        renderer = Renderer.bind(args.renderer, args.scraper, shares=shares)
    images = Images.bind(args.images, args.data_dir, shares=shares)
    retriever = Retriever.bind(
        args.retriever,
        args.data_dir,
        CHUNKER_VERSION,
        args.database_url,
        embedder,
        next_embedder,
    )
    return Ingress.bind(
        args,
        llm=LLM.bind(args.llm, args.data_dir),
        embedder=embedder,
        scraper=Scraper.bind(args.scraper, args.files, parser, renderer, shares=shares),
        parser=parser,
        retriever=retriever,
        images=images,
        jobs=Jobs.bind(
            args.jobs,
            args.database_url,
            args.files,
            parser,
            retriever,
            images=images,
            images_at_once=args.images.max_batch,
            batch_chunks=_batch_chunks(args),
            responder="Ingress",
            shares=shares,
            quotas=args.limits.quotas,
            switch_automatically=following is None or following.switch == "automatic",
            chunker=chunker_name(args.parser.chunk_tokens),
        ),
    )


def _batch_chunks(args: AppSettings) -> int:
    """Return how many chunks one step stores: a pass of the embedder, within a gRPC message."""
    tokens = min(args.embedder.max_batch_tokens, _MAX_STEP_TOKENS)
    return max(1, tokens // args.parser.chunk_tokens)
