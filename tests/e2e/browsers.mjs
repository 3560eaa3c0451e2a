// The page in browsers that are not Chromium, on the CPU engine: loading, a dream, its link, restoring.
// `node browsers.mjs firefox|webkit`, with the browser's driver on the PATH.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { Builder, By, Capabilities, until } from "selenium-webdriver";
import firefox from "selenium-webdriver/firefox.js";
import { serve } from "./serve.mjs";

const PATIENCE = 120_000;

// Each opens a session with what Debian installs.
const browsers = {
  async firefox() {
    const options = new firefox.Options().addArguments("-headless");
    if (existsSync("/usr/bin/firefox-esr")) options.setBinary("/usr/bin/firefox-esr");
    return { driver: await new Builder().forBrowser("firefox").setFirefoxOptions(options).build(), end() {} };
  },
  // WebKitGTK's small browser. It has no headless mode of its own: xvfb-run gives it a screen.
  async webkit() {
    const port = 4175;
    const process = spawn("WebKitWebDriver", [`--port=${port}`], { stdio: "inherit" });
    const address = `http://127.0.0.1:${port}`;
    const ready = async () => (await fetch(`${address}/status`).catch(() => null))?.ok;
    for (let tries = 0; !(await ready()); tries += 1) {
      assert(tries < 100, "WebKitWebDriver does not answer");
      await new Promise((wait) => setTimeout(wait, 100));
    }
    const browser = ["4.1", "4.0"]
      .map((version) => `/usr/lib/x86_64-linux-gnu/webkit2gtk-${version}/MiniBrowser`)
      .find(existsSync);
    const capabilities = new Capabilities({
      browserName: "MiniBrowser",
      "webkitgtk:browserOptions": { binary: browser, args: ["--automation"] },
    });
    const driver = await new Builder().usingServer(address).withCapabilities(capabilities).build();
    return { driver, end: () => process.kill() };
  },
};

const name = process.argv[2];
assert(name in browsers, `expected one of ${Object.keys(browsers).join(", ")}`);
const server = await serve(0);
const origin = `http://127.0.0.1:${server.address().port}/`;
const { driver, end } = await browsers[name]();

// Other queries, as a page that differs in its hash alone is not loaded again. Firefox's driver may answer before the page
// has changed.
let visits = 0;
async function open(hash) {
  const query = `?visit-${(visits += 1)}`;
  await driver.get(`${origin}${query}#${hash}`);
  await driver.wait(() => driver.executeScript("return location.search === arguments[0]", query), PATIENCE);
}
const find = (selector) => driver.wait(until.elementLocated(By.css(selector)), PATIENCE);
const finished = () => find('.stage[data-phase="Finished"]');
const press = (words) => driver.findElement(By.xpath(`//button[normalize-space()="${words}"]`)).click();
// The pixels of the first picture on the stage.
const pixels = () =>
  driver.executeScript(
    `const canvas = document.querySelector(".stage canvas");
    return [...canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data];`,
  );
const notices = async () => {
  const found = await driver.findElements(By.css(".notice"));
  return Promise.all(found.map((notice) => notice.getText()));
};

try {
  await open("engine=cpu&class=3&seed=7&steps=20");
  await finished();
  const dream = await pixels();
  const spread = Math.max(...dream.filter((_, i) => i % 4 === 0)) - Math.min(...dream.filter((_, i) => i % 4 === 0));
  assert(spread > 60, `the dream is no picture: its red spans ${spread}`);
  console.log(`${name}: it dreams`);

  await driver.wait(async () => (await driver.getCurrentUrl()).includes("class=3"), PATIENCE);
  const link = (await driver.getCurrentUrl()).split("#")[1];
  for (const part of ["class=3", "seed=7", "steps=20"]) assert(link.includes(part), `${link} lacks ${part}`);
  await open(link);
  await finished();
  assert.deepEqual(await pixels(), dream, "the same link draws the same picture");
  console.log(`${name}: a link draws the same again`);

  await press("Restore");
  await finished();
  assert.deepEqual(await notices(), []);
  console.log(`${name}: it restores`);

  await open("tab=landscape&engine=cpu&picture=1");
  await find('.stage[data-seen="1089"]');
  console.log(`${name}: it shows the landscape`);
  assert.deepEqual(await notices(), []);
} finally {
  await driver.quit().catch(() => {});
  end();
  server.closeAllConnections();
  server.close();
}
