// Times the engine and onnxruntime-web in one page, in turn.

import { openEngine } from "./engine.js";
import { openOrt } from "./ort.js";

const rest = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

/**
 * @param {object} plan
 * @param {string} plan.base address of the bundle's folder `web/`
 * @param {Object<string, string>} plan.models addresses of .onnx files by the runner's name
 * @param {string} plan.runtime folder with onnxruntime-web
 * @param {number} plan.threads
 * @param {number} plan.rounds turns of each runner
 * @param {number} plan.burst samples of a turn, after `leadIn` that do not count
 * @param {string} plan.input its name, and `shape`
 * @returns milliseconds as a page sees them (message to the worker included), outputs of the last
 *   turn, and what the engine says of itself
 */
export async function bench({ base, models, runtime, threads, rounds, burst, leadIn, input, shape }) {
  const length = shape.reduce((a, b) => a * b, 1);
  const array = Float32Array.from({ length }, (_, i) => Math.sin(i * 0.37));
  const begin = performance.now();
  const engines = { attnc: await openEngine({ base, threads }) };
  const ready = performance.now() - begin;
  for (const [name, model] of Object.entries(models))
    engines[name] = await openOrt({ model, runtime, backend: "ort-wasm", threads });
  const samples = Object.fromEntries(Object.keys(engines).map((name) => [name, []]));
  const outputs = {};
  for (let round = 0; round < rounds; ++round)
    for (const [name, engine] of Object.entries(engines)) {
      await rest(50); // other runtimes' threads wait awake for a while
      for (let i = 0; i < leadIn + burst; ++i) {
        const start = performance.now();
        const result = await engine.run({ [input]: array });
        const taken = performance.now() - start;
        if (i >= leadIn) samples[name].push(taken);
        outputs[name] = Array.from(Object.values(result.outputs)[0].data);
      }
    }
  const described = engines.attnc.describe();
  for (const engine of Object.values(engines)) await engine.close();
  return { samples, outputs, ready, described };
}
