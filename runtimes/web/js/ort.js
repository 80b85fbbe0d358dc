// onnxruntime-web behind the engine's face: for WebGPU, and to compare with.

import { AttncError } from "./errors.js";

const MODULES = { webgpu: "ort.webgpu.min.mjs", "ort-wasm": "ort.wasm.min.mjs" };

/**
 * @param {object} options
 * @param {string} options.model address of an .onnx file
 * @param {string} options.runtime folder with onnxruntime-web's files
 * @param {"webgpu"|"ort-wasm"} options.backend
 * @param {number} options.threads of WebAssembly
 */
export async function openOrt({ model, runtime, backend, threads = 1 }) {
  if (backend === "webgpu" && !(await adapter()))
    throw new AttncError("no-webgpu", "This browser or its graphics card has no WebGPU.");
  const ort = await import(new URL(MODULES[backend], runtime).href);
  ort.env.wasm.numThreads = globalThis.crossOriginIsolated ? threads : 1;
  ort.env.wasm.wasmPaths = runtime;
  const provider = backend === "webgpu" ? "webgpu" : "wasm";
  const session = await ort.InferenceSession.create(model, { executionProviders: [provider] });
  return new OrtEngine(ort, session, backend, ort.env.wasm.numThreads);
}

async function adapter() {
  return navigator.gpu ? navigator.gpu.requestAdapter() : null;
}

class OrtEngine {
  constructor(ort, session, backend, threads) {
    Object.assign(this, { ort, session, backend, threads });
  }

  describe() {
    return { backend: this.backend, simd: "", threads: this.threads };
  }

  /** Inputs by name, of the shapes that the session says. */
  async run(inputs) {
    const feeds = {};
    for (const [index, name] of this.session.inputNames.entries()) {
      const { shape } = this.session.inputMetadata[index];
      feeds[name] = new this.ort.Tensor("float32", inputs[name], shape);
    }
    const begin = performance.now();
    const results = await this.session.run(feeds);
    const outputs = {};
    for (const [name, tensor] of Object.entries(results))
      outputs[name] = { dims: tensor.dims, data: await tensor.getData() };
    return { outputs, views: {}, milliseconds: performance.now() - begin };
  }

  async close() {
    await this.session.release();
  }
}
