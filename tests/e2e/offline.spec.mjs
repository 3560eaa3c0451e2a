import { expect, test } from "@playwright/test";
import { finished, notice, open } from "./page.mjs";
import { serve } from "./serve.mjs";

test.use({ serviceWorkers: "allow" });

// How many of the files that the service worker lists are kept, and how many it lists.
const kept = (page) =>
  page.evaluate(async () => {
    const script = await (await fetch("offline.js")).text();
    const files = JSON.parse(script.match(/const FILES = (\[.*?\]);/)[1]);
    const found = await Promise.all(files.map((file) => caches.match(new URL(file, location.origin).href)));
    return [found.filter(Boolean).length, files.length];
  });

test("a second visit needs no network, with every model of the page's", async ({ browser }) => {
  const server = await serve(0);
  const origin = `http://127.0.0.1:${server.address().port}`;
  const context = await browser.newContext({ serviceWorkers: "allow" });
  const page = await context.newPage();
  const violations = await open(page, `${origin}/#engine=cpu&steps=2`);
  await finished(page);
  await expect
    .poll(async () => {
      const [found, listed] = await kept(page);
      return listed > 20 && found === listed;
    })
    .toBe(true);
  server.closeAllConnections();
  await new Promise((closed) => server.close(closed));

  const begun = Date.now();
  await page.reload();
  await page.waitForSelector("header h1");
  expect(Date.now() - begun).toBeLessThan(3000);
  await finished(page);
  await open(page, `${origin}/?again#engine=cpu&model=fashion-mnist&steps=2`);
  await finished(page);
  await expect(page.locator('summary[data-chip="model"]')).toContainText("Fashion-MNIST");
  // The lesson is a page of its own, and its figures are the first.
  await open(page, `${origin}/learn.html?print`);
  await expect(page.getByRole("heading", { level: 1 })).toHaveText("Why a classifier can draw");
  await page.locator("figure").first().scrollIntoViewIfNeeded();
  const stage = page.frameLocator("iframe").locator(".stage");
  await expect(stage).toHaveAttribute("data-phase", "Finished", { timeout: 120_000 });
  expect(violations).toEqual([]);
  await context.close();
});

test("a new version is told, and takes over at the next load", async ({ browser }) => {
  const altered = {};
  const server = await serve(0, undefined, altered);
  const origin = `http://127.0.0.1:${server.address().port}`;
  const context = await browser.newContext({ serviceWorkers: "allow" });
  const page = await context.newPage();
  await open(page, `${origin}/#engine=cpu&steps=2`);
  await finished(page);
  await page.evaluate(() => navigator.serviceWorker.ready);
  await page.reload();
  await finished(page);
  // Another page, of another version.
  altered["/offline.js"] = (text) => text.replace(/const VERSION = "/, '$&next-');
  altered["/"] = altered["/index.html"] = (text) => text.replace("<title>", "<title>Next ");
  await page.evaluate(async () => (await navigator.serviceWorker.ready).update());
  await expect(notice(page)).toContainText("new version of this page");
  expect(await page.title()).not.toContain("Next");
  await page.reload();
  await finished(page);
  expect(await page.title()).toContain("Next");
  await expect(notice(page)).toHaveCount(0);
  await context.close();
  server.close();
});
