// The lesson: text, glossary and live figures.
import AxeBuilder from "@axe-core/playwright";
import { expect, test } from "@playwright/test";
import { answerWith, open } from "./page.mjs";

const CHAPTERS = 5;
const figure = (page, chapter) => page.locator("figure").nth(chapter - 1);
const frame = (page, chapter) => figure(page, chapter).frameLocator("iframe");
const frames = (page) => page.locator("iframe");

// Goes to a chapter's figure, whose chain then ends.
async function play(page, chapter) {
  await figure(page, chapter).evaluate((figure) => figure.scrollIntoView({ block: "center" }));
  const stage = frame(page, chapter).locator(".stage");
  await expect(stage).toHaveAttribute("data-phase", "Finished", { timeout: 120_000 });
  return frame(page, chapter);
}

const energy = async (within, name) => Number(await within.locator("[data-energy]").first().getAttribute(name));
const bar = (within, name) => within.locator(`.sees .name:text-is("${name}") ~ .number`);
const side = (within, which) => within.locator(`[data-side="${which}"]`);

test("each chapter has a figure that starts when it is reached, and its chain moves", async ({ page }) => {
  const violations = await open(page, "/learn.html");
  await expect(page.locator("figure")).toHaveCount(CHAPTERS);
  await page.waitForTimeout(1000);
  await expect(frames(page)).toHaveCount(0);
  for (let chapter = 1; chapter <= CHAPTERS; chapter += 1) {
    const within = await play(page, chapter);
    await expect(within.locator(".notice")).toHaveCount(0);
    expect(Number(await within.locator(".stage").getAttribute("data-step"))).toBeGreaterThan(5);
    // Up in an attack, down else.
    const climbed = (await energy(within, "data-energy")) > (await energy(within, "data-energy-start"));
    expect(climbed, `chapter ${chapter}`).toBe(chapter >= 4);
    // Stage and readings are seen, in a frame that is as high as they are.
    await expect(within.locator(".sees")).toBeVisible();
    await expect(within.getByRole("link", { name: "open in Basin" })).toBeVisible();
    const fits = () => within.locator("html").evaluate((html) => html.scrollHeight - innerHeight);
    await expect.poll(fits).toBeLessThanOrEqual(0);
    expect(await frames(page).count()).toBeLessThanOrEqual(2);
  }
  await page.evaluate(() => scrollTo(0, 0));
  await expect(frames(page)).toHaveCount(0);
  expect(violations).toEqual([]);
});

test("what the hints say is what the figures show", async ({ page }) => {
  await open(page, "/learn.html");
  const classes = await play(page, 1);
  const sure = [];
  const ends = [];
  for (const tile of await classes.locator(".tile").all()) {
    await tile.click();
    const line = classes.locator(".curve polyline").nth(ends.length);
    ends.push(Number((await line.getAttribute("points")).trim().split(/[ ,]+/).at(-1)));
    sure.push(Number(await bar(classes, (await tile.innerText()).trim()).textContent()));
  }
  const name = (index) => classes.locator(".tile").nth(index).innerText();
  expect(await name(sure.indexOf(Math.min(...sure)))).toBe("Coat");
  // In an SVG, what is higher up has the smaller number.
  const highest = [...ends.keys()].sort((a, b) => ends[a] - ends[b]).slice(0, 3);
  expect((await Promise.all(highest.map(name))).sort()).toEqual(["Pullover", "Shirt", "T-shirt/top"]);
  expect(ends[sure.indexOf(Math.min(...sure))]).toBeGreaterThan(ends[8]);

  const steps = await play(page, 2);
  await expect(bar(steps, "Ankle boot")).toHaveText(/^(1\.00|0\.9\d)$/);
  await steps.locator(".scrubber").fill("0");
  for (const nothing of ["Bag", "Trouser", "Sneaker"]) await expect(bar(steps, nothing)).toHaveText(/^0\.(0|1)\d$/);
  // The first picture shown from a quarter of the way on: how many are shown depends on the machine's pace.
  const scrubber = steps.locator(".scrubber");
  for (let at = 1, [step, of] = [0, 1]; step < of / 4; at += 1) {
    await scrubber.fill(String(at));
    [step, of] = (await steps.getByText(/^step \d/).innerText()).match(/\d+/g).map(Number);
  }
  await expect(bar(steps, "Ankle boot")).toHaveText(/^(1\.00|0\.[89]\d)$/);

  const noise = await play(page, 3);
  const distance = async (at) => {
    await noise.locator(".scrubber").fill(at);
    return Number(await noise.locator("[data-distance]").getAttribute("data-distance"));
  };
  const last = await distance(await noise.locator(".scrubber").getAttribute("max"));
  const [start, next] = [await distance("0"), await distance("1")];
  expect(Math.abs(start - 11)).toBeLessThan(1);
  expect(start - next).toBeGreaterThan(2);
  expect(Math.abs(last - 2)).toBeLessThan(0.5);

  const attack = await play(page, 4);
  await expect(side(attack, "robust")).toHaveAttribute("data-fooled", "false");
  await expect(side(attack, "standard")).toHaveAttribute("data-fooled", "true");

  const robust = await play(page, 5);
  await expect(side(robust, "robust")).toContainText(/→ automobile/);
  await expect(side(robust, "standard")).toHaveAttribute("data-fooled", "true");
  await expect(side(robust, "standard")).not.toContainText(/→ automobile/);
});

test("a figure is stopped and started by hand, and stays stopped", async ({ page }) => {
  await open(page, "/learn.html");
  const first = figure(page, 1);
  await first.scrollIntoViewIfNeeded();
  await expect(frames(page)).toHaveCount(1);
  await first.getByRole("button", { name: "Stop the figure" }).click();
  await expect(frames(page)).toHaveCount(0);
  await expect(first.getByRole("img")).toBeVisible();
  await page.evaluate(() => scrollTo(0, 0));
  await first.scrollIntoViewIfNeeded();
  await page.waitForTimeout(1000);
  await expect(frames(page)).toHaveCount(0);
  await first.getByRole("button", { name: "Start the figure" }).press("Enter");
  await expect(frames(page)).toHaveCount(1);
});

test("under reduced motion a figure waits for its button", async ({ page }) => {
  await page.emulateMedia({ reducedMotion: "reduce" });
  await open(page, "/learn.html");
  await figure(page, 2).scrollIntoViewIfNeeded();
  await page.waitForTimeout(1000);
  await expect(frames(page)).toHaveCount(0);
  await figure(page, 2).getByRole("button", { name: "Start the figure" }).click();
  await expect(frame(page, 2).locator(".stage")).toHaveAttribute("data-phase", "Empty");
});

test("a figure that does not arrive says so, and leaves its picture", async ({ page }) => {
  await page.route("**/?embed=1", (route) =>
    route.fulfill({ status: 404, contentType: "text/html", body: "not found" }),
  );
  await open(page, "/learn.html");
  await figure(page, 1).scrollIntoViewIfNeeded();
  await expect(figure(page, 1).getByRole("button")).toHaveText("The figure did not load. Try again");
  await expect(frames(page)).toHaveCount(0);
  await expect(figure(page, 1).getByRole("img")).toBeVisible();
  await page.unroute("**/?embed=1");
  await figure(page, 1).getByRole("button").click();
  await expect(frame(page, 1).locator(".stage")).toBeVisible();
});

test("words are explained on hover and on focus, by keyboard too", async ({ page }) => {
  await page.emulateMedia({ reducedMotion: "reduce" });
  await open(page, "/learn.html");
  const note = page.getByRole("tooltip");
  await expect(note).toBeHidden();
  for (const term of ["energy", "step size", "noise", "friction", "robust", "judge"]) {
    const word = page.getByRole("button", { name: term, exact: true });
    const explained = page.locator(`dt:text-is("${term}") + dd`);
    const words = (await explained.innerText()).replace(/\s+/g, " ").trim();
    const said = async () => (await note.innerText()).replace(/\s+/g, " ").trim();
    await expect(word).toHaveAccessibleDescription(words);
    // Tab may have come here already.
    await page.evaluate(() => document.activeElement.blur());
    await word.focus();
    await expect(note).toBeVisible();
    expect(await said()).toBe(words);
    await page.keyboard.press("Escape");
    await expect(note).toBeHidden();
    await expect(word).toBeFocused();
    await page.keyboard.press("Tab");
    await word.hover();
    await expect(note).toBeVisible();
    expect(await said()).toBe(words);
    // The pointer may go to the note and stay there.
    const { x, y } = await note.boundingBox();
    await page.mouse.move(x + 8, y + 8, { steps: 4 });
    await expect(note).toBeVisible();
    await page.mouse.move(2, 2);
    await expect(note).toBeHidden();
  }
  // From the words to the figure and its question, nothing but Tab is needed.
  await page.getByRole("button", { name: "energy", exact: true }).focus();
  for (let i = 0; i < 12; i += 1) {
    await page.keyboard.press("Tab");
    if (await page.evaluate(() => document.activeElement.localName === "summary")) break;
  }
  await page.keyboard.press("Enter");
  await expect(page.locator("details").first()).toHaveAttribute("open", "");
});

for (const colorScheme of ["light", "dark"]) {
  for (const width of [1280, 360]) {
    test(`axe finds nothing in the lesson: ${colorScheme}, ${width} px`, async ({ page }) => {
      await page.emulateMedia({ colorScheme });
      await page.setViewportSize({ width, height: 800 });
      await open(page, "/learn.html");
      await play(page, 1);
      for (const hint of await page.locator("summary").all()) await hint.click();
      await play(page, 5);
      await page.getByRole("button", { name: "judge", exact: true }).focus();
      await expect(page.getByRole("tooltip")).toBeVisible();
      expect((await new AxeBuilder({ page }).analyze()).violations).toEqual([]);
      const within = [page.locator("html"), frame(page, 5).locator("html")];
      for (const html of within) expect(await html.evaluate((html) => html.scrollWidth - html.clientWidth)).toBe(0);
    });
  }
}

test("the theme is the one that was chosen on the page", async ({ page }) => {
  await page.emulateMedia({ colorScheme: "light", reducedMotion: "reduce" });
  await open(page, "/learn.html");
  const paper = () => page.evaluate(() => getComputedStyle(document.documentElement).backgroundColor);
  const light = await paper();
  await page.evaluate(() => localStorage.setItem("theme", "dark"));
  await page.reload();
  expect(await paper()).not.toBe(light);
});

test("on paper there are stills, and nothing to press", async ({ page }) => {
  await open(page, "/learn.html");
  await play(page, 2);
  await page.emulateMedia({ media: "print" });
  for (let chapter = 1; chapter <= CHAPTERS; chapter += 1) {
    const still = figure(page, chapter).getByRole("img");
    await expect(still).toBeVisible();
    expect(await still.evaluate((image) => image.naturalWidth)).toBeGreaterThan(60);
  }
  for (const control of ["iframe", ".controls", "nav", "summary", "#note"]) {
    for (const one of await page.locator(control).all()) await expect(one).toBeHidden();
  }
  await expect(page.getByText("Now draw something of your own")).toBeHidden();
  await expect(page.locator("dl")).toBeVisible();
});

test("the lesson works in a folder, and each link opens the page itself without a notice", async ({ page }) => {
  // A folder of the same server.
  await answerWith(page, "**/folder/**", () => ({}), (url) => url.replace("/folder/", "/"));
  const violations = await open(page, "/folder/learn.html");
  const links = await page.locator(".controls a").evaluateAll((links) => links.map((link) => link.href));
  expect(links).toHaveLength(CHAPTERS);
  for (const link of links) {
    expect(link).toContain("/folder/#tab=");
    await page.goto("about:blank");
    await page.goto(link);
    await expect(page.locator(".stage")).toHaveAttribute("data-phase", /Running|Finished/, { timeout: 60_000 });
    await expect(page.locator(".notice")).toHaveCount(0);
  }
  expect(violations).toEqual([]);
});

test("every name in the text has its source, and every source is named", async ({ page }) => {
  await open(page, "/learn.html");
  const named = await page
    .locator(".chapter a")
    .evaluateAll((links) =>
      links.filter((link) => !link.closest(".controls")).map((link) => link.getAttribute("href").slice(1)),
    );
  const sources = await page.locator(".sources li").evaluateAll((sources) => sources.map((source) => source.id));
  expect([...new Set(named)].sort()).toEqual(sources.sort());
});

test("the page leads to the lesson", async ({ page }) => {
  await open(page, "/#engine=cpu&steps=1");
  await page.getByRole("link", { name: "Learn" }).click();
  await expect(page.getByRole("heading", { level: 1 })).toHaveText("Why a classifier can draw");
});
