"""LiteLLM's proxy in front of the service; OpenAI's SDK talks with the proxy."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from openai import OpenAI
from service import CAPITAL, CONTEXT, EMBEDDER, KEY, MODEL, QUESTION, ROOT, URL, tell

PORT = sys.argv[1]
PROXY = f"http://127.0.0.1:{PORT}"
START_TIMEOUT_S = 90
folder = Path(os.environ["TEST_FOLDER"])
config = folder / "litellm.yaml"
config.write_text(f"""\
model_list:
  - model_name: genserve
    litellm_params: {{model: openai/genserve, api_base: "{URL}", api_key: "{KEY}"}}
  - model_name: small
    litellm_params: {{model: "openai/{MODEL}", api_base: "{URL}", api_key: "{KEY}"}}
  - model_name: embedder
    litellm_params: {{model: "openai/{EMBEDDER}", api_base: "{URL}", api_key: "{KEY}"}}
  - model_name: claude
    litellm_params: {{model: anthropic/genserve, api_base: "{ROOT}", api_key: "{KEY}"}}
general_settings: {{master_key: sk-of-the-proxy}}
litellm_settings: {{telemetry: false}}
""")
log = (folder / "litellm.log").open("wb")
proxy = subprocess.Popen(
    [
        Path(sys.executable).with_name("litellm"),
        "--config",
        config,
        "--host",
        "127.0.0.1",
        "--port",
        PORT,
    ],
    env=os.environ | {"LITELLM_LOCAL_MODEL_COST_MAP": "True"},
    stdout=log,
    stderr=log,
)
try:
    for _ in range(START_TIMEOUT_S):
        try:
            urllib.request.urlopen(f"{PROXY}/health/liveliness", timeout=1)
            break
        except OSError:
            time.sleep(1)
    client = OpenAI(base_url=f"{PROXY}/v1", api_key="sk-of-the-proxy", max_retries=0)
    bare = client.chat.completions.create(
        model="small",
        messages=[{"role": "user", "content": CAPITAL}],
        max_tokens=40,
        temperature=0,
    )
    chunks = client.chat.completions.create(
        model="genserve",
        messages=[{"role": "user", "content": QUESTION}],
        max_tokens=40,
        stream=True,
        extra_body=CONTEXT,
    )
    pieces = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
    vector = client.embeddings.create(model="embedder", input=QUESTION).data[0].embedding
    response = client.responses.create(model="genserve", input=QUESTION, max_output_tokens=60)
    message = client.post(
        "/messages",
        body={
            "model": "claude",
            "max_tokens": 60,
            "messages": [{"role": "user", "content": QUESTION}],
        },
        cast_to=object,
    )
finally:
    proxy.terminate()
    proxy.wait(30)
tell(
    bare=bare.choices[0].message.content,
    pieces=pieces,
    dimensions=len(vector),
    responses=response.output_text,
    messages=message,
)
