"""`python -m tests.support.qdrant_server PORT`: a stand-in for a Qdrant server, in memory.

It serves the part of Qdrant's REST API that `deployments.retriever.qdrant.store` uses, over the
`:memory:` mode of Qdrant's own Python client, so that several replicas can share a store without a
Qdrant server. It passes the store's contract test (`QDRANT_URL`).
"""

from __future__ import annotations

import sys
import warnings
from importlib import metadata
from typing import Annotated, Any

import uvicorn
from fastapi import Body, FastAPI, HTTPException
from qdrant_client import QdrantClient, models

app = FastAPI()
store = QdrantClient(":memory:")


def _answer(result: object) -> dict[str, Any]:
    return {"result": result, "status": "ok", "time": 0.0}


def _known(name: str) -> str:
    if not store.collection_exists(name):
        raise HTTPException(404, f"no collection {name}")
    return name


@app.get("/")
async def version() -> Any:
    return {"title": "a stand-in for qdrant", "version": metadata.version("qdrant-client")}


@app.get("/collections")
async def collections() -> Any:
    return _answer(store.get_collections())


@app.get("/collections/{name}/exists")
async def exists(name: str) -> Any:
    return _answer({"exists": store.collection_exists(name)})


@app.get("/collections/{name}")
async def collection(name: str) -> Any:
    return _answer(store.get_collection(_known(name)))


@app.put("/collections/{name}")
async def create(name: str, wanted: models.CreateCollection) -> Any:
    if store.collection_exists(name):
        raise HTTPException(409, f"there is a collection {name}")
    vectors, sparse = wanted.vectors or {}, wanted.sparse_vectors
    made = store.create_collection(name, vectors_config=vectors, sparse_vectors_config=sparse)
    return _answer(made)


@app.delete("/collections/{name}")
async def drop(name: str) -> Any:
    return _answer(store.delete_collection(name))


@app.put("/collections/{name}/index")
async def index(name: str) -> Any:
    _known(name)  # nothing is indexed in memory
    return _answer(_done())


@app.put("/collections/{name}/points")
async def upsert(name: str, wanted: models.PointsList) -> Any:
    store.upsert(_known(name), wanted.points, update_filter=wanted.update_filter)
    return _answer(_done())


@app.post("/collections/{name}/points/batch")
async def batch(
    name: str, operations: Annotated[list[models.UpdateOperation], Body(embed=True)]
) -> Any:
    store.batch_update_points(_known(name), operations)
    return _answer([_done() for _ in operations])


@app.post("/collections/{name}/points/payload")
async def set_payload(name: str, wanted: models.SetPayload) -> Any:
    assert wanted.filter is not None
    store.set_payload(_known(name), wanted.payload, points=wanted.filter)
    return _answer(_done())


@app.post("/collections/{name}/points/delete")
async def delete(name: str, which: models.PointsSelector) -> Any:
    store.delete(_known(name), which)
    return _answer(_done())


@app.post("/collections/{name}/points/query")
async def query(name: str, wanted: models.QueryRequest) -> Any:
    return _answer(
        store.query_points(
            _known(name),
            prefetch=wanted.prefetch,
            query=wanted.query,
            using=wanted.using,
            limit=wanted.limit or 10,
            with_payload=wanted.with_payload or False,
            with_vectors=wanted.with_vector or False,
        )
    )


@app.post("/collections/{name}/points")
async def retrieve(name: str, wanted: models.PointRequest) -> Any:
    found = store.retrieve(_known(name), wanted.ids, with_payload=wanted.with_payload or False)
    return _answer(found)


@app.post("/collections/{name}/points/scroll")
async def scroll(name: str, wanted: models.ScrollRequest) -> Any:
    found, following = store.scroll(
        _known(name),
        scroll_filter=wanted.filter,
        limit=wanted.limit or 10,
        offset=wanted.offset,
        with_payload=wanted.with_payload or False,
        with_vectors=wanted.with_vector or False,
    )
    return _answer({"points": found, "next_page_offset": following})


@app.post("/collections/{name}/points/count")
async def count(name: str, wanted: models.CountRequest) -> Any:
    return _answer(store.count(_known(name), count_filter=wanted.filter))


def _done() -> models.UpdateResult:
    return models.UpdateResult(operation_id=0, status=models.UpdateStatus.COMPLETED)


if __name__ == "__main__":
    warnings.simplefilter("ignore")  # that the data is lost at the end
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")
