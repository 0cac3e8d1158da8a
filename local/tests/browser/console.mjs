// Uses the console in Chromium as a person does, and takes the pictures of the documentation.
//
// PARLOR_URL, TOKENS (JSON: user id to token), CHROMIUM, PACKAGES (a folder with node_modules) and
// PICTURES (a folder to write to).

import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { after, afterEach, before, test } from 'node:test';

const require = createRequire(`${process.env.PACKAGES}/`);
const { chromium } = require('playwright-core');
const axe = readFileSync(require.resolve('axe-core/axe.min.js'), 'utf8');

const url = process.env.PARLOR_URL;
const tokens = JSON.parse(process.env.TOKENS);
const SITE_ADMIN = '1004';
const COACH = '1001';
/** The console refreshes a page in this interval. */
const REFRESH_MS = 10000;

let browser;

before(async () => {
  browser = await chromium.launch({
    executablePath: process.env.CHROMIUM,
    args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
  });
});

after(() => browser.close());

// A failed test must not pause the replies of the next one.
afterEach(() => simulator('release'));

/** Opens a page whose errors fail the test. A violation of the CSP is an error in the log, too. */
async function opened({ width = 1440, height = 900, language = 'en', dark = false, script = true } = {}) {
  const context = await browser.newContext({
    viewport: { width, height },
    locale: language,
    timezoneId: 'Asia/Shanghai',
    colorScheme: dark ? 'dark' : 'light',
    javaScriptEnabled: script,
  });
  context.setDefaultTimeout(20000);
  const page = await context.newPage();
  const errors = [];
  page.on('pageerror', (error) => errors.push(`${page.url()}: ${error}`));
  page.on('console', (message) => {
    if (message.type() === 'error') errors.push(`${page.url()}: ${message.text()}`);
  });
  const close = async () => {
    await context.close();
    assert.deepEqual(errors, []);
  };
  return { page, errors, close };
}

/** Signs in by the form. */
async function signedIn(user, options) {
  const all = await opened(options);
  const { page } = all;
  await page.goto(`${url}/console/sign-in`);
  await page.fill('textarea[name=token]', tokens[user]);
  await page.click('main button:not(.plain)');
  await page.waitForURL((at) => !at.pathname.endsWith('/sign-in'));
  return all;
}

/** Serious findings of axe-core. The browser evaluates it; the page does not load it. */
async function findings(page) {
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => globalThis.axe.run({ resultTypes: ['violations'] }));
  const serious = violations.filter(({ impact }) => impact === 'serious' || impact === 'critical');
  return serious.map(({ id, nodes }) => `${page.url()} ${id}: ${nodes.slice(0, 3).map((node) => node.html).join(' | ')}`);
}

const accessible = async (page) => assert.deepEqual(await findings(page), []);

/** The addresses of links. */
const links = (page, selector) => page.$$eval(selector, (found) => found.map((link) => link.href));

/** Pauses all replies of the simulator after some pieces of text, or releases them. */
const simulator = async (command) => {
  const { status } = await fetch(`${url}/simulator/${command}`, { method: 'POST' });
  assert.equal(status, 200);
};

/** Writes a picture. A canvas converts it, because WebP is much smaller than PNG. */
async function picture(page, name) {
  const png = await page.screenshot({ animations: 'disabled', caret: 'hide' });
  const context = await browser.newContext();
  const other = await context.newPage();
  const data = await other.evaluate(async (source) => {
    const image = new Image();
    image.src = source;
    await image.decode();
    const canvas = document.createElement('canvas');
    canvas.width = image.width;
    canvas.height = image.height;
    canvas.getContext('2d').drawImage(image, 0, 0);
    return canvas.toDataURL('image/webp', 0.9);
  }, `data:image/png;base64,${png.toString('base64')}`);
  await context.close();
  writeFileSync(`${process.env.PICTURES}/${name}.webp`, Buffer.from(data.split(',')[1], 'base64'));
}

/** Lets the page refresh itself until the locator is visible. `page.clock` must be installed. */
async function refreshedUntil(page, locator) {
  const end = Date.now() + 30000;
  while (!(await locator.isVisible())) {
    assert.ok(Date.now() < end, `${page.url()}: ${await page.textContent('main')}`);
    const answered = page.waitForResponse((response) => response.url() === page.url());
    await page.clock.fastForward(REFRESH_MS);
    await (await answered).finished();
  }
}

test('a link of the start page signs in once', async () => {
  const { page, close } = await opened();
  await page.goto(url);
  await accessible(page);
  const link = await page.locator('tr', { hasText: SITE_ADMIN }).locator('a').getAttribute('href');
  await page.click(`a[href="${link}"]`);
  await page.waitForURL(`${url}/console`);
  await page.locator('nav').waitFor();
  await page.goto(`${url}/${link}`);
  await page.locator('[role=alert]').waitFor();
  await page.locator('tr', { hasText: COACH }).locator('a').click();
  await page.waitForURL(/\/console\/chat\?chat=\d+$/);
  await close();
});

test('the sign-in form signs in, and signing out ends the session', async () => {
  const { page, close } = await opened();
  await page.goto(`${url}/console/runs?status=failed`);
  await page.waitForURL(/\/console\/sign-in\?/);
  await accessible(page);
  await page.fill('textarea[name=token]', tokens[SITE_ADMIN]);
  await page.click('main button:not(.plain)');
  await page.waitForURL(`${url}/console/runs?status=failed`);
  await page.click('form[action$="/sign-out"] button');
  await page.waitForURL(/\/console\/sign-in$/);
  await page.goto(`${url}/console`);
  await page.waitForURL(/\/console\/sign-in/);
  await close();
});

for (const options of [
  { language: 'en', width: 1440 },
  { language: 'zh-CN', width: 375, dark: true },
]) {
  test(`every page is accessible and has no errors: ${JSON.stringify(options)}`, async () => {
    const { page, errors, close } = await signedIn(SITE_ADMIN, options);
    const found = [];
    const visited = new Set();
    const waiting = await links(page, 'nav a');
    for (const place of waiting) {
      const { pathname } = new URL(place);
      if (visited.has(pathname)) continue;
      visited.add(pathname);
      await page.goto(place);
      waiting.push(...(await links(page, '.tabs a')));
      found.push(...(await findings(page)));
      const width = await page.evaluate(() => document.documentElement.scrollWidth);
      if (width > options.width) found.push(`${place} is ${width} px wide`);
    }
    assert.ok(visited.size > 20, [...visited].join(' '));
    assert.deepEqual([...errors, ...found], []);
    await close();
  });
}

test('the keys and the language work', async () => {
  const { page, close } = await signedIn(SITE_ADMIN);
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
});

test('a form works without JavaScript', async () => {
  const { page, close } = await signedIn(SITE_ADMIN, { script: false });
  await page.goto(`${url}/console/alerts`);
  const changes = page.locator('td details');
  const before = await changes.count();
  assert.ok(before > 0);
  await changes.first().locator('summary').click();
  await changes.first().locator('button[value=acknowledge]').click();
  await changes.nth(before - 1).waitFor({ state: 'detached' });
  assert.equal(await changes.count(), before - 1);
  await page.goto(`${url}/console/chat`);
  await page.locator('noscript .notice').waitFor();
  await close();
});

/** Asks in a new conversation. */
async function ask(page, question) {
  await page.goto(`${url}/console/chat`);
  await page.waitForURL(/chat=\d+$/);
  if ((await page.locator('.message').count()) > 0) {
    const old = page.url();
    await page.click('#new');
    await page.waitForURL((at) => at.href !== old);
  }
  await page.fill('[name=draft]', question);
  await page.click('#send');
}

/** The status and the text of the newest message in the database. */
const newest = (page) =>
  page.evaluate(async () => {
    const chat = new URLSearchParams(location.search).get('chat');
    const path = `api/xcx/chat/${chat}/messages?order=desc&page_size=1`;
    const { items } = await (await fetch(path)).json();
    return items[0];
  });

test('a reply continues after a reload', async () => {
  const { page, close } = await signedIn(COACH);
  const text = page.locator('.message.reply .text');
  await simulator('hold/9');
  await ask(page, '今天先联系哪三位会员？');
  await text.filter({ hasText: /\S/ }).waitFor();
  const partial = await text.innerText();
  await page.reload();
  await page.locator('#stop').waitFor();
  await text.filter({ hasText: partial }).waitFor();
  assert.equal(await page.locator('.message').count(), 2);
  await simulator('release');
  await page.locator('#send').waitFor();
  const { status, content } = await newest(page);
  assert.equal(status, 'complete');
  assert.ok(content.startsWith(partial) && content.length > partial.length, content);
  assert.equal(await page.locator('.message').count(), 2);
  await page.locator('.reply .text:not(.plain-text)').waitFor();
  await page.reload();
  await page.locator('.reply .text:not(.plain-text)').waitFor();
  await close();
});

test('a reply is stopped', async () => {
  const { page, close } = await signedIn(COACH, { width: 1200, height: 800 });
  const text = page.locator('.message.reply .text');
  await simulator('hold/48');
  await ask(page, '周末晚上的台位怎么安排？');
  await text.filter({ hasText: /.{60}/s }).waitFor();
  await accessible(page);
  await picture(page, 'chat');
  await page.click('#stop');
  await page.locator('[data-note=stopped]').last().waitFor();
  await page.locator('#send').waitFor();
  await simulator('release');
  assert.equal((await newest(page)).status, 'stopped');
  await close();
});

test('a report is noted at its message and in the list', async () => {
  const { page, close } = await signedIn(COACH);
  await ask(page, '开球的站位怎么讲？');
  await page.locator('#send').waitFor();
  const reply = page.locator('.message.reply');
  await reply.locator('[data-do=report]').click();
  await page.selectOption('#dialog [name=choice]', 'inaccurate');
  await page.click('#dialog button[value=ok]');
  await page.locator('#dialog p.note', { hasText: 'An admin answers it until' }).waitFor();
  await page.click('#dialog button[value=ok]');
  await reply.locator('[data-note=reported]', { hasText: 'Answer due' }).waitFor();
  await page.reload();
  await reply.locator('[data-note=reported]').waitFor();
  await page.click('#reports summary');
  await page.locator('#reports li', { hasText: 'not accurate' }).first().waitFor();
  await accessible(page);
  await close();
});

test('a batch is made, from the estimate to the end', async () => {
  const { page, close } = await signedIn(SITE_ADMIN, { height: 720 });
  await page.clock.install();
  await page.goto(`${url}/console/batches`);
  await page.click('summary');
  for (const app of ['app3_clue', 'app7_customer_analysis']) await page.check(`[value=${app}]`);
  await page.fill('[name=members]', '10001, 10002, 10003\n10004 10005 10006');
  await page.locator('form.stack button').click();
  await page.waitForURL(/\/console\/batches\/[0-9a-f-]+/);
  await page.locator('.status.estimated').waitFor();
  assert.match(await page.innerText('.figures'), /Estimated calls\s*12\s/);
  await accessible(page);
  await picture(page, 'batch');
  await page.locator('button[value=confirm]', { hasText: '(12)' }).click();
  await page.locator('progress').waitFor();
  await refreshedUntil(page, page.locator('h1 .status.done'));
  assert.match(await page.innerText('main'), /12 done/);
  await accessible(page);
  await close();
});

// The batch before has made the insights of this member.
test('a card of a reply leads to its insight', async () => {
  const { page, close } = await signedIn(COACH);
  await page.goto(`${url}/console/chat`);
  await page.waitForURL(/chat=\d+$/);
  await page.click('#about summary');
  await page.selectOption('[name=page]', 'customer-detail');
  await page.fill('[name=member]', '10001');
  const card = page.locator('.message').last().locator('.card a');
  // The facts of the page have a time limit. Without them the reply has no card.
  for (let tries = 0; tries < 4 && !(await card.isVisible()); tries += 1) {
    const before = await page.locator('.message').count();
    await page.fill('[name=draft]', '这位会员怎么维护？');
    await page.click('#send');
    await page.locator('.message').nth(before + 1).waitFor();
    await page.locator('#send').waitFor();
  }
  await card.click();
  await page.waitForURL(/\/console\/insights\?app=\w+&target=member%3A10001$/);
  await page.locator('main pre').waitFor();
  await accessible(page);
  await page.click('button[value=up]');
  await page.locator('.status.up').waitFor();
  await close();
});

test('a failed job is retried', async () => {
  const { page, close } = await signedIn(SITE_ADMIN, { height: 720 });
  await page.clock.install();
  await page.goto(`${url}/console/jobs?status=failed`);
  await page.locator('tbody a').first().click();
  await page.locator('h1 .status.failed').waitFor();
  const failed = page.url();
  await accessible(page);
  await picture(page, 'job');
  await page.click('button[value=retry]');
  await page.waitForURL((at) => at.href !== failed);
  await refreshedUntil(page, page.locator('h1 .status.succeeded'));
  await accessible(page);
  await close();
});

test('a run has its prompt and its answer', async () => {
  const { page, close } = await signedIn(SITE_ADMIN);
  await page.goto(`${url}/console/runs?status=success`);
  await page.locator('tbody a').first().click();
  await page.locator('summary', { hasText: 'Prompt' }).click();
  await accessible(page);
  await picture(page, 'run');
  await close();
});

test('the pictures of the dashboard', async () => {
  for (const [name, options] of [
    ['dashboard', { height: 1000 }],
    ['dashboard-zh', { width: 390, height: 844, language: 'zh-CN', dark: true }],
  ]) {
    const { page, close } = await signedIn(SITE_ADMIN, options);
    await page.goto(`${url}/console`);
    await picture(page, name);
    await close();
  }
});
