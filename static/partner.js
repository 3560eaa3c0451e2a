// Starts a further worker of an engine's program, whose name is this worker's name. The worker that
// started this one sends the compiled program, so that it is neither fetched nor compiled again.
const crashed = (error) =>
  self.postMessage([JSON.stringify({ reply: "crashed", message: String(error?.message ?? error) })]);

self.addEventListener("unhandledrejection", (event) => crashed(event.reason));
try {
  const program = await new Promise((resolve) => (self.onmessage = (event) => resolve(event.data)));
  const { default: init } = await import(`./${self.name}.js`);
  await init({ module_or_path: program });
} catch (error) {
  crashed(error);
}
