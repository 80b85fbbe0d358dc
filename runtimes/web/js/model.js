// A bundle in a page: open it once, then classify pictures.
//
//   const model = await openModel({ base: "model/web/" });
//   const { labels, milliseconds } = await model.classify(file);

import { openEngine } from "./engine.js";
import { AttncError } from "./errors.js";
import { decode } from "./picture.js";
import { fit, normalise } from "./preprocess.js";

/**
 * @param {object} options
 * @param {string} options.base address of the bundle's folder `web/`
 * @param {"engine"|"webgpu"|"ort-wasm"} options.backend
 * @param {number} options.threads
 * @param {string} options.runtime folder with onnxruntime-web, for the two backends that need it
 * @param {(share: number) => void} options.onProgress of loading, from 0 to 1
 */
export async function openModel({ base, backend = "engine", threads, runtime, onProgress }) {
  const root = new URL(base, globalThis.location.href).href;
  const plan = await readPlan(new URL("plan.json", root));
  if (backend === "engine")
    return new Model(plan, await openEngine({ base: root, threads, onProgress }));
  const { openOrt } = await import("./ort.js");
  const model = new URL("../model.onnx", root).href;
  const place = new URL(runtime ?? "../../ort/", root).href;
  return new Model(plan, await openOrt({ model, runtime: place, backend, threads }));
}

async function readPlan(address) {
  const answer = await fetch(address).catch(() => null);
  if (!answer || !answer.ok)
    throw new AttncError("network", `The model could not be loaded from ${address}.`);
  const plan = await answer.json();
  if (plan.format !== "attnc-web" || plan.version !== 1)
    throw new AttncError("bad-bundle", `${address} is not a plan that this page reads.`);
  return plan;
}

class Model {
  constructor(plan, engine) {
    this.plan = plan;
    this.engine = engine;
  }

  /** `backend`, `simd` and `threads` that the model runs on. */
  describe() {
    return this.engine.describe();
  }

  /** Logits of an array of the input's shape. */
  async run(array) {
    const result = await this.engine.run({ [this.plan.inputs[0].name]: array });
    return { ...result, logits: result.outputs[this.plan.outputs[0].name].data };
  }

  /**
   * The best classes of a picture: a file, an image, a canvas, a frame of a video.
   *
   * @returns labels [{index, name, score}], what the model saw, `milliseconds` of the model and
   *   `preparation` of the picture, and the views by name
   */
  async classify(source, { top = 5 } = {}) {
    const rule = this.plan.preprocessing;
    if (!rule)
      throw new AttncError("no-preprocessing", "The bundle does not say how pictures are prepared.");
    const begin = performance.now();
    const seen = fit(await decode(source), rule);
    const array = normalise(seen, rule);
    const preparation = performance.now() - begin;
    const { logits, views, milliseconds } = await this.run(array);
    const labels = best(logits, top).map(({ index, score }) => ({
      index,
      score,
      name: this.plan.labels?.[index] ?? `class ${index}`,
    }));
    return { labels, seen, views, milliseconds, preparation };
  }

  close() {
    return this.engine.close();
  }
}

/** The largest of some logits, with their share of the softmax. */
export function best(logits, top) {
  const largest = logits.reduce((a, b) => Math.max(a, b), -Infinity);
  const total = logits.reduce((sum, value) => sum + Math.exp(value - largest), 0);
  return Array.from(logits, (value, index) => ({ index, score: Math.exp(value - largest) / total }))
    .sort((a, b) => b.score - a.score || a.index - b.index)
    .slice(0, top);
}
