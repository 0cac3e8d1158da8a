// The page of a conversation, in a phone's JavaScript environment, against Parlor.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { baseUrl, skip, stored, token } from './stand-ins/clients.mjs';
import { createPhone } from './stand-ins/program.mjs';

/** Opens the page of a task's conversation. */
function show(contextId, { storage, trouble } = {}) {
  return createPhone({ baseUrl, token, storage, trouble }).open('chat', { contextType: 'task', contextId });
}

const shown = (page) => page.data.messages.map(({ id, role, content, status }) => ({ id, role, content, status }));
const kept = async (page) => (await stored(page.chatId)).map(({ id, role, content, status }) => ({ id, role, content, status }));

let made = 0;
function contextId() {
  made += 1;
  return `page-${process.pid}-${Date.now().toString(36)}-${made}`;
}

test('a page shows what is stored, after the background too', { skip }, async () => {
  const page = await show(contextId());
  page.type('[[sim:slow:2]]怎么跟进？');
  assert.ok(page.data.busy);
  await page.until('text comes', ({ messages }) => messages[1]?.content.length > 3);
  assert.equal(page.data.draft, '');
  page.onHide();
  page.onShow();
  await page.until('the end', ({ busy }) => !busy);
  assert.equal(page.data.messages[1].status, 'complete');
  assert.deepEqual(shown(page), await kept(page));
});

test('stopped before anything was heard, it stops', { skip }, async () => {
  const page = await show(contextId());
  page.type('[[sim:slow:30]]说很久');
  page.stop();
  await page.until('the end', ({ busy }) => !busy);
  assert.equal(page.data.messages[1].status, 'stopped');
  assert.deepEqual(shown(page), await kept(page));
});

test('a page that is closed is taken up by the next', { skip }, async () => {
  const id = contextId();
  const storage = new Map();
  const first = await show(id, { storage });
  first.type('[[sim:slow:2]]还没完');
  await first.until('text comes', ({ messages }) => messages[1]?.content.length > 3);
  first.onUnload();
  // Another phone has no kept message. It finds the reply in progress in the list.
  for (const next of [await show(id, { storage }), await show(id)]) {
    await next.until('the end', ({ busy, messages }) => !busy && messages[1]?.status === 'complete');
    assert.deepEqual(shown(next), await kept(next));
  }
});

test('what fails can be tried again, and is the same message', { skip }, async () => {
  const storage = new Map();
  let away = true;
  const answer = { status: 403, headers: {}, body: '{"code":"not_approved","detail":"账号未通过审核或已停用"}' };
  const page = await show(contextId(), { storage, trouble: (n) => (n === 0 ? { answer } : away && { at: 150, answer: late }) });
  const late = { status: 429, headers: { 'retry-after': '3600' }, body: '{"code":"budget_exceeded","detail":"AI 用量已达上限，请稍后再试"}' };
  page.type('[[sim:echo]]你好');
  await page.until('the refusal', ({ busy }) => !busy);
  assert.deepEqual([page.data.hint, page.data.canRetry, page.data.draft], ['账号未通过审核或已停用', false, '[[sim:echo]]你好']);
  page.send();
  await page.until('the refusal', ({ busy }) => !busy);
  assert.deepEqual([page.data.hint, page.data.canRetry], ['AI 用量已达上限，请稍后再试', true]);
  away = false;
  page.retry();
  await page.until('the end', ({ busy }) => !busy);
  assert.equal(page.data.hint, '');
  assert.deepEqual(shown(page), await kept(page));
  assert.equal(page.data.messages.length, 2);
});

test('insights into a member are generated on request', { skip }, async () => {
  const phone = createPhone({ baseUrl, token });
  const page = await phone.open('member', { memberId: 10001 });
  await page.tap('refresh');
  await page.until('all results', ({ items }) => items.length === 3 && items.every(({ state }) => state === 'ready'));
  for (const { title, sections } of page.data.items) assert.ok(sections.length > 0, title);
  page.onUnload();
});
