// Starts the page. A file of its own, as the content security policy refuses inline scripts.
import init from "./basin-web.js";

await init({ module_or_path: new URL("./basin-web_bg.wasm", import.meta.url) });
