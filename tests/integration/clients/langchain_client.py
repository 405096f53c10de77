"""LangChain: default embeddings (token ids), the Responses API, and Anthropic's messages."""

from __future__ import annotations

from langchain_anthropic import ChatAnthropic
from langchain_core.documents import Document
from langchain_core.vectorstores import InMemoryVectorStore
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from service import CONTEXT, EMBEDDER, KEY, LONG_TEXT, OTHER_TEXT, QUESTION, ROOT, STORE, URL, tell

embeddings = OpenAIEmbeddings(model=EMBEDDER, base_url=URL, api_key=KEY)
store = InMemoryVectorStore.from_documents([Document(LONG_TEXT), Document(OTHER_TEXT)], embeddings)
found = store.similarity_search(QUESTION, k=1)[0].page_content

responses = ChatOpenAI(
    model="genserve",
    base_url=URL,
    api_key=KEY,
    use_responses_api=True,
    temperature=0,
    max_tokens=60,
)
tool = {"type": "file_search", "vector_store_ids": [STORE]}
answer = responses.bind_tools([tool]).invoke(QUESTION)
pieces = [piece.text for piece in responses.bind_tools([tool]).stream(QUESTION)]

claude = ChatAnthropic(
    model="genserve",
    base_url=ROOT,
    api_key=KEY,
    max_tokens=60,
    model_kwargs={"extra_body": CONTEXT},
)
message = claude.invoke(QUESTION)
tell(
    found=found,
    responses=answer.text,
    annotations=[note for block in answer.content_blocks for note in block.get("annotations", [])],
    pieces=pieces,
    messages=message.text,
    usage=message.usage_metadata,
)
