// Holds the engine's memory, runs programs in it, and keeps helpers for more threads.

import { hasRelaxedSimd, hasSimd } from "./features.js";

const PAGE = 65536;
const STACK = 262144; // bytes of a helper's stack
const SPARE = 2048; // pages by which a shared memory may grow: scratch of the kernels
const ARRAYS = { float32: Float32Array, int64: BigInt64Array, int32: Int32Array, bool: Uint8Array };

const aligned = (count) => Math.ceil(count / 64) * 64;

function problem(code, message) {
  return Object.assign(new Error(message), { code });
}

let state = null;

async function load(address, done) {
  const answer = await fetch(address).catch(() => null);
  if (!answer || !answer.ok) throw problem("network", `Could not load ${address}.`);
  const size = Number(answer.headers.get("Content-Length"));
  if (!answer.body || !size) return new Uint8Array(await answer.arrayBuffer());
  let bytes = new Uint8Array(size);
  let at = 0;
  for (const reader = answer.body.getReader(); ; ) {
    const part = await reader.read();
    if (part.done) break;
    if (at + part.value.length > bytes.length) {
      const larger = new Uint8Array(2 * (at + part.value.length)); // sent compressed
      larger.set(bytes.subarray(0, at));
      bytes = larger;
    }
    bytes.set(part.value, at);
    at += part.value.length;
    done(Math.min(1, at / size));
  }
  return bytes.subarray(0, at);
}

function newMemory(pages, shared) {
  try {
    return shared
      ? new WebAssembly.Memory({ initial: pages, maximum: pages + SPARE, shared: true })
      : new WebAssembly.Memory({ initial: pages });
  } catch {
    throw problem("out-of-memory", `The model needs ${Math.ceil(pages / 16)} MB of memory.`);
  }
}

// A file that was cut off on its way would be read as zeros.
function checkSizes(program, weights) {
  const words = new DataView(program.buffer, program.byteOffset, program.length);
  const [count, text, file] = [2, 3, 10].map((at) => (program.length < 64 ? -1 : words.getUint32(4 * at, true)));
  if (count * 4 + text !== program.length || file !== weights.length)
    throw problem("bad-bundle", "The program and its weights do not have the sizes that they should.");
}

async function open({ base, threads }) {
  if (!hasSimd())
    throw problem("no-wasm-simd", "This browser's WebAssembly has no SIMD. Please update it.");
  const simd = hasRelaxedSimd() ? "relaxed" : "simd";
  const engine = `engine-${simd}${threads > 1 ? "-threads" : ""}.wasm`;
  const [plan, code, program] = await Promise.all([
    load(new URL("plan.json", base), () => {}).then((json) => JSON.parse(new TextDecoder().decode(json))),
    load(new URL(engine, base), () => {}),
    load(new URL("program.bin", base), () => {}),
  ]);
  const weights = await load(new URL(plan.weights, base), (progress) => postMessage({ progress }));
  checkSizes(program, weights);
  const module = await WebAssembly.compile(code);
  const room = plan.memory.arena + plan.memory.weights + weights.length + program.length;
  const pages = Math.ceil((room + threads * STACK) / PAGE) + 128;
  const memory = newMemory(pages, threads > 1);
  const { exports } = await WebAssembly.instantiate(module, { env: { memory } });
  const stacks = aligned(exports.__heap_base.value);
  const at = { program: stacks + (threads - 1) * STACK };
  at.weights = aligned(at.program + program.length);
  at.arena = aligned(at.weights + plan.memory.weights);
  at.file = aligned(at.arena + plan.memory.arena);
  const bytes = new Uint8Array(memory.buffer);
  bytes.set(program, at.program);
  bytes.set(weights, at.file);
  state = { plan, memory, exports, helpers: [] };
  check(exports.attnc_load(at.program, at.file, at.weights, at.arena, aligned(at.file + weights.length)));
  await addHelpers(module, memory, stacks, threads, base);
  return { backend: "wasm", simd, threads };
}

async function addHelpers(module, memory, stacks, threads, base) {
  for (let i = 1; i < threads; ++i) {
    const helper = new Worker(new URL("engine-helper.js", base), { type: "module" });
    await new Promise((resolve, reject) => {
      helper.onmessage = resolve;
      helper.onerror = () => reject(problem("network", "A helper of the engine did not start."));
      helper.postMessage({ module, memory, stack: stacks + i * STACK });
    });
    state.helpers.push(helper);
  }
  state.exports.attnc_set_threads(threads);
}

function check(status) {
  if (!status) return;
  const from = state.exports.attnc_error();
  const bytes = new Uint8Array(state.memory.buffer);
  const text = bytes.slice(from, bytes.indexOf(0, from));
  throw problem("bad-bundle", `The engine stopped: ${new TextDecoder().decode(text)}`);
}

function view(port) {
  const length = port.shape.reduce((a, b) => a * b, 1);
  const from = state.exports.attnc_tensor(port.tensor);
  return new ARRAYS[port.dtype](state.memory.buffer, from, length);
}

function put(inputs) {
  for (const port of state.plan.inputs) {
    const array = inputs[port.name];
    const target = view(port);
    if (!array || array.length !== target.length)
      throw problem("bad-input", `Input ${port.name} needs ${target.length} numbers.`);
    target.set(array);
  }
}

const taken = (ports) =>
  Object.fromEntries(ports.map((port) => [port.name, { dims: port.shape, data: view(port).slice() }]));

function run({ inputs }) {
  const begin = performance.now();
  put(inputs);
  check(state.exports.attnc_run());
  const outputs = taken(state.plan.outputs);
  const milliseconds = performance.now() - begin;
  return { outputs, views: taken(state.plan.views), milliseconds };
}

function text(from) {
  const bytes = new Uint8Array(state.memory.buffer);
  return new TextDecoder().decode(bytes.slice(from, bytes.indexOf(0, from)));
}

function times({ inputs }) {
  put(inputs);
  const found = [];
  for (let i = 0; i < state.exports.attnc_steps(); ++i) {
    const begin = performance.now();
    check(state.exports.attnc_run_step(i));
    const milliseconds = performance.now() - begin;
    found.push({ operator: text(state.exports.attnc_step_name(i)), milliseconds });
  }
  return found;
}

function close() {
  state.exports.attnc_quit?.();
  for (const helper of state.helpers) helper.terminate();
  state = null;
}

const actions = { open, run, times, close };

onmessage = async ({ data }) => {
  try {
    postMessage({ id: data.id, result: await actions[data.what](data) });
  } catch (error) {
    const said = { code: error.code ?? "bad-bundle", message: error.message };
    postMessage({ id: data.id, error: said });
  }
};
