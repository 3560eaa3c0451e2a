import { readFile } from "node:fs/promises";
import { expect, test } from "@playwright/test";
import { finished, notice, open } from "./page.mjs";

const fixture = (name) => readFile(new URL(`./fixtures/${name}`, import.meta.url));
const open_to_all = { "access-control-allow-origin": "*" };

// A host of models that is not the page's.
async function elsewhere(page, files) {
  await page.route("https://models.example/**", async (route) => {
    const body = files[new URL(route.request().url()).pathname];
    if (body === undefined) return route.fulfill({ status: 404, headers: open_to_all });
    return route.fulfill({ body, headers: open_to_all });
  });
}

const card = (page, name) => page.locator(".card", { hasText: name });

test("the page's own models are shown with picture and figures, and one is taken into use", async ({ page }) => {
  const violations = await open(page, "/#tab=models&engine=cpu");
  const cards = page.locator(".card");
  await expect(cards).toHaveCount(2);
  for (const words of [/right under attack\s*39\.2 % \(PGD.*8\/255\)/, /size\s*1\.70 MB, 690 986 parameters/, "CC0-1.0"]) {
    await expect(cards.first()).toContainText(words);
  }
  const picture = cards.nth(1).locator("img");
  await expect.poll(() => picture.evaluate((image) => image.naturalWidth)).toBeGreaterThan(100);
  await cards.nth(1).getByRole("button", { name: "use it" }).click();
  await expect(cards.nth(1).getByRole("button")).toHaveText("in use");
  await expect.poll(() => page.url()).toContain("tab=models&model=fashion-mnist");
  await page.getByRole("button", { name: "Dream", exact: true }).click();
  await finished(page);
  await expect(page.getByRole("button", { name: "Sandal" })).toBeVisible();
  expect(violations).toEqual([]);
});

test("a list of another host is shown as data, used, kept and forgotten", async ({ page }) => {
  const image = await fixture("photo.jpg");
  const models = [
    { file: "../files/a.safetensors", picture: "a.jpg", name: "<b>bold</b>", accuracy: 0.5, surprise: [1] },
    { file: "javascript:alert(1)", name: "hostile", picture: "javascript:alert(2)" },
  ];
  await elsewhere(page, {
    "/lists/index.json": JSON.stringify({ models }),
    "/lists/a.jpg": image,
    "/files/a.safetensors": await fixture("untrained.safetensors"),
  });
  const list = "https://models.example/lists/index.json";
  const violations = await open(page, `/#tab=models&engine=cpu&list=${encodeURIComponent(list)}`);
  await expect(page.locator(".card")).toHaveCount(4);
  await expect(card(page, "<b>bold</b>").locator("img")).toHaveAttribute("src", /^blob:/);
  await expect(card(page, "hostile").locator("img")).toHaveCount(0);
  await card(page, "hostile").getByRole("button").click();
  await expect(notice(page)).toContainText("javascript:alert(1): no address of the web");
  await card(page, "<b>bold</b>").getByRole("button", { name: "use it" }).click();
  await expect(page.locator('summary[data-chip="model"]')).toContainText("untrained");
  await expect.poll(() => page.url()).toContain("model=https://models.example/files/a.safetensors");

  // The browser keeps its address for the next visit.
  await open(page, "/?again#tab=models&engine=cpu");
  await expect(page.locator(".card")).toHaveCount(4);
  await page.getByRole("button", { name: "remove this list" }).click();
  await expect(page.locator(".card")).toHaveCount(2);
  await open(page, "/?once-more#tab=models&engine=cpu");
  await expect(page.locator(".card")).toHaveCount(2);
  expect(violations).toEqual([]);
});

test("a list that cannot be used is told of in a sentence", async ({ page }) => {
  await elsewhere(page, {
    "/page.html": "<!doctype html>",
    "/many.json": JSON.stringify({ models: Array(300).fill({ file: "a" }) }),
    "/wrong.json": JSON.stringify({ models: [{ file: "a", accuracy: "high" }] }),
    "/long.json": "[".repeat(2 << 20),
  });
  await open(page, "/#tab=models&engine=cpu");
  for (const [address, sentence] of [
    ["https://models.example/page.html", /no list of models .*expected \{"models"/],
    ["https://models.example/many.json", "300 models, expected 200 at most"],
    ["https://models.example/wrong.json", "no list of models (invalid type"],
    ["https://models.example/long.json", "longer than 1 MB"],
    ["https://models.example/none.json", "the server answered 404"],
    ["javascript:alert(1)", "no address of the web"],
  ]) {
    await page.getByLabel("a list of models").fill(address);
    await page.getByRole("button", { name: "show" }).click();
    await expect(page.locator(".gallery .notice").last()).toContainText(sentence);
  }
  await expect(page.locator(".card")).toHaveCount(2);
});

test("a model of a hub is fetched from where the hub keeps it", async ({ page }) => {
  const model = await fixture("untrained.safetensors");
  const asked = [];
  await page.route("https://huggingface.co/**", (route) => {
    asked.push(route.request().url());
    return route.fulfill({ body: model, headers: open_to_all });
  });
  await open(page, "/#model=hf:someone/models/cifar/a.safetensors&engine=cpu&steps=2");
  await finished(page);
  await expect(page.locator('summary[data-chip="model"]')).toContainText("untrained");
  const address = "https://huggingface.co/someone/models/resolve/main/cifar/a.safetensors";
  expect(asked).toEqual([address]);
  await expect.poll(() => page.url()).toContain("model=hf:someone/models/cifar/a.safetensors");

  // The browser keeps it, says so, and forgets it when told to.
  await open(page, "/?again#tab=models&model=hf:someone/models/cifar/a.safetensors&engine=cpu");
  await expect(page.locator('summary[data-chip="model"]')).toContainText("untrained");
  expect(asked).toHaveLength(1);
  await expect(page.locator(".kept li")).toContainText([new RegExp(`${address}.*0\\.\\d\\d MB`)]);
  await page.getByRole("button", { name: "delete" }).click();
  await expect(page.locator(".kept li")).toHaveCount(0);
  await open(page, "/?once-more#model=hf:someone/models/cifar/a.safetensors&engine=cpu&steps=2");
  await finished(page);
  expect(asked).toHaveLength(2);
});

test("a kept file that is broken is forgotten", async ({ page }) => {
  await elsewhere(page, { "/a.safetensors": (await fixture("untrained.safetensors")).subarray(0, 9000) });
  await open(page, "/#model=https://models.example/a.safetensors&engine=cpu&steps=2");
  await expect(notice(page)).toContainText("a.safetensors:");
  await finished(page);
  const kept = () => page.evaluate(async () => (await (await caches.open("models-of-others")).keys()).length);
  await expect.poll(kept).toBe(0);
});

test("a chain is taken away as an animated picture", async ({ page }) => {
  await open(page, "/#engine=cpu&class=all&seed=3&steps=5");
  await finished(page);
  const download = page.waitForEvent("download");
  await page.getByRole("button", { name: "save GIF" }).click();
  const file = await download;
  expect(file.suggestedFilename()).toBe("basin-all-classes-3-5.gif");
  const bytes = await readFile(await file.path());
  expect(bytes.subarray(0, 6).toString()).toBe("GIF89a");
  // Five columns and two rows of 32 pixels, each pixel a square of 2.
  expect([bytes.readUInt16LE(6), bytes.readUInt16LE(8)]).toEqual([320, 128]);
  const frames = await page.evaluate(async (data) => {
    const decoder = new ImageDecoder({ data: new Uint8Array(data), type: "image/gif" });
    await decoder.tracks.ready;
    return decoder.tracks.selectedTrack.frameCount;
  }, [...bytes]);
  expect(frames).toBe(6);
});

test("before the program is here, heading, picture and classes are", async ({ page }) => {
  await page.route("**/basin-web_bg.wasm", () => {});
  await page.goto("/#engine=cpu", { waitUntil: "commit" });
  await expect(page.getByRole("heading", { name: "Basin" })).toBeVisible();
  const picture = page.getByRole("img", { name: "A horse that the model drew" });
  await expect.poll(() => picture.evaluate((image) => image.naturalWidth)).toBe(32);
  await expect(page.locator("#first .chip")).toHaveCount(10);
  await page.unroute("**/basin-web_bg.wasm");
  await open(page, "/?again#engine=cpu&steps=2");
  await finished(page);
  await expect(page.locator("#first")).toHaveCount(0);
});
