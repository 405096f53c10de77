// Vercel's AI SDK: @ai-sdk/openai by default (Responses), and @ai-sdk/openai-compatible.
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { embed, generateText, Output, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";

const { TEST_URL, TEST_KEY, TEST_MODEL, TEST_EMBEDDER, TEST_STORE } = process.env;
const CAPITAL = "Name the capital of France.";
const QUESTION = "What does the lighthouse of Skarn burn?";
const Place = z.object({ city: z.enum(["Paris", "Oslo"]), is_capital: z.boolean() });
const told = { compatible: {}, responses: {} };

const compatible = createOpenAICompatible({
  name: "genserve",
  baseURL: TEST_URL,
  apiKey: TEST_KEY,
  includeUsage: true,
  supportsStructuredOutputs: true,
});
const openai = createOpenAI({ baseURL: TEST_URL, apiKey: TEST_KEY });
const common = { maxRetries: 0, temperature: 0 };

async function streamed(settings) {
  const result = streamText({ ...common, ...settings, onError: ({ error }) => { throw error; } });
  const pieces = [];
  for await (const piece of result.textStream) pieces.push(piece);
  return { pieces, usage: await result.usage, finish: await result.finishReason };
}

async function forecast(model) {
  const asked = [];
  const weather = tool({
    description: "The weather in a city.",
    inputSchema: z.object({ city: z.enum(["Paris", "Oslo"]) }),
    execute: ({ city }) => {
      asked.push(city);
      return `In ${city} it is sunny, with 21 degrees.`;
    },
  });
  await generateText({
    ...common,
    model,
    prompt: "How is the weather in Paris?",
    tools: { weather },
    prepareStep: ({ stepNumber }) => ({ toolChoice: stepNumber ? "none" : "required" }),
    stopWhen: stepCountIs(2),
    maxOutputTokens: 200,
  });
  return asked;
}

async function place(model) {
  const { output } = await generateText({
    ...common, model, prompt: CAPITAL, output: Output.object({ schema: Place }), maxOutputTokens: 200,
  });
  return output;
}

const only = process.argv[2];
if (only !== "responses") {
  told.compatible = {
    bare: (await generateText({ ...common, model: compatible(TEST_MODEL), prompt: CAPITAL, maxOutputTokens: 40 })).text,
    grounded: await streamed({
      model: compatible("genserve"),
      prompt: QUESTION,
      maxOutputTokens: 60,
      providerOptions: { genserve: { context: { collection: TEST_STORE, web: false } } },
    }),
    asked: await forecast(compatible(TEST_MODEL)),
    place: await place(compatible(TEST_MODEL)),
    dimensions: (await embed({ model: compatible.embeddingModel(TEST_EMBEDDER), value: QUESTION })).embedding.length,
  };
}
if (only !== "compatible") {
  const tools = { file_search: openai.tools.fileSearch({ vectorStoreIds: [TEST_STORE] }) };
  const found = await generateText({
    ...common,
    model: openai("genserve"),
    prompt: QUESTION,
    tools,
    maxOutputTokens: 100,
    providerOptions: { openai: { include: ["file_search_call.results"] } },
  });
  told.responses = {
    bare: (await generateText({ ...common, model: openai(TEST_MODEL), prompt: CAPITAL, maxOutputTokens: 40 })).text,
    text: found.text,
    sources: found.sources,
    results: found.toolResults.flatMap((result) => result.output.results),
    grounded: await streamed({ model: openai("genserve"), prompt: QUESTION, tools, maxOutputTokens: 60 }),
    asked: await forecast(openai(TEST_MODEL)),
    place: await place(openai(TEST_MODEL)),
    dimensions: (await embed({ model: openai.embeddingModel(TEST_EMBEDDER), value: QUESTION })).embedding.length,
  };
}
console.log(JSON.stringify(told));
