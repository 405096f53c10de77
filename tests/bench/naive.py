"""`python -m tests.bench.naive MODEL PORT`: the baseline, as a first attempt is often written.

A FastAPI handler around Hugging Face `generate`: each request is computed alone, blocks the
event loop, and is answered in one piece.
"""

from __future__ import annotations

import sys
from typing import Any

import uvicorn
from fastapi import FastAPI


def create_app(model_folder: str) -> FastAPI:
    """Load the model into this process and return the application around it."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model_folder)
    model = AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.bfloat16).eval()
    app = FastAPI()

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.post("/v1/chat/completions")
    async def complete(body: dict[str, Any]) -> dict[str, Any]:
        inputs = tokenizer.apply_chat_template(
            body["messages"], add_generation_prompt=True, return_tensors="pt", return_dict=True
        )
        length = {"max_new_tokens": body["max_tokens"]}
        if body.get("ignore_eos"):
            length["min_new_tokens"] = body["max_tokens"]
        with torch.inference_mode():
            output = model.generate(**inputs, do_sample=False, **length)
        prompt_tokens = inputs["input_ids"].shape[1]
        answer = output[0, prompt_tokens:]
        message = {"content": tokenizer.decode(answer, skip_special_tokens=True)}
        usage = {"prompt_tokens": prompt_tokens, "completion_tokens": len(answer)}
        return {"choices": [{"message": message}], "usage": usage}

    return app


if __name__ == "__main__":
    uvicorn.run(
        create_app(sys.argv[1]), host="127.0.0.1", port=int(sys.argv[2]), log_level="warning"
    )
