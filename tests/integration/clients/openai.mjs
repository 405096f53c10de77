// A conversation with the service through OpenAI's SDK for Node; tells what came of it as JSON.
import fs from "node:fs";
import OpenAI from "openai";
import { VERSION } from "openai/version";

const { TEST_URL, TEST_KEY, TEST_EMBEDDER } = process.env;
const client = new OpenAI({ baseURL: TEST_URL, apiKey: TEST_KEY, maxRetries: 0 });
const told = { version: VERSION };

const file = await client.files.create({
  file: fs.createReadStream(process.argv[2]),
  purpose: "assistants",
});
const store = await client.vectorStores.create({ name: "node" });
const attached = await client.vectorStores.files.createAndPoll(
  store.id,
  { file_id: file.id },
  { pollIntervalMs: 100 },
);
told.status = attached.status;
told.lastError = attached.last_error;

const question = "When does the clock tower strike thirteen?";
for await (const result of client.vectorStores.search(store.id, { query: question })) {
  told.found ??= result.filename;
}

const chunks = await client.chat.completions.create({
  model: "genserve",
  messages: [{ role: "user", content: question }],
  temperature: 0,
  max_tokens: 30,
  stream: true,
  stream_options: { include_usage: true },
  context: { collection: store.id, web: false },
});
told.text = "";
for await (const chunk of chunks) {
  told.sources ??= chunk.sources;
  told.text += chunk.choices[0]?.delta?.content ?? "";
  told.usage = chunk.usage ?? null;
}

const tools = [{ type: "file_search", vector_store_ids: [store.id] }];
const response = await client.responses.create({
  model: "genserve",
  input: question,
  tools,
  include: ["file_search_call.results"],
  temperature: 0,
  max_output_tokens: 30,
});
told.searched = response.output.find((item) => item.type === "file_search_call").results;
told.responseText = response.output_text;
told.deltas = [];
for await (const event of client.responses.stream({
  model: "genserve",
  input: question,
  tools,
  temperature: 0,
  max_output_tokens: 30,
})) {
  if (event.type === "response.output_text.delta") told.deltas.push(event.delta);
}

// The first comes as base64, which the SDK takes for itself when no form is named.
const embed = async (form) =>
  (await client.embeddings.create({ model: TEST_EMBEDDER, input: ["Snow is white."], ...form }))
    .data[0].embedding;
const vector = await embed({});
const plain = await embed({ encoding_format: "float" });
told.dimensions = vector.length;
told.norm = Math.hypot(...vector);
told.difference = Math.max(...vector.map((number, place) => Math.abs(number - plain[place])));

try {
  await client.models.retrieve("gpt-9");
} catch (error) {
  told.unknown = error.constructor.name;
}
told.deleted =
  (await client.vectorStores.delete(store.id)).deleted && (await client.files.delete(file.id)).deleted;
console.log(JSON.stringify(told));
