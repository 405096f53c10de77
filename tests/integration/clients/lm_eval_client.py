"""The evaluation harness lm-eval on a task of our own: its data sets cannot be downloaded here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from service import KEY, MODEL, URL, tell

DATA, TOKENIZER = sys.argv[1:]  # questions as JSON lines; the folder of the model
TASKS = Path(os.environ["TEST_FOLDER"])
ASK = "{{context}}\\nQuestion: {{question}}\\nAnswer:"
COMMON = f"""\
dataset_path: json
dataset_kwargs: {{data_files: {{test: "{DATA}"}}}}
test_split: test
doc_to_text: "{ASK}"
"""
(TASKS / "choose.yaml").write_text(f"""\
task: choose
output_type: multiple_choice
doc_to_choice: choices
doc_to_target: 0
metric_list: [{{metric: acc}}]
{COMMON}""")
(TASKS / "answer.yaml").write_text(f"""\
task: answer
output_type: generate_until
doc_to_target: answer
generation_kwargs: {{until: ["\\n"], max_gen_toks: 24, do_sample: false}}
filter_list:
  - {{name: trimmed, filter: [{{function: remove_whitespace}}, {{function: take_first}}]}}
metric_list: [{{metric: exact_match, ignore_case: true, ignore_punctuation: true}}]
{COMMON}""")


def results(model: str, path: str, task: str, *more: str) -> Any:
    out = TASKS / f"{model}-{task}"
    arguments = f"model={MODEL},base_url={URL}{path},num_concurrent=4,max_retries=1"
    command = ["run", "--model", model, "--tasks", task, "--output_path", out]
    command += ["--include_path", TASKS, "--model_args", ",".join([arguments, *more])]
    command += ["--apply_chat_template"] if "chat" in model else []
    offline = {"HF_DATASETS_OFFLINE": "1", "HF_HOME": str(TASKS / "hf")}
    subprocess.run(
        [Path(sys.executable).with_name("lm_eval"), *command],
        env=os.environ | offline | {"OPENAI_API_KEY": KEY},
        check=True,
        stdout=sys.stderr,
    )
    (file,) = out.rglob("results_*.json")
    kept = json.loads(file.read_text())
    return {"scores": kept["results"][task], "samples": kept["n-samples"][task]["effective"]}


tell(
    choose=results("local-completions", "/completions", "choose", f"tokenizer={TOKENIZER}"),
    answer=results("local-completions", "/completions", "answer", f"tokenizer={TOKENIZER}"),
    chat=results("local-chat-completions", "/chat/completions", "answer"),
)
