"""Settings of earlier versions, for the message to an operator whose file still has them."""

_CORES = "it follows the whole CPUs of the deployment's `num_cpus`"
_REVISION = "write it after the model: ID@REVISION"
_REPLACED = {
    "embedder.revision": _REVISION,
    "embedder.reranker_revision": _REVISION,
    "embedder.threads": _CORES,
    "images.threads": _CORES,
    "scraper.extract_processes": _CORES,
    "parser.processes": _CORES,
    "parser.tokenizer": "it is that of `embedder.model`",
    "parser.max_chars": "it follows `parser.max_pages`",
    "parser.max_chunks": "it follows `parser.max_pages`",
    "parser.cpu_s": "it follows `parser.timeout_s`",
    "retriever.max_collections": "it is `limits.max_collections`",
    "retriever.path": "it is the folder `vectors` of `data_dir`",
    "images.min_size": "it is half of `images.size`",
    "jobs.database_url": "it is `database_url`",
    "jobs.images_at_once": "it is `images.max_batch`",
    "jobs.max_queued_of_key": "it is half of `jobs.max_queued`",
    "jobs.add_batch_chunks": "it follows `embedder.max_batch_tokens`",
    "answer.understanding_timeout_s": "it is a share of `answer.context_timeout_s`",
    "limits.images_timeout_s": "it is `answer.total_timeout_s`",
    "limits.max_files": "it is `limits.max_documents`",
    "limits.max_body_bytes": "it follows `limits.max_prompt_chars`",
}
_CONSTANTS = {
    "llm": "connect_timeout_s read_timeout_s retry_attempts retry_timeout_s",
    "embedder": "batch_wait_s max_texts_per_call max_pairs_per_call",
    "scraper": "connect_timeout_s max_page_bytes max_text_chars max_redirects max_connections "
    "max_connections_per_host robots_timeout_s robots_cache_s robots_retry_s max_robots_bytes "
    "robots_cache_bytes extract_timeout_s extract_memory_bytes extract_pages_per_process",
    "retriever": "timeout_s add_batch_chunks rerank_timeout_s",
    "images": "max_prompt_chars batch_wait_s max_waiting",
    "jobs": "attempts backend_wait_s max_watchers",
    "answer": "prompt_margin_tokens understanding_tokens",
    "limits": "max_uploads redis_timeout_s max_messages max_top_k retry_after_s",
}
REMOVED = {
    f"{section}.{name}": "it is a constant now"
    for section, names in _CONSTANTS.items()
    for name in names.split()
} | _REPLACED
"""The dotted path of each removed setting, and what takes its place."""
