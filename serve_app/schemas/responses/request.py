"""The JSON of a request to OpenAI's Responses API, with GenServe's own field `context`."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, StringConstraints, Tag, model_validator
from pydantic_core import PydanticCustomError

from serve_app.schemas.chat import ContextOptions
from serve_app.schemas.fields import (
    MAX_TOOLS,
    STORE_ID_EXAMPLE,
    TEXT_OR_LIST,
    Request,
    StreamOptions,
    Temperature,
    TokenCount,
    example,
    refused_unless,
)
from serve_app.schemas.generation import StopText  # noqa: TC001 - read by pydantic
from serve_app.schemas.responses.items import MAX_ID_CHARS, InputItems
from serve_app.schemas.responses.tools import (
    FileSearchTool,
    FunctionTool,
    NamespaceTool,
    Tool,
    ToolChoice,
    WebSearchTool,
    full_name,
)
from serve_app.settings import ANSWERING_MODEL

MAX_METADATA = 16
MAX_INCLUDED = 16
FILE_SEARCH_RESULTS = "file_search_call.results"
LOGPROBS = "message.output_text.logprobs"
_NO_MODERATION = "this service does not moderate prompts or answers"
_NO_PREWARM = "the prompt cache cannot be filled without an answer"

Metadata = Annotated[
    dict[
        Annotated[str, StringConstraints(max_length=64)],
        Annotated[str, StringConstraints(max_length=512)],
    ],
    Field(max_length=MAX_METADATA),
]
ObjectId = Annotated[str, Field(min_length=1, max_length=MAX_ID_CHARS)]


class TextFormat(Request):
    """Plain text, or any JSON."""

    type: Literal["text", "json_object"]


class JsonSchemaFormat(Request):
    """JSON that follows a schema."""

    type: Literal["json_schema"]
    name: Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[a-zA-Z0-9_-]+$")]
    schema_: Annotated[dict[str, Any], Field(alias="schema")]
    description: str | None = None
    strict: bool | None = None


class TextOptions(Request):
    """The form of the text; `verbosity` has no effect."""

    format: Annotated[TextFormat | JsonSchemaFormat, Field(discriminator="type")] | None = None
    verbosity: Literal["low", "medium", "high"] | None = None


class ReasoningOptions(Request):
    """How much the model reasons; without effect, as the model decides."""

    effort: str | None = None
    summary: str | None = None
    generate_summary: str | None = None
    context: str | None = None
    mode: str | None = None


class PromptCacheOptions(Request):
    """Without effect: prompts are always cached."""

    mode: str | None = None
    ttl: str | None = None
    comparison_response_id: str | None = None
    prewarm: Annotated[None, refused_unless(False, _NO_PREWARM)] = None  # noqa: FBT003


class ConversationId(Request):
    """A conversation."""

    id: ObjectId


class PromptRequest(Request):
    """The fields that make the prompt of a response."""

    model: Annotated[str, Field(min_length=1, max_length=200)]
    input: (
        Annotated[
            Annotated[Annotated[str, Field(min_length=1)], Tag("text")]
            | Annotated[InputItems, Tag("list")],
            TEXT_OR_LIST,
        ]
        | None
    ) = None
    instructions: str | None = None
    text: TextOptions | None = None
    tools: Annotated[list[Tool], Field(max_length=MAX_TOOLS)] = Field(default_factory=list)
    tool_choice: ToolChoice = "auto"
    parallel_tool_calls: bool = True
    reasoning: ReasoningOptions | None = None
    truncation: Literal["auto", "disabled"] | None = None
    previous_response_id: ObjectId | None = None
    conversation: ObjectId | ConversationId | None = None
    context: ContextOptions = Field(default_factory=ContextOptions)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.previous_response_id is not None and self.conversation is not None:
            _contradiction("`previous_response_id` and `conversation` exclude each other")
        if self.input is None and self.previous_response_id is None and self.conversation is None:
            _contradiction("`input` is required, as no earlier response or conversation is named")
        if len([tool for tool in self.tools if isinstance(tool, FileSearchTool)]) > 1:
            _contradiction("send one `file_search` tool, with all of its vector stores")
        grouped = sum(len(tool.tools) for tool in self.tools if isinstance(tool, NamespaceTool))
        if grouped + sum(isinstance(tool, FunctionTool) for tool in self.tools) > MAX_TOOLS:
            _contradiction(f"at most {MAX_TOOLS} functions are possible, with those of namespaces")
        names = [tool.name for tool in self.functions]
        if any(names.count(name) > 1 for name in self.namespaces):
            _contradiction("the names of functions, with their namespaces, must be different")
        return self

    @property
    def conversation_id(self) -> str | None:
        """The id of the conversation, given as a string or as an object."""
        if isinstance(self.conversation, ConversationId):
            return self.conversation.id
        return self.conversation

    @property
    def functions(self) -> list[FunctionTool]:
        """The tools that the caller runs; those of namespaces have their full names."""
        functions = []
        for tool in self.tools:
            if isinstance(tool, FunctionTool):
                functions.append(tool)
            elif isinstance(tool, NamespaceTool):
                functions += tool.functions()
        return functions

    @property
    def namespaces(self) -> dict[str, tuple[str, str]]:
        """The namespace and the name of each function in a namespace, by its full name."""
        return {
            full_name(tool.name, each.name): (tool.name, each.name)
            for tool in self.tools
            if isinstance(tool, NamespaceTool)
            for each in tool.tools
        }

    @property
    def file_search(self) -> FileSearchTool | None:
        """The search of documents, if it is among the tools."""
        return next((tool for tool in self.tools if isinstance(tool, FileSearchTool)), None)

    @property
    def web_search(self) -> WebSearchTool | None:
        """The reading of web pages, if it is among the tools."""
        return next((tool for tool in self.tools if isinstance(tool, WebSearchTool)), None)


class ResponseRequest(PromptRequest):
    """OpenAI's request for a response."""

    model_config = example(
        {
            "model": "genserve",
            "input": "What does the report say about costs?",
            "tools": [{"type": "file_search", "vector_store_ids": [STORE_ID_EXAMPLE]}],
            "include": [FILE_SEARCH_RESULTS],
            "max_output_tokens": 64,
        }
    )

    max_output_tokens: TokenCount | None = None
    temperature: Temperature | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    # The engine's own sampling fields, as in a chat.
    top_k: Annotated[int, Field(ge=-1, le=1_000_000)] | None = None
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    repetition_penalty: Annotated[float, Field(gt=0, le=10)] | None = None
    min_tokens: Annotated[int, Field(ge=0, le=1_000_000)] | None = None
    stop: StopText | Annotated[list[StopText], Field(max_length=16)] | None = None
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] | None = None
    ignore_eos: bool | None = None
    logit_bias: Annotated[dict[str, float], Field(max_length=1024)] | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    max_tool_calls: Annotated[int, Field(ge=1)] | None = None
    include: Annotated[
        list[
            Literal[
                "file_search_call.results",
                "web_search_call.results",
                "web_search_call.action.sources",
                "message.input_image.image_url",
                "computer_call_output.output.image_url",
                "code_interpreter_call.outputs",
                "reasoning.encrypted_content",
                "message.output_text.logprobs",
            ]
        ],
        Field(max_length=MAX_INCLUDED),
    ] = Field(default_factory=list)
    metadata: Metadata = Field(default_factory=dict)
    store: bool = True
    background: bool = False
    stream: bool = False
    stream_options: StreamOptions | None = None
    # Echoed or accepted because clients send them; they have no effect.
    user: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    prompt_cache_options: PromptCacheOptions | None = None
    prompt_cache_retention: str | None = None
    service_tier: str | None = None
    background_options: dict[str, Any] | None = None
    client_metadata: dict[str, Any] | None = None
    access_programs: dict[str, Any] | None = None
    image: dict[str, Any] | None = None
    # Refused, as ignoring them would mislead.
    prompt: Annotated[
        None, refused_unless(None, "this service stores no prompts: send the text itself")
    ] = None
    moderation: Annotated[None, refused_unless(None, _NO_MODERATION)] = None
    context_management: Annotated[
        None,
        refused_unless(
            [], "conversations are not compacted: `truncation` set to `auto` leaves out old turns"
        ),
    ] = None

    @model_validator(mode="after")
    def _can_be_fetched(self) -> Self:
        if self.background and not self.store:
            _contradiction("`background` needs `store`: the answer is fetched later")
        return self


class InputTokensRequest(PromptRequest):
    """OpenAI's request for the number of tokens of the prompt of a response."""

    model_config = example({"model": "genserve", "input": "What does the report say about costs?"})

    model: Annotated[str, Field(min_length=1, max_length=200)] = ANSWERING_MODEL
    personality: Annotated[str | None, Field(description="Without effect.")] = None


def _contradiction(reason: str) -> None:
    raise PydanticCustomError(
        "contradiction",  # noqa: EM101 - a type, not a message
        "{reason}",
        {"reason": reason},
    )
