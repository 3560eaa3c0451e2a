// Redraws the pictures that stand where something of the page's will move, with the built page and each of its own models:
// those that the page shows before its model is there, a mean image of each class and one dream; and the stills of the
// lesson's figures, and the card that other sites show of a link. `node prepare.mjs`, or of the card alone
// `node prepare.mjs card`
import { mkdir, writeFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { chromium } from "@playwright/test";
import config from "./playwright.config.mjs";
import { serve } from "./serve.mjs";

// The lesson's stills: how many of the stage's pictures stand side by side, and of a still that shows a chain, after which
// steps.
const STILLS = {
  "learn/classes.png": { columns: 5 },
  "learn/steps.png": { columns: 6, steps: [0, 3, 8, 15, 30, 56] },
  "learn/noisy.png": { columns: 2 },
  "learn/attack.png": { columns: 2, downward: true },
  "learn/robust.png": { columns: 2, downward: true },
};

const server = await serve(0);
const browser = await chromium.launch(config.use.launchOptions);
const origin = `http://127.0.0.1:${server.address().port}`;
const place = (path) => new URL(`../../static/${path}`, import.meta.url);
const save = (path, url) => writeFile(place(path), Buffer.from(url.split(",")[1], "base64"));

async function finished(hash) {
  const page = await browser.newPage();
  await page.goto(`${origin}/#engine=cpu&${hash}`);
  await page.waitForSelector('.stage[data-phase="Finished"]', { timeout: 120_000 });
  return page;
}
const drawn = (page, selector) =>
  page.locator(selector).evaluateAll((canvases) => canvases.map((canvas) => canvas.toDataURL("image/png")));

// Ten dreams, one of each class, under the page's name.
async function card() {
  const page = await finished("model=cifar-10&class=all");
  const dreams = await drawn(page, ".stage canvas");
  await page.close();
  const sheet = await browser.newPage({ viewport: { width: 1200, height: 630 } });
  await sheet.setContent(`<style>
      body { margin: 0; padding: 44px 48px; background: #fbfaf7; color: #1b1d22; font-family: system-ui, sans-serif; }
      p { display: flex; align-items: baseline; gap: 28px; margin: 0 0 28px; font-size: 40px; color: #5b5f66; }
      b { font-size: 72px; color: #1b1d22; }
      div { display: grid; grid-template-columns: repeat(5, 208px); gap: 16px; }
      img { width: 208px; height: 208px; image-rendering: pixelated; }
    </style>
    <p><b>Basin</b>a classifier, dreaming</p>
    <div>${dreams.map((src) => `<img src="${src}">`).join("")}</div>`);
  await sheet.locator("img").last().evaluate((image) => image.decode());
  await sheet.screenshot({ path: fileURLToPath(place("card.png")) });
  await sheet.close();
}
await card();
if (process.argv[2] === "card") {
  await browser.close();
  server.close();
  process.exit();
}

for (const model of ["cifar-10", "fashion-mnist"]) {
  const page = await finished(`model=${model}`);
  await save(`samples/${model}/dream.png`, (await drawn(page, ".stage canvas"))[0]);
  for (const [i, url] of (await drawn(page, ".chips canvas")).entries())
    await save(`samples/${model}/class-${i}.png`, url);
  await page.close();
}

// Pictures beside and below each other, a point apart, as one.
const together = (page, urls, columns, downward) =>
  page.evaluate(
    async ([urls, columns, downward]) => {
      const images = await Promise.all(
        urls.map((src) => {
          const image = Object.assign(new Image(), { src });
          return image.decode().then(() => image);
        }),
      );
      const [{ width, height }] = images;
      const rows = images.length / columns;
      const sheet = document.createElement("canvas");
      Object.assign(sheet, { width: columns * (width + 1) - 1, height: rows * (height + 1) - 1 });
      const context = sheet.getContext("2d");
      images.forEach((image, i) => {
        const [column, row] = downward ? [Math.floor(i / rows), i % rows] : [i % columns, Math.floor(i / columns)];
        context.drawImage(image, column * (width + 1), row * (height + 1));
      });
      return sheet.toDataURL("image/png");
    },
    [urls, columns, downward ?? false],
  );

await mkdir(place("learn"), { recursive: true });
const lesson = await browser.newPage();
await lesson.goto(`${origin}/learn.html`);
const figures = await lesson
  .locator("figure")
  .evaluateAll((figures) =>
    figures.map((figure) => [figure.querySelector("img").getAttribute("src"), figure.querySelector("a").hash.slice(1)]),
  );
await lesson.close();
for (const [path, hash] of figures) {
  const { columns, steps, downward } = STILLS[path];
  const page = await finished(hash);
  // The standard network is attacked once it is there.
  if (downward) await page.waitForSelector('[data-side="standard"][data-fooled="true"]');
  let urls = [];
  if (steps) {
    const scrubber = page.locator(".scrubber");
    const last = Number(await scrubber.getAttribute("max"));
    const goal = Number(await page.locator(".stage").getAttribute("data-step"));
    for (const step of steps) {
      await scrubber.fill(String(Math.round((step / goal) * last)));
      urls.push((await drawn(page, ".stage .pictures canvas"))[0]);
    }
  } else {
    urls = await drawn(page, ".stage canvas");
    // Of each network: the attacked picture and what was added, without the gradient.
    if (downward) urls = urls.filter((_, i) => i % 3 < 2);
  }
  await save(path, await together(page, urls, columns, downward));
  await page.close();
}
await browser.close();
server.close();
