// Starts the page. A file of its own, as the content security policy refuses inline scripts. What keeps the page from
// starting is said in plain HTML; that this file itself is missing, by what stands in index.html.
const waiting = document.getElementById("waiting");
const say = (sentence) => {
  waiting.textContent = sentence;
  waiting.className = "sorry";
};

// In another page's frame there is the stage alone; where a link asks for something else than a dream, the picture of one
// would only be in the way.
if (/[?&]embed=1(&|$)/.test(location.search)) document.documentElement.dataset.embedded = "";
if (/tab=(?!dream)/.test(location.hash)) document.getElementById("first")?.remove();

try {
  if (typeof WebAssembly !== "object") {
    say("Basin computes with WebAssembly, which this browser does not have or has turned off, as Lockdown Mode does.");
  } else {
    // Page and workers look for their programs where this one lies.
    document.documentElement.dataset.programs = new URL(".", import.meta.url);
    const { default: init } = await import("./basin-web.js");
    await init({ module_or_path: new URL("./basin-web_bg.wasm", import.meta.url) });
    waiting.remove();
    // The page is told of a version that takes over at the next load, and when it has time to spare, models are kept.
    if (navigator.serviceWorker) {
      const controlled = navigator.serviceWorker.controller !== null;
      navigator.serviceWorker.addEventListener("controllerchange", () => {
        if (controlled) dispatchEvent(new Event("basin-version"));
      });
      const page = new URL("../", import.meta.url);
      // What is kept for later waits until the page has all that it needs now.
      await new Promise((ready) => addEventListener("basin-ready", ready, { once: true }));
      navigator.serviceWorker
        .register(new URL("offline.js", page), { scope: page.pathname })
        .then(() => navigator.serviceWorker.ready)
        .then(({ active }) => {
          if (!navigator.connection?.saveData) setTimeout(() => active.postMessage("models"), 5000);
        })
        // A browser that lets no page do so works as before.
        .catch(() => {});
    }
  }
} catch (error) {
  // Missing, cut short, or not of the version that the rest is of.
  const why = String(error?.message ?? error);
  say(`A part of this page did not arrive whole, or is of another version than the rest (${why}). Reload the page.`);
}
