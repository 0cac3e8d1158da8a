// Uses the console in Chromium as a person does.
//
// PARLOR_URL, TOKENS (JSON: user id to token), CHROMIUM and, to write screenshots, SCREENSHOTS.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { after, before, test } from 'node:test';

const require = createRequire(`${process.env.PACKAGES}/`);
const { chromium } = require('playwright-core');
const axe = readFileSync(require.resolve('axe-core/axe.min.js'), 'utf8');

const url = process.env.PARLOR_URL;
const tokens = JSON.parse(process.env.TOKENS);
const shots = process.env.SCREENSHOTS;
const SITE_ADMIN = '1004';
const COACH = '1001';

let browser;

before(async () => {
  browser = await chromium.launch({
    executablePath: process.env.CHROMIUM,
    args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
  });
});

after(() => browser.close());

/** Opens a page whose errors fail the test, signed in by the form. */
async function signedIn(user, { width = 1440, height = 900, language = 'en', dark = false } = {}) {
  const context = await browser.newContext({
    viewport: { width, height },
    locale: language,
    colorScheme: dark ? 'dark' : 'light',
  });
  const page = await context.newPage();
  const errors = [];
  page.on('pageerror', (error) => errors.push(`${page.url()}: ${error}`));
  page.on('console', (message) => {
    if (message.type() === 'error') errors.push(`${page.url()}: ${message.text()}`);
  });
  await page.goto(`${url}/console/sign-in`);
  await page.fill('textarea[name=token]', tokens[user]);
  await page.click('main button:not(.plain)');
  await page.waitForURL((at) => !at.pathname.endsWith('/sign-in'));
  return { page, errors, close: () => context.close() };
}

/** Serious findings of axe-core. The browser evaluates it; the page does not load it. */
async function findings(page) {
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => globalThis.axe.run());
  const serious = violations.filter(({ impact }) => impact === 'serious' || impact === 'critical');
  return serious.map(({ id, nodes }) => `${page.url()} ${id}: ${nodes.slice(0, 3).map((node) => node.html).join(' | ')}`);
}

/** The links of the navigation. */
const places = (page) => page.$$eval('nav a', (links) => links.map((link) => link.href));

for (const options of [
  { language: 'en', width: 1440 },
  { language: 'zh-CN', width: 375, dark: true },
]) {
  test(`every page is accessible and has no errors: ${JSON.stringify(options)}`, async () => {
    const { page, errors, close } = await signedIn(SITE_ADMIN, options);
    const found = [];
    for (const place of await places(page)) {
      await page.goto(place);
      found.push(...(await findings(page)));
      const width = await page.evaluate(() => document.documentElement.scrollWidth);
      if (width > options.width) found.push(`${place} is ${width} px wide`);
    }
    await close();
    assert.deepEqual([...errors, ...found], []);
  });
}

test('the keys and the language work', async () => {
  const { page, errors, close } = await signedIn(SITE_ADMIN);
  await page.goto(`${url}/console/runs`);
  await page.keyboard.press('/');
  assert.equal(await page.evaluate(() => document.activeElement.name), 'app_type');
  await page.keyboard.press('Escape');
  await page.evaluate(() => document.activeElement.blur());
  await page.keyboard.press('?');
  assert.ok(await page.isVisible('#help'));
  await page.keyboard.press('Escape');
  await page.click('button[name=to]');
  await page.waitForSelector('html[lang="zh-CN"]');
  assert.ok(page.url().endsWith('/console/runs'));
  await close();
  assert.deepEqual(errors, []);
});
