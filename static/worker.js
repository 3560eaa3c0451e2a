// Starts an engine, whose name is this worker's name, and tells the page how far the program is on
// its way. What goes wrong outside of Rust's sight is told too; the page starts another worker, unless there is no
// program to start.

// A module that browsers with relaxed SIMD find valid: one function, one f32x4.relaxed_madd.
const relaxed = new Uint8Array([
  0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 19, 1, 17, 0, 65, 0, 253, 15, 65, 0, 253, 15, 65,
  0, 253, 15, 253, 133, 2, 11,
]);
// Bytes of each program; the build writes them.
const LENGTHS = {};
const name = self.name === "basin-cpu" && WebAssembly.validate(relaxed) ? "basin-cpu-relaxed" : self.name;
const tell = (reply) => self.postMessage([JSON.stringify(reply)]);
const said = (error) => String(error?.message ?? error);

self.addEventListener("error", (event) => tell({ reply: "crashed", message: said(event.error ?? event.message) }));
self.addEventListener("unhandledrejection", (event) => tell({ reply: "crashed", message: said(event.reason) }));

try {
  // Asked for before the module that holds the glue, so that both arrive together.
  const program = fetch(new URL(`./${name}_bg.wasm`, import.meta.url));
  const [response, { default: init }] = await Promise.all([program, import(`./${name}.js`)]);
  if (!response.ok) throw new Error(`${response.url}: HTTP ${response.status}`);
  const total = LENGTHS[name] ?? null;
  let loaded = 0;
  let told = 0;
  const counted = response.body.pipeThrough(
    new TransformStream({
      transform(chunk, out) {
        loaded += chunk.byteLength;
        if (loaded - told > 65536) {
          told = loaded;
          tell({ reply: "fetching", loaded, total: total >= loaded ? total : null });
        }
        out.enqueue(chunk);
      },
      flush: () => tell({ reply: "compiling" }),
    }),
  );
  const headers = { "content-type": "application/wasm" };
  await init({ module_or_path: new Response(counted, { headers }) });
} catch (error) {
  tell({ reply: "not_started", message: said(error) });
}
