// Starts an engine, whose name is this worker's name, and tells the page how far the program is on
// its way. What goes wrong outside of Rust's sight is told too; the page starts another worker.
const name = self.name;
const tell = (reply) => self.postMessage([JSON.stringify(reply)]);
const crashed = (error) => tell({ reply: "crashed", message: String(error?.message ?? error) });

self.addEventListener("error", (event) => crashed(event.error ?? event.message));
self.addEventListener("unhandledrejection", (event) => crashed(event.reason));

// Asked for before the module that holds the glue, so that both arrive together.
const program = fetch(new URL(`./${name}_bg.wasm`, import.meta.url));
const { default: init } = await import(`./${name}.js`);

const response = await program;
if (!response.ok) throw new Error(`${response.url}: HTTP ${response.status}`);
// A compressed program's length says nothing of the bytes that will be seen here.
const length = Number(response.headers.get("content-length"));
const total = response.headers.get("content-encoding") || !length ? null : length;
let loaded = 0;
let told = 0;
const counted = response.body.pipeThrough(
  new TransformStream({
    transform(chunk, out) {
      loaded += chunk.byteLength;
      if (loaded - told > 65536) {
        told = loaded;
        tell({ reply: "fetching", loaded, total });
      }
      out.enqueue(chunk);
    },
    flush: () => tell({ reply: "compiling" }),
  }),
);
const headers = { "content-type": "application/wasm" };
await init({ module_or_path: new Response(counted, { headers }) });
