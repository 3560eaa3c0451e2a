import { readFile } from "node:fs/promises";
import { expect, test } from "@playwright/test";

test("a link to the page has words and a picture for other sites, which visitors do not fetch", async ({ page, request }) => {
  const fetched = [];
  page.on("request", (request) => fetched.push(request.url()));
  await page.goto("/#engine=cpu&steps=2");
  const of = (name) => page.locator(`meta[property="og:${name}"]`).getAttribute("content");
  expect(await of("title")).toBe("Basin: a classifier, dreaming");
  expect((await of("description")).length).toBeGreaterThan(50);
  // Beside the page, until somebody publishes it at an address; see shared/src/preview.rs.
  expect(await page.content()).toContain('<meta property="og:image" content="card.png">');
  const answer = await request.get(await of("image"));
  expect(answer.headers()["content-type"]).toBe("image/png");
  const png = await answer.body();
  expect(png.subarray(1, 4).toString()).toBe("PNG");
  expect([png.readUInt32BE(16), png.readUInt32BE(20)].map(String)).toEqual([await of("image:width"), await of("image:height")]);
  expect(png.length).toBeLessThan(200_000);
  expect(fetched.filter((url) => url.includes("card.png"))).toEqual([]);
  const offline = await (await request.get("/offline.js")).text();
  expect(offline).toContain("icon.svg");
  expect(offline).not.toContain("card.png");
  const html = await readFile(new URL("../../dist/index.html", import.meta.url), "utf8");
  expect(html).toMatch(/<meta property="og:image" content="card\.png" ?\/?>/);
});
