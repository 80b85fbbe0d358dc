// One more thread of the engine: waits in WebAssembly for tasks until it is told to quit.

onmessage = async ({ data }) => {
  const { module, memory, stack } = data;
  const { exports } = await WebAssembly.instantiate(module, { env: { memory } });
  exports.__stack_pointer.value = stack;
  postMessage("ready");
  exports.attnc_worker();
};
