// Redraws the pictures that the page shows before its model is there, with the built page and each of
// its own models: a mean image of each class, and one dream. `node prepare.mjs`
import { writeFile } from "node:fs/promises";
import { chromium } from "@playwright/test";
import config from "./playwright.config.mjs";
import { serve } from "./serve.mjs";

const server = await serve(0);
const browser = await chromium.launch(config.use.launchOptions);
for (const model of ["cifar-10", "fashion-mnist"]) {
  const page = await browser.newPage();
  await page.goto(`http://127.0.0.1:${server.address().port}/#engine=cpu&model=${model}`);
  await page.waitForSelector('.stage[data-phase="Finished"]', { timeout: 120_000 });
  const draw = (selector) =>
    page.locator(selector).evaluateAll((canvases) => canvases.map((canvas) => canvas.toDataURL("image/png")));
  const save = (name, url) => {
    const file = new URL(`../../static/samples/${model}/${name}.png`, import.meta.url);
    return writeFile(file, Buffer.from(url.split(",")[1], "base64"));
  };
  await save("dream", (await draw(".stage canvas"))[0]);
  for (const [i, url] of (await draw(".chips canvas")).entries()) await save(`class-${i}`, url);
  await page.close();
}
await browser.close();
server.close();
