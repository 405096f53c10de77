"""LlamaIndex: its own index of a document, in its default chunks, and a query engine over it."""

from __future__ import annotations

from llama_index.core import Document, VectorStoreIndex
from llama_index.embeddings.openai_like import OpenAILikeEmbedding
from llama_index.llms.openai_like import OpenAILike
from service import EMBEDDER, KEY, LONG_TEXT, MODEL, OTHER_TEXT, QUESTION, URL, tell

llm = OpenAILike(
    model=MODEL, api_base=URL, api_key=KEY, is_chat_model=True, context_window=2048, max_tokens=40
)
embedding = OpenAILikeEmbedding(model_name=EMBEDDER, api_base=URL, api_key=KEY)
index = VectorStoreIndex.from_documents(
    [Document(text=LONG_TEXT), Document(text=OTHER_TEXT)], embed_model=embedding
)
answer = index.as_query_engine(llm=llm, similarity_top_k=1).query(QUESTION)
tell(answer=str(answer), found=answer.source_nodes[0].text, characters=len(LONG_TEXT))
