// A person at the page, in Debian's Chromium. Arguments: address, token, a file to make once a run may begin (and
// with `.end` once the daemon may end), directory for pictures. Watches a run live, signs in, approves, sees the merge; looks at every page in light and dark, wide and
// on a phone, with axe, and once more without JavaScript. Prints what it found.

import { writeFileSync } from "node:fs";
import axe from "axe-core";
import { chromium } from "playwright-core";

const [address, token, go, pictures] = process.argv.slice(2);
const WIDE = { width: 1280, height: 900 };
const PHONE = { width: 390, height: 844 };
const LONG = { timeout: 120_000 };

const found = { violations: [], console: [], wide: [], looked: [], silent: [], reloads: 0, lost: false };
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM || "/usr/bin/chromium",
  args: ["--no-sandbox"],
});

function listen(page) {
  const note = (text) => found.console.push(`${page.url()}: ${text}`);
  page.on("console", (said) => ["error", "warning"].includes(said.type()) && note(said.text()));
  page.on("pageerror", (error) => note(String(error)));
  page.on("requestfailed", (request) => {
    // A page that is left gives its stream back.
    if (!request.url().endsWith("/live")) note(`${request.url()} ${request.failure().errorText}`);
  });
  page.on("request", (request) => {
    const url = request.url();
    if (!url.startsWith(address) && !url.startsWith("data:")) note(`asked elsewhere: ${url}`);
  });
}

// axe runs in the page's own world, where the policy of the page does not bind it.
async function look(page, path, name, how) {
  await page.goto(address + path);
  const report = await page.evaluate(`(async () => {
    const module = { exports: {} };
    ${axe.source}
    return await (window.axe || module.exports).run(document);
  })()`);
  found.looked.push(`${path} ${how}`);
  for (const violation of report.violations) {
    const where = violation.nodes.map((node) => node.html.slice(0, 200) + " " + node.failureSummary);
    found.violations.push({ path, how, rule: violation.id, where });
  }
  const over = await page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth");
  if (over > 0) found.wide.push(`${path} ${how}: ${over} px`);
  await page.screenshot({ path: `${pictures}/${name}-${how}.png` });
}

async function lookAtAll(pages, state, stage) {
  for (const scheme of ["light", "dark"]) {
    for (const [size, viewport] of Object.entries({ wide: WIDE, phone: PHONE })) {
      const context = await browser.newContext({ colorScheme: scheme, viewport, storageState: state });
      const page = await context.newPage();
      listen(page);
      for (const [name, path] of Object.entries(pages)) await look(page, path, `${stage}${name}`, `${scheme}-${size}`);
      await context.close();
    }
  }
}

// Watching live: the page is never loaded anew, and what was on it is replaced.
const context = await browser.newContext({ viewport: WIDE });
const page = await context.newPage();
listen(page);
await page.goto(address + "/");
await page.getByText("Up to date.").waitFor(LONG);
await page.evaluate("window.sameAsBefore = true");
await page.getByText("Nothing waits for a decision.").waitFor(LONG);
writeFileSync(go, "");
await page.locator("[aria-labelledby=under-way] td a").first().waitFor(LONG);
await page.screenshot({ path: `${pictures}/live-light-wide.png` });
await page.locator(".cases a").first().waitFor(LONG);
if (!(await page.evaluate("window.sameAsBefore"))) found.reloads += 1;

const run = await page.locator(".cases a").first().getAttribute("href");
const pages = {
  overview: "/",
  project: "/projects/app",
  run,
  review: "/review",
  plugins: "/plugins",
  events: "/events",
  about: "/about",
  "sign-in": "/sign-in",
};
await lookAtAll(pages, undefined, "");

await page.goto(address + run);
await page.locator("#variants").evaluate((heading) => heading.scrollIntoView());
await page.screenshot({ path: `${pictures}/variants-light-wide.png` });

// Without JavaScript everything stands there as well, and a decision can be made.
const plain = await browser.newContext({ javaScriptEnabled: false, viewport: WIDE });
const still = await plain.newPage();
for (const path of Object.values(pages)) {
  const answer = await still.goto(address + path);
  const title = await still.locator("h1").innerText();
  if (answer.status() === 200 && title) found.silent.push(path);
}
await still.goto(address + run);
await still.getByRole("link", { name: "Sign in", exact: true }).last().click();
await still.getByLabel("Your token").fill(token);
await still.getByRole("button", { name: "Sign in" }).click();
await still.getByRole("button", { name: "Approve and merge" }).waitFor(LONG);
await plain.close();

// Reviewing: signed in through the form, back on the run, with the keyboard alone.
await page.goto(address + run);
await page.locator("#decision ~ p a").click();
await page.getByLabel("Your token").fill(token);
await page.keyboard.press("Enter");
await page.waitForURL(address + run);
const signedIn = await context.storageState();
await lookAtAll({ run }, signedIn, "signed-in-");
await page.locator("details[id^=call]").first().locator("summary").click();
await page.getByLabel("Reason").fill("It reads well.");
await page.getByRole("button", { name: "Approve and merge" }).focus();
await page.keyboard.press("Enter");
await page.getByText("merged into main").first().waitFor(LONG);
await page.getByText("ada approved A on the page: It reads well.").first().waitFor(LONG);
await page.goto(address + "/");
await page.getByText("Nothing waits for a decision.").waitFor(LONG);
await lookAtAll({ overview: "/", run, project: "/projects/app" }, signedIn, "merged-");

// The daemon ends, and the open page says that it hears nothing any more.
const said = [...found.console];
const before = await page.locator("#live.lost").isVisible();
writeFileSync(`${go}.end`, "");
await page.getByText("Connection lost").waitFor(LONG);
found.lost = !before && (await page.locator("#live.lost").isVisible());
found.console = said;
await browser.close();
console.log(JSON.stringify(found));
