// The WebAssembly engine in a worker of its own, so that a page stays responsive while it computes.

import { AttncError } from "./errors.js";

/**
 * @param {object} options
 * @param {string} options.base address of the bundle's folder `web/`, with a slash at its end
 * @param {number} options.threads by default as many as there are processors, at most 4; one where
 *   the page is not cross-origin isolated
 * @param {(share: number) => void} options.onProgress of loading, from 0 to 1
 * @returns {Promise<Engine>}
 * @throws {AttncError} "no-wasm-simd", "network", "bad-bundle", "out-of-memory"
 */
export async function openEngine({ base, threads, onProgress }) {
  const root = new URL(base, globalThis.location.href).href;
  const worker = new Worker(new URL("engine-worker.js", root), { type: "module" });
  const engine = new Engine(worker, onProgress);
  engine.described = await engine.ask("open", { base: root, threads: threadsFor(threads) });
  return engine;
}

function threadsFor(wanted) {
  if (!globalThis.crossOriginIsolated) return 1;
  return Math.max(1, wanted ?? Math.min(navigator.hardwareConcurrency || 1, 4));
}

class Engine {
  constructor(worker, onProgress) {
    this.worker = worker;
    this.waiting = new Map();
    this.next = 0;
    worker.onmessage = ({ data }) => {
      if (data.progress !== undefined) return onProgress?.(data.progress);
      const { resolve, reject } = this.waiting.get(data.id);
      this.waiting.delete(data.id);
      if (data.error) reject(new AttncError(data.error.code, data.error.message));
      else resolve(data.result);
    };
    worker.onerror = (event) => {
      const error = new AttncError("network", event.message || "The engine could not be loaded.");
      for (const { reject } of this.waiting.values()) reject(error);
      this.waiting.clear();
    };
  }

  /** {backend: "wasm", simd: "relaxed" | "simd", threads} */
  describe() {
    return this.described;
  }

  /**
   * @param {Object<string, Float32Array>} inputs
   * @returns {Promise<{outputs: object, views: object, milliseconds: number}>} arrays by name, as
   *   {dims, data}
   */
  run(inputs) {
    return this.ask("run", { inputs });
  }

  /** Milliseconds of each operator in one run: [{operator, milliseconds}]. */
  times(inputs) {
    return this.ask("times", { inputs });
  }

  async close() {
    await this.ask("close", {});
    this.worker.terminate();
  }

  ask(what, given) {
    const id = this.next++;
    return new Promise((resolve, reject) => {
      this.waiting.set(id, { resolve, reject });
      this.worker.postMessage({ id, what, ...given });
    });
  }
}
