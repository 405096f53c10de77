"""The command line tool llm, configured by its extra-openai-models.yaml."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from service import CAPITAL, KEY, MODEL, QUESTION, URL, tell

folder = Path(os.environ["TEST_FOLDER"]) / "llm"
folder.mkdir()
(folder / "extra-openai-models.yaml").write_text(f"""\
- model_id: genserve
  model_name: genserve
  api_base: {URL}
  api_key_name: genserve
- model_id: small
  model_name: {MODEL}
  api_base: {URL}
  api_key_name: genserve
  supports_schema: true
- model_id: genserve-responses
  model_name: genserve
  api_base: {URL}
  api_key_name: genserve
  responses: true
""")
(folder / "keys.json").write_text(json.dumps({"genserve": KEY}))  # as `llm keys set genserve`


def llm(*arguments: str) -> str:
    done = subprocess.run(
        [Path(sys.executable).with_name("llm"), *arguments],
        env=os.environ | {"LLM_USER_PATH": str(folder)},
        capture_output=True,
        text=True,
        check=True,
        stdin=subprocess.DEVNULL,
    )
    return done.stdout


short = ["-o", "max_tokens", "60", "-o", "temperature", "0"]
tell(
    bare=llm("-m", "small", *short, CAPITAL),
    grounded=llm("-m", "genserve", *short, QUESTION),
    again=llm("-c", *short, "Answer again."),
    schema=json.loads(llm("-m", "small", "--schema", "year int", CAPITAL)),
    responses=llm("-m", "genserve-responses", "-o", "max_tokens", "100", QUESTION),
    logged=json.loads(llm("logs", "list", "-n", "0", "--json"))[0]["response_json"],
)
