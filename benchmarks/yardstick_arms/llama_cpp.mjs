// llama.cpp, by node-llama-cpp's prebuilt library for this processor: a sequence for each prompt, batched by it, so that a
// prompt is computed once: its samples come one after another.
// The protocol of serving.py; the second argument is the GGUF file.
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { dirname, join } from "node:path";
import { pathToFileURL } from "node:url";

const [jobFile, ggufFile] = process.argv.slice(2);
const job = JSON.parse(readFileSync(jobFile, "utf8"));
// The environment is the folder that this script's interpreter was started from: .venv-llama/bin/node.
const modules = join(dirname(process.argv0), "..", "node_modules", "node-llama-cpp");
const { getLlama } = await import(pathToFileURL(join(modules, "dist", "index.js")));
const { version } = JSON.parse(readFileSync(join(modules, "package.json"), "utf8"));

const llama = await getLlama({ gpu: false, build: "never", progressLogs: false });
const model = await llama.loadModel({ modelPath: ggufFile, gpuLayers: 0 });
const context = await model.createContext({
  sequences: job.problems, contextSize: job.max_length, batchSize: 512, threads: job.threads, flashAttention: true,
});

async function complete(prompt, tokens) {
  const sequence = context.getSequence();
  const settings = { temperature: job.temperature, topK: 0, topP: 1, minP: 0, yieldEogToken: true };
  let made = 0;
  for (let turn = 1; turn <= job.samples; turn++) {
    await sequence.adaptStateToTokens(prompt.slice(0, -1), false);
    const rest = prompt.slice(sequence.nextTokenIndex);
    for await (const _ of sequence.evaluate(rest, settings)) if (++made === turn * tokens) break;
  }
  sequence.dispose();
  return made;
}

async function sample(prompts, tokens) {
  const each = await Promise.all(prompts.map((prompt) => complete(prompt, tokens)));
  return each.reduce((sum, made) => sum + made, 0);
}

const tell = (found) => console.log("\nYARDSTICK " + JSON.stringify(found));

let next = job.warm_up;
await sample(job.prompts.slice(0, next), job.warm_up_tokens);
tell({ versions: { "node-llama-cpp": version, "llama.cpp": llama.llamaCppRelease.release } });
for await (const _ of createInterface({ input: process.stdin })) {
  const prompts = job.prompts.slice(next, (next += job.problems));
  const started = performance.now();
  const tokens = await sample(prompts, job.tokens);
  tell({ tokens, seconds: (performance.now() - started) / 1000 });
}
process.exit(0);
