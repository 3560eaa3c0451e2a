// A service worker: a second visit begins with what the first one left behind, and needs no network. What belongs to
// one version of the page lies in one cache; the build writes the two constants.
const VERSION = "";
const FILES = [];

const cached = `basin-${VERSION}`;
const here = (path) => new URL(path, self.location).href;
const isModel = (path) => path.startsWith("models/");

// The page and its programs come first; models when the page has found time for them.
self.addEventListener("install", (event) => {
  const shell = FILES.filter((path) => !isModel(path)).map(here);
  // As they are now: another version's may be in the browser's own cache.
  const requests = shell.map((url) => new Request(url, { cache: "no-cache" }));
  event.waitUntil(caches.open(cached).then((cache) => cache.addAll(requests)));
  // The page that is open goes on with its programs, which are in a folder of their own; the next load is of this version.
  self.skipWaiting();
});

self.addEventListener("message", (event) => {
  if (event.data !== "models") return;
  const keep = async () => {
    const cache = await caches.open(cached);
    for (const url of FILES.filter(isModel).map(here)) {
      if (!(await cache.match(url))) await cache.add(new Request(url, { cache: "no-cache" }));
    }
  };
  event.waitUntil(keep().catch(() => {}));
});

// The version before may still be open somewhere, those before it are not.
self.addEventListener("activate", (event) => {
  const tidy = async () => {
    const names = (await caches.keys()).filter((name) => name.startsWith("basin-") && name !== cached);
    await Promise.all(names.slice(0, -1).map((name) => caches.delete(name)));
    await self.clients.claim();
  };
  event.waitUntil(tidy());
});

async function answer(request, page) {
  const cache = await caches.open(cached);
  // Whatever a page is asked behind its address, it is the same page.
  const options = { ignoreSearch: request.mode === "navigate" };
  const found = page
    ? await cache.match(here("index.html"))
    : ((await cache.match(request, options)) ?? (await caches.match(request, options)));
  if (found) return found;
  const response = await fetch(request);
  // A model that the visitor uses is kept at once.
  const path = request.url.slice(here("./").length);
  if (response.ok && FILES.includes(path)) await cache.put(request, response.clone());
  return response;
}

self.addEventListener("fetch", (event) => {
  const { request } = event;
  const ours = request.url.startsWith(here("./"));
  const page = request.mode === "navigate" && new URL(request.url).pathname === new URL(here("./")).pathname;
  const path = request.url.slice(here("./").length).split(/[?#]/)[0];
  // Programs of the version before are in no list any more.
  if (request.method === "GET" && ours && (page || FILES.includes(path) || path.startsWith("programs-"))) {
    event.respondWith(answer(request, page));
  }
});
