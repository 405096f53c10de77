// An answer of the service as a stream of chunks.

import { Fault, request, told } from "../shared/requests.js";
import { events } from "../shared/event_stream.js";
import { DEFAULT_COLLECTION, settings } from "../shared/settings.js";

/** Ask for an answer to a conversation, as the settings are now; yields its chunks. */
export async function* completion(messages, signal) {
  const { model, temperature, maxTokens } = settings.values;
  const body = { model, messages, stream: true, stream_options: { include_usage: true } };
  if (temperature !== null) body.temperature = temperature;
  if (maxTokens !== null) body.max_tokens = maxTokens;
  if (settings.answersFromSources) body.context = context();
  const response = await request("v1/chat/completions", { method: "POST", json: body, signal });
  let whole = false;
  for await (const { data } of events(response)) {
    whole ||= data === "[DONE]";
    if (whole) continue;  // to the end, or it would look as if somebody had left
    const chunk = JSON.parse(data);
    if (chunk.error) throw told(chunk);
    yield chunk;
  }
  if (!whole) throw new Fault("The connection was closed before the answer was whole.", { code: "interrupted" });
}

/** What the person chose otherwise than the service has it; undefined, which is not sent, if nothing. */
function context() {
  const { web, documents, collection } = settings.values;
  const chosen = {};
  if (!web) chosen.web = false;
  if (!documents) chosen.documents = false;
  else if (collection !== DEFAULT_COLLECTION) chosen.collection = collection;
  return Object.keys(chosen).length ? chosen : undefined;
}
