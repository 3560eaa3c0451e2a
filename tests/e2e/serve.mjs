// Serves dist/, the fixtures and the examples on 127.0.0.1, as any static host would: `node serve.mjs [port]`.
import { createServer } from "node:http";
import { readFile } from "node:fs/promises";
import { extname, join, normalize } from "node:path";
import { fileURLToPath } from "node:url";

const here = fileURLToPath(new URL(".", import.meta.url));
export const dist = process.env.BASIN_DIST ?? join(here, "../../dist");
const types = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".css": "text/css; charset=utf-8",
  ".wasm": "application/wasm",
  ".svg": "image/svg+xml",
  ".png": "image/png",
  ".webmanifest": "application/manifest+json",
};

// Where the file at a path lies.
function place(path, fixtures) {
  if (path.startsWith("/fixtures/")) return join(fixtures, path.slice("/fixtures/".length));
  if (path.startsWith("/examples/")) return join(here, "../..", path);
  return join(dist, path === "/" ? "index.html" : path);
}

// `fixtures` is the folder behind /fixtures/; `altered` may change the text of a file by its path.
export function serve(port, fixtures = join(here, "fixtures"), altered = {}) {
  const server = createServer(async (request, response) => {
    const path = normalize(decodeURIComponent(new URL(request.url, "http://here").pathname));
    const file = place(path, fixtures);
    try {
      const found = await readFile(file);
      const body = path in altered ? Buffer.from(altered[path](found.toString())) : found;
      const type = types[extname(file)] ?? "application/octet-stream";
      response.writeHead(200, {
        "content-type": type,
        "content-length": body.length,
        "cache-control": "no-store",
      });
      response.end(body);
    } catch {
      response.writeHead(404, { "content-type": "text/plain" });
      response.end("not found\n");
    }
  });
  return new Promise((resolve) => server.listen(port, "127.0.0.1", () => resolve(server)));
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const port = Number(process.argv[2] ?? 4173);
  await serve(port);
  console.log(`http://127.0.0.1:${port}/`);
}
